"""Samples of a prompt share one prefill and one copy of its keys, and are what separate prompts would be."""

import dataclasses

import jax
import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.peft.combine import mixed
from itune_jax.peft.methods import lora
from itune_jax.peft.methods import prompt as prompt_lib
from itune_jax.peft.methods import reft
from itune_jax.sampling.decode import admission
from itune_jax.sampling.decode import admit
from itune_jax.sampling.decode import decode as decode_lib
from itune_jax.sampling.decode import one_token
from itune_jax.sampling.decode import prefill
from itune_jax.sampling.decode import row_state
from tests import tiny
from tests.models import folders

rs = np.random.RandomState(5)
PROMPTS = [rs.randint(0, 60, n).tolist() for n in (9, 70, 33, 12)]
ASKS = [decode_lib.Ask(prompt=p) for p in PROMPTS]
HOT = dict(temperature=1.0, seed=3)
FEW = dict(HOT, n=4, batch=4)
MESH = dict(data=2, fsdp=2, tensor=2)
FULL = pytest.mark.full


def tuned(cfg=tiny.CONFIG, *methods):
  return tiny.randomise(tiny.attach(tiny.base(cfg=cfg), *(methods or [lora.Lora(rank=4)])), scale=0.3)


@pytest.fixture(scope="module")
def model():
  return tiny.base()


@pytest.fixture
def kept(monkeypatch):
  """Prompts short enough for a test are kept once. What was prefilled, and the cache whenever rows entered."""
  monkeypatch.setattr(admission, "LONG", 1)
  ran, caches, pack, admitted = [], [], prefill.pack_prompts, admit.program
  monkeypatch.setattr(prefill, "pack_prompts", lambda given, *more: ran.extend(given) or pack(given, *more))
  shapes = lambda cache: jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), cache)
  noted = lambda bind: lambda params, state, *more: (
    caches.append(shapes(state.cache)),
    admitted(bind)(params, state, *more),
  )[1]
  monkeypatch.setattr(admit, "program", noted)
  return ran, caches


def run(model, asks, mesh=None, stops=(), **settings):
  decode = decode_lib.Decode(**{"max_new_tokens": 12, "batch": 8, **settings})
  params = model.params
  if mesh is not None:
    params = {n: jax.device_put(np.asarray(v), jax.NamedSharding(mesh, jax.P())) for n, v in params.items()}
  return decode_lib.generate(tiny.binder(model.module, mesh), params, asks, decode, stops, 128)


def apart(asks, n):
  """The same samples, each a request of its own."""
  alone = lambda i, ask, k: dataclasses.replace(ask, id=i if ask.id is None else ask.id, n=1, first=ask.first + k)
  return [alone(i, ask, k) for i, ask in enumerate(asks) for k in range(ask.n or n)]


def same(found, expected, atol=1e-4):
  say = lambda outs: [(o.id, o.sample, o.tokens, o.finish) for o in outs]
  assert say(found) == say(expected)
  for one, other in zip(found, expected, strict=True):
    np.testing.assert_allclose(one.logprobs, other.logprobs, atol=atol)


