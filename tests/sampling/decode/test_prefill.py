"""Prompts that run in pieces are continued and scored as those that run whole."""

import dataclasses

import jax
import numpy as np
import pytest

from itune_jax.nn.attention import kernels
from itune_jax.peft.methods import lora
from itune_jax.peft.combine import mixed
from itune_jax.peft.methods import prompt as prompt_lib
from itune_jax.peft.methods import reft
from itune_jax.sampling.score import branches
from itune_jax.sampling.decode import decode as decode_lib
from itune_jax.sampling.decode import prefill
from tests import tiny
from tests.sampling.score import test_branches
from tests.sampling import test_sampling

CHUNK = 16
rs = np.random.RandomState(9)
ids = lambda n: rs.randint(0, 60, n).tolist()
PROMPTS = [ids(n) for n in (70, 5, 33, 32, 64, 16, 17, 3, 50)]
MODELS = {"lora": tiny.CONFIG, "windows": dataclasses.replace(tiny.CONFIG, windows=(0, 6))}


def tuned(cfg=tiny.CONFIG, *methods):
  return tiny.randomise(tiny.attach(tiny.base(cfg=cfg), *(methods or [lora.Lora(rank=4)])), scale=0.3)


@pytest.fixture
def shapes(monkeypatch):
  """Makes pieces, and blocks of queries, of few positions; the shapes of rows that ran."""
  seen, fill = [], prefill.pack.fill

  def filled(*given):
    batch = fill(*given)
    seen.append(batch.tokens_BT.shape)
    return batch

  for at, name, value in (
    (prefill, "CHUNK", CHUNK),
    (prefill, "BUCKET", 8),
    (prefill.pack, "fill", filled),
    (kernels, "QUERY_BLOCK", CHUNK // 2),
    (kernels, "SCORES", CHUNK),
  ):
    monkeypatch.setattr(at, name, value)
  return seen


def run(model, prompts, mesh=None, **given):
  decode = decode_lib.Decode(max_new_tokens=12, batch=4)
  params = model.params
  if mesh is not None:
    params = {n: jax.device_put(np.asarray(v), jax.NamedSharding(mesh, jax.P())) for n, v in params.items()}
  return decode_lib.generate(tiny.binder(model.module, mesh), params, prompts, decode, (), 128, **given)


@pytest.mark.parametrize(
  "name,axes",
  [("lora", None), ("lora", dict(data=2, fsdp=2, tensor=2)), pytest.param("windows", None, marks=pytest.mark.full)],
)
@pytest.mark.by_default(0, heavy=1)
def test_prompts_in_pieces_are_continued_as_whole_ones(name, axes, shapes):
  model, mesh = tuned(MODELS[name]), tiny.mesh(8, **axes) if axes else None
  found = run(model, PROMPTS, mesh)
  # No row is longer than a piece, but for prompts of no more that share it.
  assert max(length for _, length in shapes) <= 2 * CHUNK, shapes
  assert {rows for rows, _ in shapes} == {4 if axes else 1}
  for prompt, out in zip(PROMPTS, found, strict=True):
    assert test_sampling.is_greedy(model, prompt, out)


def test_a_long_beginning_that_all_share_runs_in_pieces(shapes):
  model, front = tuned(), ids(70)
  prompts = [front + p for p in ([1], [2, 3], ids(20), ids(35))]
  found = run(model, prompts)
  assert max(length for _, length in shapes) <= 2 * CHUNK
  assert sum(rows * length for rows, length in shapes) < 2 * (64 + sum(len(p) - 64 for p in prompts))
  for prompt, out in zip(prompts, found, strict=True):
    assert test_sampling.is_greedy(model, prompt, out)


@pytest.mark.heavy
def test_rows_with_adapters_of_their_own_run_in_pieces(shapes):
  one = {name: tuned(tiny.CONFIG, lora.Lora(rank=2, name=name)) for name in "ab"}
  base = tiny.base()
  both = mixed.combine(base.module, base.params, one, mesh=tiny.mesh(1))
  numbers = [i % 3 - 1 for i in range(len(PROMPTS))]
  found = run(both, PROMPTS, adapters=numbers)
  assert max(length for _, length in shapes) <= 2 * CHUNK
  for prompt, number, out in zip(PROMPTS, numbers, found, strict=True):
    assert test_sampling.is_greedy(base if number < 0 else one["ab"[number]], prompt, out)


def test_equal_long_prompts_run_once(shapes):
  model = tuned()
  found = run(model, [PROMPTS[0]] * 4)
  assert sum(rows * length for rows, length in shapes) <= len(PROMPTS[0]) + CHUNK
  assert all(out.tokens == found[0].tokens for out in found) and test_sampling.is_greedy(model, PROMPTS[0], found[0])


@pytest.mark.heavy
def test_adapters_that_know_where_a_prompt_begins_see_all_of_it(shapes):
  model = tuned(tiny.CONFIG, reft.Reft(rank=4, first=20, sites=r"blocks/0/tap_out"))
  prompts = [PROMPTS[0], PROMPTS[2]]
  found = run(model, prompts)
  for prompt, out in zip(prompts, found, strict=True):
    assert test_sampling.is_greedy(model, prompt, out)
  assert max(length for _, length in shapes) <= 128 and (1, CHUNK) in shapes


@pytest.mark.full
def test_learned_tokens_in_front_are_not_cut_off(shapes):
  model = tuned(tiny.CONFIG, prompt_lib.Prompt(count=3, scale=1.0))
  found = run(model, PROMPTS)
  assert max(length for _, length in shapes) >= 70
  for prompt, out in zip(PROMPTS, found, strict=True):
    assert test_sampling.is_greedy(model, prompt, out)


def test_long_contexts_score_as_each_alone(shapes, monkeypatch):
  monkeypatch.setattr(branches, "TOKENS", CHUNK)
  model = tuned()
  arrays = [(np.asarray(context), continuation) for context, continuation in test_branches.PAIRS]
  test_branches.same(test_branches.scored(model, pairs=arrays), test_branches.alone(model))
  assert (1, CHUNK) in shapes
