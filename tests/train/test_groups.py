"""A prompt that stands once gives what it gives repeated: logits, losses, scores, all gradients, however layers run."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.core import axes
from itune_jax.core import batch as batch_lib
from itune_jax.core import errors
from itune_jax.core import pack
from itune_jax.models import encdec
from itune_jax.nn import moe
from itune_jax.nn import rope
from itune_jax.objectives import sft
from itune_jax.parallel import shard
from itune_jax.peft.methods import full
from itune_jax.peft.methods import lora
from itune_jax.peft.methods import prefix
from itune_jax.peft.methods import prompt
from itune_jax.peft.methods import reft
from itune_jax.peft.methods import routed
from itune_jax.sampling.score import score
from itune_jax.train import step as step_lib
from tests import tiny

MIXED = dataclasses.replace(
  tiny.CONFIG,
  depth=4,
  head_dim=16,
  tied=False,
  windows=(8, 0, 12, 0),
  local_rope=rope.Rope(base=50.0),
  no_rope=(0, 0, 0, 1),
  attention_softcap=5.0,
)
EXPERTS = dataclasses.replace(tiny.CONFIG, depth=1, moe=moe.MoeSpec(experts=4, top_k=2, dispatch="dense"))
ROUTED = lora.Lora(rank=2, sites=r"blocks/\d+/mlp/experts/\d+/up"), routed.Routed(sites=r"blocks/\d+/attn/(q|o)")


def balanced(over):
  return sft.Sft(chunk=16, router_balance=0.5, router_balance_over=over, normalise="example")


CASES = {
  "adapters": (tiny.CONFIG, (lora.Lora(rank=4), prefix.Prefix(count=3)), sft.Sft(chunk=16)),
  "prompt": (tiny.CONFIG, (prompt.Prompt(count=3),), sft.Sft(chunk=16)),
  "mixed": (MIXED, (full.Full(),), sft.Sft(chunk=16)),
  "segment": (EXPERTS, ROUTED, balanced("segment")),
  "batch": (EXPERTS, ROUTED, balanced("batch")),
}


def groups(seed=0, count=4):
  """Groups of 2 to 4 answers behind a prompt, of 1 (which shares nothing), and answers behind nothing in common."""
  rs, found = np.random.RandomState(seed), []
  for n in [*rs.randint(2, 5, count), 1]:
    own, items = rs.randint(0, 64, rs.randint(6, 16)), []
    for _ in range(n):
      answer = rs.randint(0, 64, rs.randint(2, 9))
      weights = np.r_[np.zeros(len(own)), np.full(len(answer), rs.choice([0.5, 1.0]))]
      items.append(pack.Item(np.r_[own, answer].astype(np.int32), weights.astype(np.float32)))
    found.append(pack.grouped(items))
  apart = [pack.Item(np.r_[i, rs.randint(0, 64, 6)].astype(np.int32), np.ones(7, np.float32)) for i in range(2)]
  return [*found, pack.grouped(apart)]


def rows_of(found, row_length, count):
  """Rows of groups: at most `count`, filled up with empty ones."""
  members = pack.best_fit_decreasing([g.positions for g in found], row_length)
  assert len(members) <= count
  return [[found[i] for i in row] for row in members] + [[]] * (count - len(members))


GROUPS = groups()
ONCE = rows_of(GROUPS, 64, 4)
REPEATED = rows_of([g.repeated() for g in GROUPS], 96, 4)
BATCH, AGAIN = pack.fill(ONCE, 64), pack.fill(REPEATED, 96)


def by_item(rows, values):
  """(item, position) -> its value, of what branches (and segments alone) hold."""
  numbers, found = {id(item): i for i, item in enumerate(item for g in GROUPS for item in g.items)}, {}
  for b, row in enumerate(rows):
    for segment in pack.segments(row):
      if segment.group <= 0:
        places = range(segment.first, segment.last)
        found |= {(numbers[id(segment.item)], p): values[b, segment.begins + p - segment.first] for p in places}
  return found


def same(once, again, atol=1e-5):
  """Every position that branches hold has the value that it has where the prompt is repeated."""
  ours, theirs = by_item(ONCE, np.asarray(once)), by_item(REPEATED, np.asarray(again))
  assert ours.keys() <= theirs.keys() and len(ours) == sum(len(i.ids) - 1 - g.trunk for g in GROUPS for i in g.items)
  for at, value in ours.items():
    np.testing.assert_allclose(value, theirs[at], atol=atol)


def gradients(case, batch, remat="none", **sizes):
  """Sums, and gradients of all that trains, under random values of it."""
  cfg, methods, objective = CASES[case]
  mesh = tiny.mesh(**(sizes or {"devices": 1}))
  attached = tiny.attach(tiny.base(mesh, cfg, remat=remat), *methods, the_mesh=mesh)
  values = tiny.randomise(tiny.attach(tiny.base(cfg=cfg), *methods)).params
  params = {n: jax.device_put(np.asarray(values[n]), v.sharding) for n, v in attached.params.items()}
  trainable = {n: params[n] for n in attached.trainable}
  frozen = {n: v for n, v in params.items() if n not in trainable}
  bind = tiny.binder(attached.module, mesh)
  run = jax.jit(lambda t, f, b: step_lib.gradients(bind, objective, t, f, b, jax.random.key(0)))
  stacked = jax.tree.map(lambda x: np.asarray(x)[None], batch)
  there = shard.global_batch(stacked, mesh, axes.DEFAULT_RULES, len(batch.tokens_BT), stacked=True)
  sums, grads = run(trainable, frozen, there)
  return sums, {name: np.asarray(g) for name, g in grads.items()}


@functools.cache
def repeated(case):
  """What prompts repeated give on one device."""
  return gradients(case, AGAIN)


def close(case, **how):
  """Sums and gradients are those of prompts repeated. Returns the weight."""
  (sums, grads), (other, wanted) = gradients(case, BATCH, **how), repeated(case)
  np.testing.assert_allclose(float(sums.loss), float(other.loss), rtol=1e-5)
  np.testing.assert_allclose(float(sums.weight), float(other.weight), rtol=1e-6)
  for name, g in wanted.items():
    assert np.linalg.norm(grads[name] - g) <= 1e-5 * max(np.linalg.norm(g), 1e-6), name
  return float(sums.weight)


FULL = pytest.mark.full


@pytest.mark.parametrize(
  "remat, sizes",
  [
    ("taps", {}),
    ("none", dict(devices=8, data=2, fsdp=2, tensor=2)),
    pytest.param("full", dict(devices=4, fsdp=4), marks=FULL),
    pytest.param("taps", dict(devices=8, fsdp=1, data=2, sequence=4), marks=FULL),
  ],
  ids=str,
)
@pytest.mark.heavy
def test_adapters_and_learned_prefixes(remat, sizes):
  """Scanned, rematerialised, on eight devices; keys in front of trunk and branches alike."""
  close("adapters", remat=remat, **sizes)


@pytest.mark.parametrize(
  "sizes",
  [
    dict(devices=4, data=1, fsdp=1, sequence=4),
    pytest.param(dict(devices=8, fsdp=2, tensor=2, stage=2), marks=FULL),
    pytest.param(dict(devices=8, fsdp=2, sequence=2, stage=2), marks=FULL),
    pytest.param({}, marks=FULL),
  ],
  ids=str,
)
@pytest.mark.heavy
def test_windows_softcaps_rotations_by_layer_and_all_parameters(sizes):
  close("mixed", **sizes)


@pytest.mark.parametrize("over", ["segment", pytest.param("batch", marks=FULL)])
@pytest.mark.parametrize("sizes", [{}, pytest.param(dict(devices=4, fsdp=2, expert=2), marks=FULL)], ids=str)
@pytest.mark.heavy
def test_experts_and_their_balance(over, sizes):
  """The model's own, and those that adapters route to; examples weigh alike."""
  assert close(over, **sizes) == pytest.approx(sum(len(g.items) for g in GROUPS), rel=1e-6)


