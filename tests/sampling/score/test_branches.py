"""Continuations that share their context's cache score as each alone does."""

import dataclasses

import jax
import numpy as np
import pytest

from itune_jax.nn import rope
from itune_jax.peft.methods import lora
from itune_jax.peft.combine import mixed
from itune_jax.sampling.score import branches
from itune_jax.sampling.decode import prefill
from itune_jax.sampling.score import score
from tests import tiny
from tests.sampling import test_sampling

rs = np.random.RandomState(5)
ids = lambda n: rs.randint(0, 60, n).tolist()
CONTEXTS = [ids(n) for n in (1, 5, 17, 30, 30, 8, 9, 40, 3, 12)]
PAIRS = [(c, ids(rs.randint(1, 9))) for c in CONTEXTS for _ in range(rs.randint(2, 5))]
PAIRS += [(ids(6), ids(4)), (CONTEXTS[1], ids(20))]  # one that stands alone, one long
rs.shuffle(PAIRS)


def scored(model, mesh=None, pairs=PAIRS, adapters=None, params=None):
  bind = tiny.binder(model.module, mesh)
  rows = 2 if mesh is None else 4
  return score.loglikelihood(bind, params or model.params, pairs, max_length=128, rows=rows, adapters=adapters)


def alone(model):
  """Every pair a packed segment of its own, which is the code without branches."""
  bind = tiny.binder(model.module)
  return score._packed(bind, model.params, PAIRS, 128, 2, lambda x: x, lambda n: None, (), None)


def same(found, expected):
  np.testing.assert_allclose([s.logprob for s in found], [s.logprob for s in expected], rtol=2e-5)
  assert [s[1:] for s in found] == [s[1:] for s in expected]


