"""Decoding equals teacher forcing, rows do not see each other, and scores are log-probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.peft.methods import bottleneck
from itune_jax.peft.methods import hira
from itune_jax.peft.methods import ia3
from itune_jax.peft.methods import lora
from itune_jax.peft.methods import oft
from itune_jax.peft.methods import prefix
from itune_jax.peft.methods import prompt as prompt_lib
from itune_jax.peft.methods import reft
from itune_jax.peft.methods import vera
from itune_jax.sampling.decode import admission
from itune_jax.sampling.decode import decode as decode_lib
from itune_jax.sampling.decode import one_token
from itune_jax.sampling.decode import choose as choose_lib
from itune_jax.sampling.decode import prefill
from itune_jax.sampling.decode import row_state
from itune_jax.sampling.score import score
from tests import tiny

PROMPTS = [[int(t) for t in ids] for ids, _ in tiny.examples(5, seed=3)]


@pytest.fixture(scope="module")
def model():
  return tiny.randomise(tiny.attach(tiny.base(), lora.Lora(rank=4)), scale=0.3)


def run(model, prompts, stops=(), mesh=None, params=None, **settings):
  decode = decode_lib.Decode(**{"max_new_tokens": 12, "batch": 4, **settings})
  images = [None] * len(prompts)  # as commands give them
  bind = tiny.binder(model.module, mesh)
  return decode_lib.generate(bind, params or model.params, prompts, decode, stops, 128, images=images)


METHODS = {
  "lora": [lora.Lora(rank=4)],
  "prompt": [prompt_lib.Prompt(count=3, scale=1.0)],
  "prefix": [prefix.Prefix(count=3, scale=1.0)],
  # What decoding could lose: a bank, a Gated layer, inputs, outputs, kernels, taps and prompts of their own.
  "many": [
    vera.Vera(rank=8),
    ia3.Ia3(sites=r"blocks/1/attn/v"),
    oft.Oft(block_size=4, sites=r"blocks/\d+/attn/q"),
    hira.Hira(rank=4, sites=r"blocks/\d+/mlp/up"),
    bottleneck.Bottleneck(width=4),
    reft.Reft(rank=4, first=2, last=1),
  ],
}


def is_greedy(model, prompt, out):
  """Every token is the likeliest behind those before it, with its log-probability."""
  ids = np.asarray(prompt + out.tokens + [0], np.int32)
  batch = tiny.unpacked([(ids, np.zeros(len(ids), np.float32))], 128)
  logp = np.asarray(jax.nn.log_softmax(tiny.logits(model, batch)[0]))[len(prompt) - 1 : len(ids) - 2]
  np.testing.assert_allclose(out.logprobs, logp[np.arange(len(out.tokens)), out.tokens], atol=1e-4)
  return out.tokens == logp.argmax(-1).tolist()


@pytest.mark.heavy
def test_learned_tokens_in_front_are_not_overwritten_where_a_cache_is_larger_than_the_prompts():
  """Positions begin behind the learned tokens, so slots do too: 60 + 20 positions wrap in the 64 slots of a prefill."""
  model = tiny.randomise(tiny.attach(tiny.base(), prompt_lib.Prompt(count=20, scale=1.0)), scale=0.3)
  prompts = [np.random.RandomState(1).randint(0, 60, 60).tolist(), PROMPTS[4][:5]]
  for prompt, out in zip(prompts, run(model, prompts, max_new_tokens=60, batch=1), strict=True):
    assert len(out.tokens) == 60 and is_greedy(model, prompt, out)


@pytest.mark.parametrize("mesh", [None, dict(data=2, fsdp=2, tensor=2)])
@pytest.mark.by_default(1, heavy=2)
def test_what_all_prompts_begin_with_runs_once_and_changes_nothing(mesh, model, monkeypatch):
  front = [int(t) for t in np.random.RandomState(0).randint(0, 60, 70)]
  prompts = [front + p[: 2 + 3 * i] for i, p in enumerate(PROMPTS)] + [front + [1]] * 2
  seen = []
  pack = prefill.pack_prompts
  count = lambda given, *rest: (seen.append(sum(map(len, given))), pack(given, *rest))[1]
  monkeypatch.setattr(prefill, "pack_prompts", count)
  made, there = None, {}
  if mesh:
    made = tiny.mesh(8, **mesh)
    put = lambda x: jax.device_put(np.asarray(x), jax.NamedSharding(made, jax.P()))
    there = {"params": {n: put(v) for n, v in model.params.items()}}
  found = run(model, prompts, mesh=made, max_new_tokens=20, batch=4, **there)
  # Equal prompts enter together, once; on the mesh each shard has one row, so that both run there.
  assert sum(seen) == 64 + sum(len(p) - 64 for p in (prompts if mesh else prompts[:-1]))
  for prompt, out in zip(prompts, found, strict=True):
    assert is_greedy(model, prompt, out)
  monkeypatch.setattr(admission, "SHARED", 1000)
  alone = run(model, prompts, mesh=made, max_new_tokens=20, batch=4, **there)
  assert [out.tokens for out in alone] == [out.tokens for out in found]
  ids = np.asarray(prompts[0] + found[0].tokens, np.int32)
  rounding = tiny.rounding(model, tiny.unpacked([(ids, np.zeros(len(ids), np.float32))], 128))
  np.testing.assert_allclose(found[0].logprobs, alone[0].logprobs, rtol=0, atol=rounding / 4)


@pytest.mark.heavy
def test_no_part_of_a_prompt_runs_alone_where_an_adapter_looks_at_its_end(monkeypatch):
  front = [int(t) for t in np.random.RandomState(0).randint(0, 60, 70)]
  prompts = [front + p[:2] for p in PROMPTS]
  ends = tiny.randomise(tiny.attach(tiny.base(), reft.Reft(rank=4, last=4, sites=r"blocks/0/tap_out")), scale=0.5)
  found = run(ends, prompts, batch=2)
  monkeypatch.setattr(admission, "SHARED", 1000)
  same = [(a.tokens, np.round(a.logprobs, 3).tolist()) for a in found]
  assert same == [(a.tokens, np.round(a.logprobs, 3).tolist()) for a in run(ends, prompts, batch=2)]


@pytest.mark.parametrize("methods", METHODS)
@pytest.mark.by_default("lora", "many")
def test_greedy_equals_teacher_forcing_with_log_probabilities(methods):
  model = tiny.randomise(tiny.attach(tiny.base(), *METHODS[methods]), scale=0.3)
  for prompt, out in zip(PROMPTS, run(model, PROMPTS), strict=True):
    ids = np.asarray(prompt + out.tokens + [0], np.int32)
    trained = (np.arange(len(ids)) >= len(prompt)).astype(np.float32)
    logits = np.asarray(tiny.logits(model, tiny.unpacked([(ids, trained)], 64)))[0]
    logp = np.asarray(jax.nn.log_softmax(logits))
    for i, (token, lp) in enumerate(zip(out.tokens, out.logprobs, strict=True)):
      at = len(prompt) + i - 1
      assert logits[at].argmax() == token
      np.testing.assert_allclose(logp[at, token], lp, atol=1e-4)


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.8, "top_p": 0.9, "seed": 7}], ids=["greedy", "nucleus"])
@pytest.mark.heavy
def test_a_row_is_the_same_in_any_batch(model, settings):
  together = run(model, PROMPTS, **settings)
  assert [o.tokens for o in together] == [o.tokens for o in run(model, PROMPTS, batch=2, **settings)]
  assert [o.tokens for o in run(model, PROMPTS[:1], batch=1, **settings)] == [together[0].tokens]


def test_stop_tokens_end_a_row_and_are_left_out(model):
  free = run(model, PROMPTS)
  stop = free[0].tokens[4]
  stopped = run(model, PROMPTS, stops=(stop,))
  for a, b in zip(free, stopped, strict=True):
    n = a.tokens.index(stop) if stop in a.tokens else len(a.tokens)
    assert b.tokens == a.tokens[:n] and b.stopped == (stop in a.tokens)


@pytest.mark.heavy
def test_sharded_decoding_gives_the_same_tokens(model):
  mesh = tiny.mesh(8, data=2, fsdp=2, tensor=2)
  there = tiny.attach(tiny.base(mesh), lora.Lora(rank=4), the_mesh=mesh)
  params = {n: jax.device_put(np.asarray(model.params[n]), v.sharding) for n, v in there.params.items()}
  prompts = [*PROMPTS, PROMPTS[0]]
  assert [o.tokens for o in run(there, prompts, mesh=mesh, params=params)] == [o.tokens for o in run(model, prompts)]


@pytest.mark.parametrize("share", [2**30, 0], ids=["copies", "parts"])
@pytest.mark.heavy
def test_decoding_is_laid_out_for_one_token_a_row(share, model, monkeypatch):
  """Small models lie whole where training sharded them over the batch's axes; of others, wide axes are cut."""
  monkeypatch.setattr(one_token, "SHARE", share)
  mesh = tiny.mesh(8, data=2, fsdp=2, tensor=2)
  there = tiny.attach(tiny.base(mesh), lora.Lora(rank=4), the_mesh=mesh)
  params = {n: jax.device_put(np.asarray(model.params[n]), v.sharding) for n, v in there.params.items()}
  bind = one_token.laid_out(tiny.binder(there.module, mesh), params)
  where = bind.shardings(params)
  up, value = where["blocks/mlp/up/kernel"].spec, where["blocks/attn/v/kernel"].spec
  wide = ("tensor", "fsdp") if share == 0 else ("tensor",)
  assert up == jax.P(None, None, wide) and dict(bind.rules)["batch"] == (("data",) if share == 0 else ("data", "fsdp"))
  assert value[2] in ("tensor", ("tensor",)), "key-value heads stay with the cache's"
  prompts = [*PROMPTS, PROMPTS[0]]
  assert [o.tokens for o in run(there, prompts, mesh=mesh, params=params)] == [o.tokens for o in run(model, prompts)]