@pytest.fixture(scope="module")
def copied(model):
  """The samples as separate prompts, whose keys are copied into each row."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(admission, "LONG", 1000)
    return run(model, apart(ASKS, 4), batch=16, **HOT)


@pytest.mark.parametrize("batch,mesh", [(16, None), (4, None), (8, MESH)])
@pytest.mark.by_default(1, heavy=3)
def test_samples_are_what_separate_prompts_are(batch, mesh, model, copied, kept):
  found, (ran, caches) = run(model, ASKS, tiny.mesh(8, **mesh) if mesh else None, n=4, batch=batch, **HOT), kept
  same(found, copied)
  assert len({tuple(o.tokens) for o in found}) == 16
  assert caches and all(cache.prompts is not None for cache in caches)
  slots = max(cache.slots for cache in caches)
  assert slots == 64, "rows hold no prompt"
  if not mesh:  # each prompt ran once, however few rows there were for its samples
    assert sorted(map(len, ran)) == sorted(map(len, PROMPTS))
    assert max(cache.prompts.cache.positions_BS.shape[0] for cache in caches) <= 4


def test_a_request_is_resumed_by_its_id(model, copied, kept):
  """In other company, another order, from another sample on: what hangs on the id is the same."""
  named = [dataclasses.replace(ask, id=i) for i, ask in enumerate(ASKS)]
  found = run(
    model, [dataclasses.replace(named[i], first=first) for i, first in ((2, 2), (0, 1), (3, 0), (1, 7))], **FEW
  )
  same(found[:2] + found[4:7] + found[8:12], copied[10:12] + copied[1:4] + copied[12:])
  words = [dataclasses.replace(ask, id=f"row/{i}") for i, ask in enumerate(ASKS)]
  first = run(model, words, **FEW)
  same(run(model, words[::-1], **FEW), [out for i in (3, 2, 1, 0) for out in first[4 * i : 4 * i + 4]])
  assert [o.id for o in first[3:5]] == ["row/0", "row/1"]
  assert len({tuple(o.tokens) for o in [*first, *copied]}) == 32


def test_keys_hang_on_seed_id_and_sample():
  make = lambda *given: admission.Sample(*given, [1], 1, None)
  words = [admission._words(make(*given)) for given in ((0, 0), (1, 0), (0, 1), ("0", 0), ("0", 1), ("1", 0))]
  assert len(set(map(tuple, words))) == 6 and words[1] == [1]
  given = dict(params=None, prompts=[], whats=[], batch=4, kind=None, mixed=False, lead=None, cuts=True)
  keys = lambda seed: admission.Given(None, samples=[make(5, 0), make("a", 2)], seed=seed, **given)._keys([0, 1, -1])
  expected = jax.random.fold_in(jax.random.fold_in(jax.random.key(7), admission.rng.stream("sample")), 5)
  assert (jax.random.key_data(keys(7)[0]) == jax.random.key_data(expected)).all(), "the key of before requests had ids"
  assert (jax.random.key_data(keys(7)) != jax.random.key_data(keys(8))).any(axis=1).all()


def test_rows_move_together_and_prompts_with_them(model, copied, kept, monkeypatch):
  asks = [dataclasses.replace(ask, limit=2 + 3 * i) for i, ask in enumerate(apart(ASKS[:2], 2))]
  monkeypatch.setattr(row_state, "FEW", 2)
  sizes, build = [], row_state.loop_program
  size = lambda state: (len(state.token_B), len(state.ends_GD))
  counted = lambda bind: lambda params, state, *more: (sizes.append(size(state)), build(bind)(params, state, *more))[1]
  monkeypatch.setattr(row_state, "loop_program", counted)
  found = run(model, asks, batch=4, **HOT)
  cut = lambda out, n: dataclasses.replace(out, tokens=out.tokens[:n], logprobs=out.logprobs[:n])
  same(found, [cut(copied[i + 2 * (i // 2)], 2 + 3 * i) for i in range(4)])
  assert sizes[0] == (4, 2) and sizes[-1] == (2, 1), sizes


@pytest.mark.heavy
def test_more_samples_of_some_prompts_than_of_others(model, copied, kept):
  """Places have room for the average: a prompt with more samples has several."""
  asks = [dataclasses.replace(ask, n=n) for ask, n in zip(ASKS, (4, 1, 1, 2), strict=True)]
  same(run(model, asks, **HOT), [*copied[:4], copied[4], copied[8], *copied[12:14]])
  assert kept[1][-1].prompts.members_GR.shape[1] == 2


@FULL
def test_adapters_of_rows(model, kept):
  one = {name: tuned(tiny.CONFIG, lora.Lora(rank=2, name=name)) for name in "ab"}
  base = tiny.base()
  both = mixed.combine(base.module, base.params, one, mesh=tiny.mesh(1))
  asks = [decode_lib.Ask(prompt=PROMPTS[i], adapter=number, id=i) for i in (0, 2) for number in (0, 1, None)]
  found = run(both, asks, n=2, batch=8, **HOT)
  assert kept[1][-1].prompts is not None and len(kept[0]) == 6
  for k, model in enumerate((one["a"], one["b"], base)):
    alone = [dataclasses.replace(asks[i], adapter=None) for i in (k, k + 3)]
    same(found[2 * k : 2 * k + 2] + found[2 * k + 6 : 2 * k + 8], run(model, alone, n=2, batch=4, **HOT))


MODELS = {
  "windows": (dataclasses.replace(tiny.CONFIG, windows=(0, 6)), ()),
  "learned_in_front": (tiny.CONFIG, (prompt_lib.Prompt(count=3, scale=1.0),)),
  "sees_ends": (tiny.CONFIG, (reft.Reft(rank=4, last=4, sites=r"blocks/0/tap_out"),)),
  "by_length": (
    dataclasses.replace(
      tiny.CONFIG, rope=tiny.rope.Rope(base=100.0, scaling="dynamic", factor=2.0, original_length=16)
    ),
    (),
  ),
}


@pytest.mark.parametrize("name", [n if n == "learned_in_front" else pytest.param(n, marks=FULL) for n in MODELS])
@pytest.mark.heavy
def test_models_whose_beginnings_are_not_shared(name, kept, monkeypatch):
  """What all prompts begin with may depend on what comes behind; a whole prompt does not."""
  cfg, methods = MODELS[name]
  model, asks = tuned(cfg, *methods), ASKS[::2]
  found = run(model, asks, n=2, batch=4, **HOT)
  assert kept[1][-1].prompts is not None
  monkeypatch.setattr(admission, "LONG", 1000)
  same(found, run(model, apart(asks, 2), batch=4, **HOT))


@FULL
@pytest.mark.parametrize("case", ["paligemma", "t5-v1.1"])
def test_images_and_encoder_decoders(case, kept, tmp_path):
  """Sources of encoder-decoders are copied into each row as before; of one picture and question the keys stand once."""
  ours = folders.open_ours(folders.write(case, tmp_path / "m"))
  pixels = lambda seed: np.random.RandomState(seed).randn(1, 16, 16, 3).astype(np.float32)
  pictures = [pixels(0), pixels(1), None] if case == "paligemma" else [None] * 3
  prompts = [([] if x is None else [90] * 16) + PROMPTS[0][:k] for k, x in zip((5, 5, 9), pictures, strict=True)]
  asks = [decode_lib.Ask(prompt=p, images=x) for p, x in zip(prompts, pictures, strict=True)]
  decode = lambda asks, **more: decode_lib.generate(
    *(tiny.binder(ours.module), ours.params, asks, decode_lib.Decode(max_new_tokens=6, **HOT, **more), (), 64)
  )
  found = decode(asks, n=2, batch=6)
  assert (case == "paligemma") == hasattr(kept[1][-1], "prompts")
  same(found, decode(apart(asks, 2), batch=1))
  assert len({tuple(o.tokens) for o in found}) > 3


def test_requests_are_checked(model):
  for bad in (dict(n=0), dict(limit=0), dict(first=-1), dict(id=-1), dict(id=2**32), dict(stop="")):
    with pytest.raises(errors.InputError, match=next(iter(bad))):
      decode_lib.Ask(prompt=[1], **bad)
  with pytest.raises(errors.InputError, match="fields of each Ask"):
    decode_lib.with_own([ASKS[0]], (), None, [3])
  assert run(model, []) == []


@pytest.mark.heavy
def test_places_follow_what_can_be_said(model, monkeypatch):
  """3,000,000 tokens wanted in a context of 128: no more places than it has, and texts as long as it lets them be."""
  shapes, empty = [], row_state.empty_program
  noted = lambda bind: lambda params, shape, *more: shapes.append(shape) or empty(bind)(params, shape, *more)
  monkeypatch.setattr(row_state, "empty_program", noted)
  (out,) = run(model, [PROMPTS[1]], max_new_tokens=3_000_000, batch=1)
  assert len(out.tokens) == 58 and out.finish == "length" and not out.stopped
  assert shapes[0].new <= 128 and shapes[0].slots <= 128


def test_other_values_compile_nothing(model, kept):
  asks = lambda **more: [dataclasses.replace(ask, **more) for ask in ASKS]
  settings = dict(temperature=0.5, top_p=0.9, top_k=5, min_p=0.01, repetition_penalty=1.1, banned=(1, 2, 3))
  run(model, asks(), n=4, batch=16, **settings)
  bind = one_token.prepare(tiny.binder(model.module), model.params)[0]
  programs = (row_state.loop_program, row_state.settle_program, row_state.empty_program)
  count = lambda: [program(bind)._cache_size() for program in programs]
  before = count()
  settings = dict(temperature=0.9, top_k=2, presence_penalty=0.4, frequency_penalty=-0.1, banned=(7,), seed=9)
  run(model, asks(id="x", limit=7), n=4, batch=16, min_new_tokens=3, forced=(5,), **settings)
  assert count() == before