@FULL
def test_learned_tokens_in_front_of_the_input():
  close("prompt")


def test_logits_and_scores():
  model = tiny.base(cfg=MIXED)
  bind = tiny.binder(model.module)
  same(tiny.logits(model, BATCH), tiny.logits(model, AGAIN))
  (nll, hit), (nll_again, hit_again) = (score.losses(bind, model.params, batch) for batch in (BATCH, AGAIN))
  same(nll, nll_again)
  same(hit, hit_again, 0)
  assert (np.asarray(BATCH.weights_BT) != 0).sum() > 50


def test_noise_and_weights_go_by_examples():
  once, again = (jax.tree.map(jnp.asarray, batch) for batch in (BATCH, AGAIN))
  noise = lambda batch: sft._neftune(batch.segments_BT, batch.groups_BT, 5.0)
  same(noise(once), noise(again), 1e-6)
  same(*(sft.Sft(normalise="example").weights(batch) for batch in (once, again)), 1e-6)
  (group,) = [g for g in GROUPS if g is ONCE[0][0]]
  lengths = np.asarray([len(item.ids) - 1 for item in group.items])
  np.testing.assert_allclose(noise(once)[0, 0], 5 * np.sqrt(np.mean(1 / lengths)), rtol=1e-5)


def test_what_trains_in_a_trunk_is_no_trunk():
  ids, weights = np.arange(8, dtype=np.int32), np.r_[0, 0, np.ones(6)].astype(np.float32)
  items = (pack.Item(ids, weights),) * 2
  assert pack.grouped(items).shared == 2
  with pytest.raises(errors.InputError, match="shared=5"):
    pack.fill([[pack.Group(items, 5)]], 32)
  other = pack.Item(ids + 1, weights)
  with pytest.raises(errors.InputError, match="begin with other ids"):
    pack.fill([[pack.Group((items[0], other), 2)]], 32)


