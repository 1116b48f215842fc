"""Samples of a prompt share one prefill and one copy of its keys, and are what separate prompts would be."""

import dataclasses

import jax
import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.models import encdec
from itune_jax.peft.combine import mixed
from itune_jax.peft.methods import lora
from itune_jax.peft.methods import prompt as prompt_lib
from itune_jax.peft.methods import reft
from itune_jax.sampling.decode import admission
from itune_jax.sampling.decode import decode as decode_lib
from itune_jax.sampling.decode import one_token
from itune_jax.sampling.decode import prefill
from itune_jax.sampling.decode import row_state
from tests import tiny
from tests.sampling import test_sampling

rs = np.random.RandomState(5)
PROMPTS = [rs.randint(0, 60, n).tolist() for n in (9, 70, 33, 12)]
HOT = dict(temperature=1.0, seed=3)


def tuned(cfg=tiny.CONFIG, *methods):
  return tiny.randomise(tiny.attach(tiny.base(cfg=cfg), *(methods or [lora.Lora(rank=4)])), scale=0.3)


@pytest.fixture(scope="module")
def model():
  return tuned()


@pytest.fixture
def ran(monkeypatch):
  """Prompts short enough for a test are kept once; how many tokens were prefilled, and the largest caches."""
  monkeypatch.setattr(admission, "LONG", 1)
  seen, pack, admit = [], prefill.pack_prompts, row_state.admit_program
  monkeypatch.setattr(prefill, "pack_prompts", lambda given, *more: seen.append(given) or pack(given, *more))
  seen_rows = []

  def admitted(bind):
    def run(params, state, *more):
      seen_rows.append(state.cache)
      return admit(bind)(params, state, *more)

    return run

  monkeypatch.setattr(row_state, "admit_program", admitted)
  return seen, seen_rows


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
  assert [(o.id, o.sample, o.tokens, o.finish) for o in found] == [
    (o.id, o.sample, o.tokens, o.finish) for o in expected
  ]
  for one, other in zip(found, expected, strict=True):
    np.testing.assert_allclose(one.logprobs, other.logprobs, atol=atol)


ASKS = [decode_lib.Ask(prompt=p) for p in PROMPTS]
MESH = dict(data=2, fsdp=2, tensor=2)


@pytest.mark.parametrize("batch,mesh", [(32, None), (8, None), (16, MESH), (8, MESH)])
def test_samples_are_what_separate_prompts_are(batch, mesh, model, ran):
  made = tiny.mesh(8, **mesh) if mesh else None
  found = run(model, ASKS, made, n=4, batch=batch, **HOT)
  seen, caches = ran
  assert caches and all(cache.prompts is not None for cache in caches)
  if not mesh:  # each prompt ran once, whatever the number of rows
    assert sorted(map(len, sum(seen, []))) == sorted(map(len, PROMPTS))
  alone = [run(model, [ask], batch=1, **HOT)[0] for ask in apart(ASKS, 4)[:5]]
  same(found[:5], alone)
  assert len({tuple(o.tokens) for o in found}) == 16
  assert [o.sample for o in found] == [0, 1, 2, 3] * 4 and [o.id for o in found] == [i for i in range(4) for _ in "1234"]
