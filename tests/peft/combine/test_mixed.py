"""Several adapters in one batch: every row is what it is with its adapter alone."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.core import pack
from itune_jax.peft.methods import boft
from itune_jax.peft.methods import bottleneck
from itune_jax.peft.methods import full
from itune_jax.peft.methods import hira
from itune_jax.peft.methods import ia3
from itune_jax.peft.methods import lora
from itune_jax.peft.combine import mixed
from itune_jax.peft.methods import prompt
from itune_jax.peft.methods import road
from itune_jax.peft.methods import vera
from itune_jax.sampling.decode import admission
from itune_jax.sampling.decode import decode as decode_lib
from itune_jax.sampling.decode import fronts
from itune_jax.sampling.score import score as score_lib
from tests import tiny

ADAPTERS = {
  "low": lora.Lora(rank=2, rank_pattern={r".*/q": 4}),
  "other": lora.Lora(rank=3, dora=True, sites=r"blocks/1/(attn/(q|v)|mlp/down)"),
  "scaled": ia3.Ia3(),
  "bank": vera.Vera(rank=8),
  "second_bank": vera.Vera(rank=4),
  "beside": bottleneck.Bottleneck(width=4),
}
PROMPTS = [ids.tolist() for ids, _ in tiny.examples(7, seed=3)]
NUMBERS = [mixed.NONE, 0, 1, 2, 3, 4, 5]


def combine(base, alone, mesh=None):
  return mixed.combine(base.module, base.params, alone, mesh=mesh or tiny.mesh(1))


@pytest.fixture(scope="module")
def models():
  base = tiny.base()
  alone = {
    name: tiny.randomise(tiny.attach(base, method, key=i), scale=0.3, seed=i + 1)
    for i, (name, method) in enumerate(ADAPTERS.items())
  }
  return base, alone, combine(base, alone)


def generate(model, prompts, mesh=None, adapters=None, batch=4):
  decode = decode_lib.Decode(max_new_tokens=8, batch=batch)
  bind = tiny.binder(model.module, mesh)
  return decode_lib.generate(bind, model.params, prompts, decode, (), 128, adapters=adapters)


def test_packed_rows_of_all_adapters_equal_each_alone(models):
  base, alone, both = models
  items = tiny.examples(7, seed=5)
  numbers_BT = np.full((1, 128), mixed.NONE, np.int32)
  batch = pack.fill([items], 128)
  for segment, number in enumerate(NUMBERS, 1):
    numbers_BT[batch.segments_BT == segment] = number
  together = np.asarray(tiny.logits(both, dataclasses.replace(batch, adapters_BT=numbers_BT)))[0]
  plain = np.asarray(tiny.logits(base, batch))[0]
  for segment, number in enumerate(NUMBERS, 1):
    here = batch.segments_BT[0] == segment
    own = base if number == mixed.NONE else alone[list(ADAPTERS)[number]]
    expected = np.asarray(tiny.logits(own, batch))[0]
    np.testing.assert_allclose(together[here], expected[here], atol=1e-5 * np.ptp(expected))
    assert number == mixed.NONE or np.abs(expected - plain)[here].max() > 1e-2


@pytest.mark.parametrize(
  "sizes", [{}, pytest.param({"data": 2, "fsdp": 2, "tensor": 2}, marks=pytest.mark.full)], ids=["one", "sharded"]
)
@pytest.mark.heavy
def test_decoded_and_scored_rows_equal_each_alone(models, sizes):
  base, alone, both = models
  mesh = None
  if sizes:
    mesh = tiny.mesh(8, **sizes)
    put = lambda x: jax.device_put(np.asarray(x), jax.NamedSharding(mesh, jax.P()))
    both = combine(tiny.base(mesh), alone, mesh)
    both = dataclasses.replace(both, params={n: put(v) for n, v in both.params.items()})
  found = generate(both, PROMPTS, mesh, adapters=NUMBERS)
  pairs = [(p[:3], p[3:]) for p in PROMPTS]
  scores = score_lib.loglikelihood(
    tiny.binder(both.module, mesh), both.params, pairs, max_length=128, adapters=NUMBERS, rows=2 if mesh is None else 4
  )
  for prompt_ids, pair, number, out, given in zip(PROMPTS, pairs, NUMBERS, found, scores, strict=True):
    own = base if number == mixed.NONE else alone[list(ADAPTERS)[number]]
    assert out.tokens == generate(own, [prompt_ids], batch=1)[0].tokens
    expected = score_lib.loglikelihood(tiny.binder(own.module), own.params, [pair], max_length=128)[0]
    np.testing.assert_allclose(given.logprob, expected.logprob, rtol=1e-5)


@pytest.mark.heavy
def test_what_prompts_begin_with_is_made_once_for_rows_of_one_adapter(models, monkeypatch):
  base, alone, both = models
  leads, lead = [], admission._lead
  monkeypatch.setattr(admission, "_lead", lambda *given: leads.append((len(given[2]), given[3])) or lead(*given))
  monkeypatch.setattr(fronts, "apart", functools.partial(fronts.apart, front=64))
  front = [k % 50 + 1 for k in range(66)]
  numbers = [0, mixed.NONE, 1] * 2
  prompts = [[*front, 3 + k, 9] for k in range(len(numbers))]
  found = generate(both, prompts, adapters=numbers, batch=2)
  assert leads == [(64, [number]) for number in numbers[:3]]
  for prompt_ids, number, out in zip(prompts, numbers, found, strict=True):
    own = base if number == mixed.NONE else alone[list(ADAPTERS)[number]]
    assert out.tokens == generate(own, [prompt_ids], batch=1)[0].tokens
  generate(both, prompts, adapters=numbers, batch=4)
  assert len(leads) == 3  # rows of several adapters have nothing in common


def test_another_choice_of_adapters_compiles_nothing(models):
  _, _, both = models
  run = jax.jit(tiny.program(tiny.binder(both.module)))
  batch = tiny.unpacked(tiny.examples(2), 32)
  for number in (0, 3, mixed.NONE):
    run(both.params, jax.tree.map(jnp.asarray, dataclasses.replace(batch, adapters_BT=np.full((2, 32), number))))
  assert run._cache_size() == 1


def test_what_changes_a_bias_is_refused_where_there_is_one():
  base = tiny.base(cfg=dataclasses.replace(tiny.CONFIG, attention_bias=True))
  for method in (ia3.Ia3(sites=r"blocks/\d+/attn/v"), road.Road(group=8, sites=r"blocks/\d+/attn/v")):
    with pytest.raises(errors.InputError, match=f"mine: {type(method).__name__} at blocks/attn/v cannot differ"):
      combine(base, {"mine": tiny.attach(base, method)})
  combine(base, {"mine": tiny.attach(base, lora.Lora(rank=2, sites=r"blocks/\d+/attn/v"))})


@pytest.mark.parametrize(
  "method",
  [
    hira.Hira(rank=4),
    boft.Boft(),
    prompt.Prompt(count=2),
    full.Full(params=r".*/scale"),
    lora.Lora(rank=2, lora_bias=True),
    lora.Lora(rank=2, sites="embed"),
  ],
  ids=lambda m: type(m).__name__,
)
@pytest.mark.by_default(1, heavy=3)
def test_what_cannot_differ_from_row_to_row_is_refused_by_name(method):
  base = tiny.base()
  with pytest.raises(errors.InputError, match=f"mine: {type(method).__name__}"):
    combine(base, {"mine": tiny.attach(base, method)})