def test_a_new_temperature_compiles_nothing(model):
  run(model, PROMPTS[:4], temperature=0.5)
  loop = row_state.loop_program(one_token.prepare(tiny.binder(model.module), model.params)[0])
  before = loop._cache_size()
  run(model, PROMPTS[:4], temperature=0.9, top_p=0.7, seed=3)
  assert loop._cache_size() == before


def test_top_p_keeps_the_smallest_set_that_reaches_it():
  logits = jnp.log(jnp.asarray([[0.5, 0.3, 0.15, 0.05]]))
  keys = jax.random.split(jax.random.key(0), 400)
  choose = jax.jit(lambda p: choose_lib.choose(jnp.broadcast_to(logits, (400, 4)), keys, jnp.float32(1), p)[0])
  draw = lambda p: set(np.asarray(choose(jnp.float32(p))).tolist())
  assert draw(0.5) == {0} and draw(0.7) == {0, 1} and draw(0.9) == {0, 1, 2}
  tokens = np.asarray(choose(jnp.float32(1)))
  np.testing.assert_allclose((tokens == 0).mean(), 0.5, atol=0.08)


def test_prompts_that_do_not_fit_are_refused(model):
  with pytest.raises(errors.InputError, match="prompt 1 has 128 tokens"):
    run(model, [[1], [1] * 128])
  with pytest.raises(errors.InputError, match="prompt 0 has 0 tokens"):
    run(model, [[]])