def test_images_are_not_shared():
  ids, weights = np.arange(8, dtype=np.int32), np.r_[np.zeros(6), 1, 1].astype(np.float32)
  items = [pack.Item(ids, weights, np.full((1, 2, 2, 3), i, np.float32)) for i in range(2)]
  batch = pack.fill([[pack.grouped(items)]], 32)
  assert (np.asarray(batch.groups_BT[0, :14]) == -1).all() and batch.images.shape[:2] == (1, 2)
  with pytest.raises(errors.InputError, match="images"):
    pack.fill([[pack.Group(tuple(items), 4)]], 32)


def context_of(cfg, *methods):
  mesh = tiny.mesh(1)
  model = tiny.base(mesh, cfg)
  model = tiny.attach(model, *methods) if methods else model
  return tiny.binder(model.module)(model.params), lambda view: view.context(jax.tree.map(jnp.asarray, BATCH))


T5 = encdec.EncDecConfig(vocab=64, width=16, depth=2, decoder_depth=2, heads=2, head_dim=8, mlp=32)


@pytest.mark.parametrize(
  "cfg, methods, says",
  [
    (dataclasses.replace(tiny.CONFIG, prefix_lm=True), (), "prefix-LM"),
    (dataclasses.replace(tiny.CONFIG, rope=rope.Rope(scaling="dynamic", factor=2.0)), (), "rotation by length"),
    (T5, (), "encoder-decoder"),
    (tiny.CONFIG, (reft.Reft(rank=2, last=2),), "ends of prompts"),
  ],
  ids=["prefix-lm", "dynamic", "t5", "reft"],
)
def test_what_cannot_be_is_refused(cfg, methods, says):
  view, context = context_of(cfg, *methods)
  with pytest.raises(errors.InputError, match=f"{says}.*repeat_prompts"):
    context(view)
  view.context(dataclasses.replace(BATCH, groups_BT=None))
  assert AGAIN.groups_BT is not None and view.context(AGAIN).groups_BT is None  # pairs go with any model, repeated


def test_a_cache_takes_no_groups():
  view, context = context_of(tiny.CONFIG)
  with pytest.raises(errors.InputError, match="cache"):
    view.decode(jnp.asarray(BATCH.tokens_BT), context(view), view.empty_cache(4, 64))


def test_first_positions_of_prompts_are_those_of_examples():
  """An adapter that moves the first of a prompt sees no ends: a trunk's are moved, and a branch's not."""
  model = tiny.randomise(tiny.attach(tiny.base(), reft.Reft(rank=2, first=3)))
  same(tiny.logits(model, BATCH), tiny.logits(model, AGAIN))
  assert isinstance(BATCH, batch_lib.Batch)
