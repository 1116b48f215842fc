"""What formulas on pairs say of themselves, without a model: where they begin, and which values are refused."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from itune_jax.core import batch as batch_lib
from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import common_words
from itune_jax.objectives.distill import divergences
from itune_jax.objectives.distill import logits as distill
from itune_jax.objectives.distill import relations
from itune_jax.objectives.distill import states
from itune_jax.objectives.distill import stretches
from itune_jax.objectives.distill import top_k
from itune_jax.objectives.preference import cpo
from itune_jax.objectives.preference import dpo
from itune_jax.objectives.preference import formulas
from itune_jax.objectives.preference import orpo
from itune_jax.objectives.preference import pairs as pairs_lib
from itune_jax.objectives.preference import ranked
from itune_jax.objectives.preference import tdpo
from itune_jax.run import begins
from tests.objectives import given

WRONG = {
  "unknown": (lambda: dpo.Dpo(losses=("dpo",)), r"Dpo.losses has \['dpo'\]; losses are sigmoid, cdpo"),
  "weights": (lambda: dpo.Dpo(weights=(1.0, 2.0)), "one for each of sigmoid"),
  "smoothing": (lambda: dpo.Dpo(label_smoothing=0.1), "smoothed DPO is the loss 'cdpo'"),
  "exo": (lambda: dpo.Dpo(losses=("exo_pair",)), "needs Dpo.label_smoothing above 0"),
  "divergence": (lambda: dpo.Dpo(losses=("apo_zero",), divergence="js"), "not defined for apo_zero"),
  "ranked": (lambda: dpo.Dpo(losses=("aot",), weighted=True), "which aot takes apart"),
  "offset": (lambda: dpo.Dpo(losses=("ipo",), offset=1.0), "not for ipo"),
  "beta": (lambda: tdpo.Tdpo(beta=0.0), "Tdpo.beta must be positive"),
  "ipo smoothed": (lambda: cpo.Cpo(loss="ipo", label_smoothing=0.1), "acts on the loss 'sigmoid' alone"),
  "orpo": (lambda: orpo.Orpo(beta=-1.0), "Orpo.beta must be 0 or more"),
  "one weight of two": (lambda: stretches.Stretches(hybrid=True, matched=1.0), "give both, or neither"),
  "hybrid beside": (lambda: stretches.Stretches(beta=0.0), "set Stretches.hybrid = True"),
  "no weight": (lambda: stretches.Stretches(hybrid=True, matched=0.0, unmatched=0.0), "not both 0"),
  "hybrid's share": (lambda: stretches.Stretches(hybrid=True, beta=1.5), "Stretches.beta must be a share"),
  "jsd at its end": (
    lambda: distill.Distill(divergence="jsd", beta=0.0),
    "'forward_kl' and 'reverse_kl' are the limits",
  ),
  "beta of a kl": (lambda: distill.Distill(beta=0.3), "acts on 'jsd' and 'scaled_jsd'"),
  "k": (lambda: top_k.TopK(k=0), "TopK.k must be a number"),
}


@pytest.mark.parametrize("name", WRONG)
def test_values_that_act_on_nothing_are_refused(name):
  make, reason = WRONG[name]
  with pytest.raises(ValueError, match=reason):
    make()


def pairs(c, r, c_length=1.0, r_length=1.0):
  whole = lambda x: np.full((1, 2), x, np.float32)
  return pairs_lib.Pairs(whole(c), whole(r), whole(c_length), whole(r_length), np.array([[False, True]]))


def test_losses_where_policy_and_reference_are_the_same():
  wanted = dict(
    sigmoid=math.log(2), cdpo=math.log(2), robust=math.log(2), sigmoid_norm=math.log(2), hinge=1.0, ipo=25.0
  )
  wanted |= dict(nca_pair=2 * math.log(2), bco_pair=2 * math.log(2), sppo_hard=50.0, apo_zero=1.0, apo_down=1.0)
  for name, value in wanted.items():
    found = formulas.LOSSES[name](formulas.Given(pairs(0.0, 0.0), 0.1, smoothing=0.2))
    np.testing.assert_allclose(np.asarray(found)[0, 1], value, rtol=1e-6, err_msg=name)


@pytest.mark.heavy
def test_odpo_wants_more_of_a_pair_with_a_larger_margin():
  batch = given.pairs([(2, 3), (4, 2)], margins=[0.5, 2.0])
  logp = np.zeros(batch.tokens_BT.shape, np.float32)
  views = {"policy": given.View(jnp.asarray(logp)), "reference": given.View(jnp.asarray(logp))}
  found = dpo.Dpo(offset=0.7).__call__(views, batch, None)
  np.testing.assert_allclose(found.loss, -np.log(special.expit([-0.35, -1.4])).sum(), rtol=1e-6)
  assert dpo.Dpo(offset=0.7).columns == (pairs_lib.SIDE, pairs_lib.MARGIN)


def test_tdpo_is_dpo_where_both_answers_went_equally_far():
  p = pairs(1.0, -2.0)
  wanted = -np.log(special.expit(0.3 * 3))
  for alpha in (0.0, 0.5):
    np.testing.assert_allclose(tdpo.losses(p, 4.0, 4.0, 0.3, alpha)[0, 1], wanted, rtol=1e-6)
  assert tdpo.losses(p, 1.0, 4.0, 0.3, 0.0)[0, 1] > wanted


def test_divergences_are_scipys_and_the_scaled_one_has_both_kl_at_its_ends():
  rs = np.random.RandomState(0)
  p, q = rs.dirichlet(np.ones(7), 5), rs.dirichlet(np.ones(7), 5)
  student, teacher = jnp.log(p), jnp.log(q)
  forward, backward = special.rel_entr(q, p).sum(-1), special.rel_entr(p, q).sum(-1)
  np.testing.assert_allclose(divergences.forward_kl(student, teacher), forward, rtol=1e-4)
  np.testing.assert_allclose(divergences.reverse_kl(student, teacher), backward, rtol=1e-4)
  mid = 0.3 * q + 0.7 * p
  jsd = 0.3 * special.rel_entr(q, mid).sum(-1) + 0.7 * special.rel_entr(p, mid).sum(-1)
  np.testing.assert_allclose(divergences.jsd(student, teacher, 0.3), jsd, rtol=1e-4)
  np.testing.assert_allclose(divergences.total_variation(student, teacher), np.abs(p - q).sum(-1) / 2, rtol=1e-5)
  np.testing.assert_allclose(divergences.scaled_jsd(student, teacher, 1e-3), forward, rtol=2e-2)
  np.testing.assert_allclose(divergences.scaled_jsd(student, teacher, 1 - 1e-3), backward, rtol=2e-2)


@pytest.mark.heavy
def test_all_tokens_as_top_k_are_the_whole_divergence_and_a_tail_is_one_event():
  rs = np.random.RandomState(1)
  p, q = rs.dirichlet(np.ones(6), (1, 3)).astype(np.float32), rs.dirichlet(np.ones(6), (1, 3)).astype(np.float32)
  ids = np.broadcast_to(np.arange(6), (1, 3, 6))
  z = (jnp.log(p) + 3.0,)
  whole, mass = top_k.TopK(k=6, tail="drop").of(z, (ids, jnp.log(q)))
  np.testing.assert_allclose(whole, special.rel_entr(q, p).sum(-1), rtol=1e-4)
  np.testing.assert_allclose(mass, 1.0, rtol=1e-5)
  merge = lambda x: np.concatenate([x[..., :2], x[..., 2:].sum(-1, keepdims=True)], -1)
  some, mass = top_k.TopK(k=2).of(z, (ids[..., :2], jnp.log(q[..., :2])))
  np.testing.assert_allclose(some, special.rel_entr(merge(q), merge(p)).sum(-1), rtol=1e-4)
  np.testing.assert_allclose(mass, q[..., :2].sum(-1), rtol=1e-5)
  # A teacher that runs says the same as its likeliest tokens in columns, at any temperature of both.
  teacher = jnp.asarray(rs.randn(1, 3, 6).astype(np.float32))
  live = top_k.TopK(k=3, live=True, temperature=1.7).of((z[0], teacher), ())
  kept = top_k.TopK(k=3, temperature=1.7).of(z, top_k.likeliest(teacher, 3, 1.7))
  np.testing.assert_allclose(live[0], kept[0], rtol=1e-6)
  best = np.sort(special.log_softmax(np.asarray(teacher) / 1.7, axis=-1))[..., ::-1][..., :3]
  np.testing.assert_allclose(top_k.likeliest(teacher, 3, 1.7)[1], best, rtol=1e-5)


def test_a_run_whose_reference_is_not_the_policy_ends_at_its_first_step():
  step = lambda size: lambda *args: (None, {"rewards/size": jnp.float32(size)})
  begins.checked(step(5e-7), dpo.Dpo(), "float32", 0)(1)
  begins.checked(step(0.5), dpo.Dpo(), "float32", 7)(1)
  begins.checked(step(0.5), dpo.Dpo(check_start=False), "float32", 0)(1)
  with pytest.raises(RuntimeError, match=r"begins with rewards/size = 0.5, .* Dropout, noise"):
    begins.checked(step(0.5), tdpo.Tdpo(), "float32", 0)(1)


@pytest.mark.heavy
def test_two_answers_in_a_list_are_dpo_and_ties_do_not_compete():
  scores = [[3.0, 1.0], [0.0, 2.0], [1.0, 1.0, 4.0], [2.0, 5.0, 3.0]]
  batch = given.judged([[(n + 2, {"score": s}) for n, s in enumerate(one)] for one in scores], ("score",))
  rs = np.random.RandomState(0)
  logp, ref = (rs.randn(*batch.tokens_BT.shape).astype(np.float32) for _ in range(2))
  views = {"policy": given.View(jnp.asarray(logp)), "reference": given.View(jnp.asarray(ref))}
  rewards = iter([0.3 * (logp - ref)[at].sum() for at in given.segments(batch)])
  wanted = {"plackett_luce": 0.0, "pairwise": 0.0}
  for one in scores:
    r, pairs = np.array([next(rewards) for _ in one]), []
    for i in range(len(one)):
      lower = [j for j in range(len(one)) if j == i or one[j] < one[i]]
      wanted["plackett_luce"] += special.logsumexp(r[lower]) - r[i]
      pairs += [-np.log(special.expit(r[i] - r[j])) for j in range(len(one)) if one[i] > one[j]]
    wanted["pairwise"] += np.mean(pairs)
  for loss, value in wanted.items():
    found = ranked.Ranked(loss=loss, beta=0.3)(views, jax.tree.map(jnp.asarray, batch), None)
    np.testing.assert_allclose(found.loss, value, rtol=1e-5)
    assert float(found.weight) == pytest.approx(len(scores), rel=1e-6)  # each pair counts as one part of its list


class Nothing(contracts.Objective):
  """A loss of 3, by token."""

  def __call__(self, views, batch, key):
    return contracts.Sums(jnp.float32(3), batch.weights_BT.sum(), {})


def test_hidden_states_are_those_of_a_plain_loop():
  """FitNets' and TinyBERT's distance, token by token and pair by pair."""
  rs, batch = np.random.RandomState(3), given.pairs([(2, 3), (4, 2)])
  B, T = batch.tokens_BT.shape
  own, other = rs.randn(2, B, T, 4).astype(np.float32), rs.randn(2, B, T, 6).astype(np.float32)
  w = rs.randn(2, 4, 6).astype(np.float32)
  inner, none = Nothing(), np.zeros((B, T), np.float32)
  outputs = lambda states_KBTD: {("out", layer): one for layer, one in enumerate(states_KBTD)}
  views = {"policy": given.Layers(none, outputs(own), w), "teacher": given.Layers(none, outputs(other))}
  for distance in ("mse", "cosine"):
    one = states.States(objective=inner, layers=((0, 1), (1, 0)), weight=0.7, distance=distance)
    found, wanted = one(views, batch, None), 0.0
    for b, t in zip(*np.nonzero(batch.weights_BT), strict=True):
      for k in range(2):
        h, g = own[k, b, t] @ w[k], other[1 - k, b, t]
        apart = ((h - g) ** 2).mean() if distance == "mse" else 1 - h @ g / np.linalg.norm(h) / np.linalg.norm(g)
        wanted += batch.weights_BT[b, t] * apart
    np.testing.assert_allclose(found.loss, 3 + 0.7 * wanted, rtol=1e-4)
    assert found.weight == batch.weights_BT.sum()
  with pytest.raises(ValueError, match="has 2 projections to 6 numbers; States.layers has 1 pairs"):
    states.States(objective=inner, layers=((0, 1),))(views, batch, None)
  with pytest.raises(ValueError, match="add a Regressor"):
    states.States(objective=inner, layers=((0, 1), (1, 0)), regressor="")(views, batch, None)


def test_relations_are_those_of_a_plain_loop():
  """MiniLM's relations and TinyBERT's maps, of models with other heads, over a prompt that stands once."""
  rs, batch = np.random.RandomState(5), given.pairs([(2, 3), (4, 2)], share=True)
  B, T = batch.tokens_BT.shape
  heads = lambda layer, q, kv, H: {
    (part, layer): rs.randn(B, T, n, H).astype(np.float32) for part, n in zip("qkv", (q, kv, kv), strict=True)
  }
  own, other = heads(0, 4, 2, 3), heads(7, 2, 1, 6)  # 12 numbers of queries, 6 of keys
  views = {"policy": given.Layers(np.zeros((B, T)), own), "teacher": given.Layers(np.zeros((B, T)), other)}
  how: dict[str, Any] = dict(layers=((0, 7),), heads=3, query_chunk=5, weight=0.7)
  make = lambda **more: relations.Relations(objective=Nothing(), **{**how, **more})
  kinds = {kind: make(relations=("qk", "qq", "vv"), distance=kind) for kind in ("kl", "mse")}
  found = jax.jit(lambda: {kind: one(views, jax.tree.map(jnp.asarray, batch), None) for kind, one in kinds.items()})()
  wanted = dict.fromkeys(kinds, 0.0)
  for b, t in zip(*np.nonzero(batch.weights_BT), strict=True):
    group = batch.groups_BT[b]
    inside = (batch.segments_BT[b] == batch.segments_BT[b, t]) & (np.arange(T) <= t)
    keys = np.flatnonzero(inside | ((group > 0) & (group == -group[t])))
    for first, second in ("qk", "qq", "vv"):
      scores = []
      for parts, layer in ((own, 0), (other, 7)):
        x, y = parts[first, layer][b], parts[second, layer][b]
        x, y = x.reshape(T, 3, -1), np.repeat(y, x.shape[1] // y.shape[1], axis=1).reshape(T, 3, -1)
        scores.append(np.einsum("rd,srd->rs", x[t], y[keys]) / np.sqrt(x.shape[2]))
      p, q = (special.log_softmax(s, axis=-1) for s in scores)
      wanted["kl"] += batch.weights_BT[b, t] * (np.exp(q) * (q - p)).sum(-1).mean()
      wanted["mse"] += batch.weights_BT[b, t] * ((scores[0] - scores[1]) ** 2).mean()
  for kind, value in wanted.items():
    np.testing.assert_allclose(found[kind].loss, 3 + 0.7 * value, rtol=1e-5)
  with pytest.raises(ValueError, match="5 does not divide the 12 numbers of q of the student"):
    make(heads=5)(views, batch, None)
  for bad, says in ((dict(heads=0), "heads must be positive"), (dict(relations=("qq", "qq")), "names one twice")):
    with pytest.raises(ValueError, match=says):
      make(**bad)


@pytest.mark.heavy
def test_no_map_of_a_row_exists_forwards_or_backwards():
  B, T, R, d = 1, 2048, 4, 8
  one = relations.Relations(objective=Nothing(), layers=((0, 0),), heads=R, relations=("qq",), query_chunk=32)
  rows = batch_lib.Batch(
    *(jax.ShapeDtypeStruct((B, T), kind) for kind in ("int32", "int32", "float32", "int32", "int32"))
  )
  vectors = jax.ShapeDtypeStruct((B, T, R, d), "float32")
  distance = lambda own, other, batch: one._distance_BT((own, own), (other, other), batch).sum()
  memory = jax.jit(jax.grad(distance)).lower(vectors, vectors, rows).compile().memory_analysis()
  assert memory.temp_size_in_bytes < B * R * T * T  # a quarter of one map in float32


def test_common_words_are_found_and_bounds_are_kept():
  shared = common_words.Shared.of({"a": 3, "b": 0, "c": 1}, {"c": 9, "a": 2, "d": 0})
  assert shared.own_M.tolist() == [3, 1] and shared.other_M.tolist() == [2, 9]
  own, other = shared.others(5, 10)
  assert own.tolist() == [0, 2, 4] and other.tolist() == [0, 1, 3, 4, 5, 6, 7, 8]
  with pytest.raises(errors.InputError, match="ids up to 3 and 9, and the models 5 and 9 logits"):
    shared.others(5, 9)
  with pytest.raises(errors.InputError, match="no word in common"):
    common_words.Shared.of({"a": 0}, {"b": 0})
  with pytest.raises(errors.InputError, match="give views.Model, with own_tokens"):
    given.View(np.zeros((1, 1))).shared_words  # noqa: B018