def test_scores_are_sums_of_log_probabilities(model):
  pairs = [(p[:2], p[2:]) for p in PROMPTS] + [(PROMPTS[0], run(model, PROMPTS[:1])[0].tokens[:5])]
  found = score.loglikelihood(tiny.binder(model.module), model.params, pairs, max_length=64)
  for (context, continuation), one in zip(pairs, found, strict=True):
    ids = np.asarray([*context, *continuation], np.int32)
    logp = np.asarray(
      jax.nn.log_softmax(tiny.logits(model, tiny.unpacked([(ids, np.ones(len(ids), np.float32))], 64)))
    )[0]
    at = range(len(context) - 1, len(ids) - 1)
    np.testing.assert_allclose(one.logprob, sum(logp[t, ids[t + 1]] for t in at), atol=1e-3)
    assert one.is_greedy == all(logp[t].argmax() == ids[t + 1] for t in at) and one.tokens == len(continuation)
  assert found[-1].is_greedy
  with pytest.raises(errors.InputError, match="pair 0"):
    score.loglikelihood(tiny.binder(model.module), model.params, [([], [1])], max_length=64)


def test_places_of_rows_that_ended_are_refilled(model):
  """Many prompts through few rows, ending at different lengths: each as alone, in fewer steps than batches take."""
  prompts = [[int(t) for t in ids] for ids, _ in tiny.examples(17, seed=4, longest=60)]
  free = run(model, prompts, batch=1, max_new_tokens=24)
  ends = lambda stop: [o.tokens.index(stop) if stop in o.tokens else 24 for o in free]
  stop = max(range(64), key=lambda t: len(set(ends(t))))
  lengths = ends(stop)
  assert len(set(lengths)) > 4 and max(lengths) == 24, lengths
  loops, build = [], row_state.loop_program

  def counted(bind):
    def loop(params, state, enough, sampling):
      before = np.asarray(state.texts.count_B)
      state = build(bind)(params, state, enough, sampling)
      loops.append(int((np.asarray(state.texts.count_B) - before).max()))
      return state

    return loop

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(row_state, "loop_program", counted)
    found = run(model, prompts, (stop,), batch=4, max_new_tokens=24)
  assert [o.tokens for o in found] == [o.tokens[:n] for o, n in zip(free, lengths, strict=True)]
  assert [o.stopped for o in found] == [n < 24 for n in lengths]
  order = sorted(range(17), key=lambda i: len(prompts[i]))
  batches = sum(max(lengths[i] for i in order[at : at + 4]) for at in range(0, 17, 4))
  assert sum(loops) < 0.8 * batches, (sum(loops), batches)