MODELS = {
  "lora": (tiny.CONFIG, [lora.Lora(rank=4)]),
  **{name: (tiny.CONFIG, methods) for name, methods in test_sampling.METHODS.items() if name != "lora"},
  "windows": (dataclasses.replace(tiny.CONFIG, windows=(0, 6)), [lora.Lora(rank=4)]),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.by_default(1)
def test_shared_contexts_score_as_each_alone(name):
  cfg, methods = MODELS[name]
  model = tiny.randomise(tiny.attach(tiny.base(cfg=cfg), *methods), scale=0.3)
  same(scored(model), alone(model))


@pytest.mark.full
def test_on_a_mesh_and_with_adapters_by_row():
  adapters = {name: lora.Lora(rank=2, name=name) for name in ("a", "b")}
  made = lambda mesh: {
    n: tiny.randomise(tiny.attach(tiny.base(), m), scale=0.3, seed=i + 1) for i, (n, m) in enumerate(adapters.items())
  }
  base, mesh = tiny.base(), tiny.mesh(8, data=2, fsdp=2, tensor=2)
  one = mixed.combine(base.module, base.params, made(None), mesh=tiny.mesh(1))
  numbers = [i % 3 - 1 for i in range(len(PAIRS))]
  expected = scored(one, adapters=numbers)
  there = mixed.combine(tiny.base(mesh).module, tiny.base(mesh).params, made(None), mesh=mesh)
  put = lambda x: jax.device_put(np.asarray(x), jax.NamedSharding(mesh, jax.P()))
  same(scored(there, mesh, adapters=numbers, params={n: put(v) for n, v in there.params.items()}), expected)
  for number in (-1, 0, 1):
    own = base if number < 0 else made(None)[list(adapters)[number]]
    mine = [i for i, n in enumerate(numbers) if n == number]
    same([expected[i] for i in mine], [alone(own)[i] for i in mine])


def test_a_context_runs_once(monkeypatch):
  """Positions that are computed, counted at the two programs' doors."""
  seen = []
  pack, behind = prefill.pack_prompts, branches._behind

  def counted(prompts, *rest):
    seen.append(sum(map(len, prompts)))
    return pack(prompts, *rest)

  def counted_behind(*given):
    found = behind(*given)
    seen.append(0 if found is None else int((found[0].segments_BT != 0).sum()))
    return found

  monkeypatch.setattr(prefill, "pack_prompts", counted)
  monkeypatch.setattr(branches, "_behind", counted_behind)
  context = ids(30)
  model = tiny.base()
  pairs = [(context, ids(n)) for n in (1, 3, 5, 2)]
  scored(model, pairs=pairs)
  assert sum(seen) == 30 + 0 + 2 + 4 + 1
  seen.clear()
  scored(model, pairs=[(context, [t]) for t in range(4)])
  assert sum(seen) == 30


@pytest.mark.parametrize("shards", [1, 4])
def test_a_thousand_contexts_need_few_sizes(shards):
  """Prefills and scorers to compile are few; no batch computes twice its own positions, nor has a much larger cache."""
  rs = np.random.RandomState(1)
  of = lambda n: [0] * int(n)
  group = lambda: branches.Group(of(rs.gamma(3, 60) + 5), [of(rs.randint(1, 20)) for _ in range(4)])
  groups = [group() for _ in range(1000)]
  groups += [branches.Group(of(rs.randint(700, 3000)), [of(3), of(9)]) for _ in range(100)] + [
    branches.Group(of(8000), [of(3), of(9)])
  ]
  batches = list(branches._batches(groups, shards))
  assert sorted(i for members in batches for i in members) == list(range(1101))
  sizes = branches._sizes([[groups[i] for i in members] for members in batches], shards)
  prefills = {(size.rows, size.slots, size.tokens) for size in sizes}
  scorers = {(size.rows, size.slots, size.behind, size.places) for size in sizes}
  print(len(prefills), "prefills,", len(scorers), "scorers")
  assert len(prefills) <= 20 and len(scorers) <= 14 and len({size.first for size in sizes}) == 1
  own = [branches._size([groups[i] for i in members], shards) for members in batches]
  for size, least in zip(sizes, own, strict=True):
    assert all(a >= b for a, b in zip(size, least, strict=True)) and size.tokens < 2 * least.tokens
    assert size.behind < 2 * max(least.behind, 1) and size.rows % shards == 0
    assert size.rows * size.slots <= max(least.rows * least.slots, branches.ROOM * shards)
    assert least.slots <= prefill.CHUNK or size.rows == least.rows
  # Where one runs in pieces all beside it do, a row each: as many as there are shards.
  long = [[len(groups[i].context) > prefill.CHUNK for i in members] for members in batches]
  assert all(all(of) and len(of) <= shards for of in long if any(of)) and sum(map(sum, long)) > 20


def test_every_size_compiles_once():
  model = tiny.base()
  bind = tiny.binder(model.module)
  pairs = [(ids(n), ids(k)) for n in range(3, 60, 2) for k in (2, 5)]
  pairs = [(pairs[2 * (i // 2)][0], c) for i, (_, c) in enumerate(pairs)]
  programs = branches.program(bind), prefill.program(bind)
  before = [p._cache_size() for p in programs]
  for _ in range(2):
    score.loglikelihood(bind, model.params, pairs, max_length=128)
  added = [p._cache_size() - b for p, b in zip(programs, before, strict=True)]
  assert 1 <= added[0] == added[1] <= 2


@pytest.mark.heavy
def test_models_whose_keys_depend_on_what_comes_behind_take_the_other_way():
  build = lambda cfg: tiny.binder(tiny.base(cfg=cfg).module)(tiny.base(cfg=cfg).params).can_branch
  assert build(tiny.CONFIG)
  dynamic = rope.Rope(base=100.0, scaling="dynamic", factor=2.0, original_length=16)
  assert not build(dataclasses.replace(tiny.CONFIG, rope=dynamic))
  assert not build(dataclasses.replace(tiny.CONFIG, prefix_lm=True))
