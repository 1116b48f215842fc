"""Prompts that begin alike run by themselves, and say what they say in any company."""

import functools

import pytest

from itune_jax.sampling.decode import admission
from itune_jax.sampling.decode import decode as decode_lib
from itune_jax.sampling.decode import fronts
from tests.sampling.decode import test_samples

FRONT = [k % 50 + 1 for k in range(70)]


def test_only_what_fills_a_run_is_taken_apart():
  long = [FRONT + [k] for k in range(4)]
  other = [FRONT[::-1] + [k] for k in range(3)]
  prompts = [*long[:2], [1, 2], *other, *long[2:], FRONT]
  apart = lambda prompts, batch, own=(): fronts.apart(prompts, own or [-1] * len(prompts), batch, front=70)
  assert apart(prompts, 4) == [[2, 3, 4, 5, 8], [0, 1, 6, 7]]
  assert apart(prompts, 3) == [[2, 8], [0, 1, 6, 7], [3, 4, 5]]
  assert apart(prompts, 5) == [list(range(9))]
  assert apart(long, 2) == [[0, 1, 2, 3]]
  assert apart(long, 2, [0, 1, 0, 1]) == [[0, 2], [1, 3]]
  assert apart(long, 2, [0, 1, 2, 3]) == [[0, 1, 2, 3]]
  assert apart([long[0]] * 8 + [[1]], 2) == [list(range(9))]  # samples of one prompt share it anyway


@pytest.mark.heavy
def test_texts_are_those_of_one_run(monkeypatch):
  prompts = [[3, 4, 5], *(FRONT + [k, 9] for k in range(5)), [7, 8]]
  asks = [decode_lib.Ask(prompt=prompt, n=1 + i % 2) for i, prompt in enumerate(prompts)]
  model = test_samples.tuned()
  expected = test_samples.run(model, asks, batch=4, **test_samples.HOT)
  leads, lead = [], admission._lead
  monkeypatch.setattr(admission, "_lead", lambda *given: leads.append(len(given[2])) or lead(*given))
  monkeypatch.setattr(fronts, "apart", functools.partial(fronts.apart, front=64))
  ended = {}
  told = functools.partial(decode_lib.generate, on_end=lambda i, said: ended.update({i: said}))
  monkeypatch.setattr(decode_lib, "generate", told)
  found = test_samples.run(model, asks, batch=4, **test_samples.HOT)
  assert leads == [64] and [ended[i] for i in range(len(found))] == found
  test_samples.same(found, expected)