@pytest.mark.heavy
def test_the_last_rows_move_together_into_fewer(model, monkeypatch):
  prompts = [[int(t) for t in ids] for ids, _ in tiny.examples(11, seed=4, longest=60)]
  limits, sizes, build = [1 + 2 * i for i in range(11)], [], row_state.loop_program
  bind, decode = tiny.binder(model.module), decode_lib.Decode(batch=8, max_new_tokens=24)
  go = lambda: decode_lib.generate(bind, model.params, prompts, decode, (), 128, limits=limits)
  whole = go()
  monkeypatch.setattr(row_state, "FEW", 2)
  counted = lambda bind: lambda params, state, *more: (
    sizes.append(len(state.token_B)),
    build(bind)(params, state, *more),
  )[1]
  monkeypatch.setattr(row_state, "loop_program", counted)
  found = go()
  assert sizes[0] == 8 and sizes[-2:] == [4, 2], sizes
  assert [o.tokens for o in found] == [o.tokens for o in whole] and [len(o.tokens) for o in found] == limits
  for one, other in zip(found, whole, strict=True):
    np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-5)


@pytest.mark.heavy
@pytest.mark.parametrize("short", [9, 0], ids=["after short ones", "from the start"])
def test_rows_with_long_prompts_are_fewer(model, monkeypatch, short):
  prompts = [[1 + (7 * i + k) % 60 for k in range(n)] for i, n in enumerate([*range(3, 3 + short), *range(70, 80)])]
  limits, sizes, build = [3 + 5 * i % 17 for i in range(len(prompts))], [], row_state.loop_program
  bind, decode = tiny.binder(model.module), decode_lib.Decode(batch=8, max_new_tokens=24)
  go = lambda: decode_lib.generate(bind, model.params, prompts, decode, (), 128, limits=limits)
  whole = go()
  monkeypatch.setattr(row_state, "FEW", 2)
  monkeypatch.setattr(row_state, "ROOM", 64)
  counted = lambda bind: lambda params, state, *more: (
    sizes.append((len(state.token_B), row_state.slots_of(state))),
    build(bind)(params, state, *more),
  )[1]
  monkeypatch.setattr(row_state, "loop_program", counted)
  found = go()
  assert max(rows * slots for rows, slots in sizes) == 8 * 64 and (4, 128) in sizes, sizes
  assert sizes[0] == ((8, 64) if short else (4, 128))
  for one, other in zip(found, whole, strict=True):
    assert one.tokens == other.tokens
    np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-5)


def test_equal_prompts_are_prefilled_once_and_sampled_apart(model, monkeypatch):
  order, seen, real = (2, 0, 2, 2, 1, 0), [], prefill.pack_prompts
  prompts = [PROMPTS[i] for i in order]
  monkeypatch.setattr(prefill, "pack_prompts", lambda given, *more: seen.append(len(given)) or real(given, *more))
  greedy = run(model, prompts, batch=8)
  assert seen == [3]
  alone = [out.tokens for out in run(model, PROMPTS[:3], batch=1)]
  assert [out.tokens for out in greedy] == [alone[i] for i in order]
  drawn = [tuple(out.tokens) for out in run(model, prompts, batch=8, temperature=1.0)]
  assert len({drawn[i] for i in (0, 2, 3)}) == 3, "equal prompts have keys of their own"
