"""What holds of every method (`table.TABLE`). The tests of a method share one attached model and one program."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.core import batch as batch_lib
from itune_jax.core import errors
from itune_jax.models.hf import layout
from itune_jax.peft import attach
from itune_jax.peft.folders import codec
from itune_jax.peft.folders import exchange
from itune_jax.peft.methods import lora
from itune_jax.peft import registry
from tests import tiny
from tests.peft import table

LAYOUT = layout.Layout("llama")
ITEMS = tiny.examples(8, longest=16)
BATCH = tiny.packed(ITEMS, 32, 4)


@dataclasses.dataclass(frozen=True)
class Case:
  """A model with a row's methods: as attached, and with random values in all that trains."""

  name: str
  row: table.Row
  base: Any
  fresh: attach.Attached
  moved: attach.Attached


@pytest.fixture(scope="module")
def base(mesh1):
  return tiny.base(mesh1)


CASES = [pytest.param(name, marks=pytest.mark.full if name in table.VARIANTS else ()) for name in table.TABLE]


@pytest.fixture(scope="module", params=CASES)
def case(request, base):
  fresh = tiny.attach(base, *table.methods_of(request.param))
  return Case(request.param, table.TABLE[request.param], base, fresh, tiny.randomise(fresh))


def logits(attached, batch):
  return np.asarray(tiny.logits(attached, batch))


def test_start_and_size(case):
  """At first the model is its base; base arrays are the same objects; as many parameters train as the formula says."""
  if case.row.start is not None:
    found, plain = logits(case.fresh, BATCH), logits(case.base, BATCH)
    np.testing.assert_allclose(found, plain, atol=case.row.start, rtol=0)
  assert all(case.fresh.params[n] is v for n, v in case.base.params.items())
  # Stacked arrays are padded to the largest rank.
  assert sum(int(np.prod(case.fresh.params[n].shape)) for n in case.fresh.trainable) == case.row.count
  for method in case.fresh.methods:  # a checkpoint names it
    assert registry.from_json(registry.to_json(method)) == method


@pytest.mark.by_default(6, heavy=16)
def test_only_what_trains_has_a_gradient_and_all_of_it(case):
  trainable = {n: case.moved.params[n] for n in case.moved.trainable}
  frozen = {n: v for n, v in case.moved.params.items() if n not in trainable}
  bind = tiny.binder(case.moved.module)

  def total(trainable, frozen, batch: batch_lib.Batch):
    model = bind({**trainable, **frozen})
    ctx = model.context(batch)
    return jnp.sum(jnp.sin(model.project(model.hidden(batch.tokens_BT, ctx)[0], ctx)))

  grads = jax.jit(jax.grad(total))(trainable, frozen, BATCH)
  assert grads.keys() == trainable.keys()
  assert [n for n, g in grads.items() if not np.abs(np.asarray(g)).max() > 0] == []
  assert all(np.isfinite(np.asarray(g)).all() for g in grads.values())


def test_merged_equals_attached(case):
  if not case.row.merges:
    with pytest.raises(errors.InputError, match=case.moved.methods[0].name):
      attach.merge(case.moved)
    return
  merged = dataclasses.replace(case.base, params=attach.merge(case.moved))
  found = logits(case.moved, BATCH)
  np.testing.assert_allclose(logits(merged, BATCH), found, atol=1e-5 * np.ptp(found))
  assert np.abs(found - logits(case.base, BATCH)).max() > 1e-3 * np.ptp(found), "the adapter does nothing"


def test_rows_positions_and_segments_do_not_leak(case):
  """Later tokens do not reach earlier ones, other rows do not matter, and packed equals one example a row."""
  plain = logits(case.moved, BATCH)
  near = dict(atol=1e-5 * np.ptp(plain), rtol=0)
  ids = np.array(BATCH.tokens_BT)
  ids[:, 16:] = (ids[:, 16:] + 7) % 60
  np.testing.assert_allclose(
    logits(case.moved, dataclasses.replace(BATCH, tokens_BT=ids))[:, :16], plain[:, :16], **near
  )
  turned = jax.tree.map(lambda x: np.concatenate([x[:1], x[1:][::-1]]), BATCH)
  np.testing.assert_allclose(logits(case.moved, turned)[0], plain[0], **near)
  for start in range(0, len(ITEMS), 4):
    alone = tiny.unpacked(ITEMS[start : start + 4], 32)
    found = logits(case.moved, alone)
    for row in range(4):
      place = _place(ITEMS[start + row][0])
      n = len(ITEMS[start + row][0]) - 1
      np.testing.assert_allclose(found[row, :n], plain[place[0], place[1] : place[1] + n], **near)


def _place(ids) -> tuple[int, int]:
  """Row and first position of an example in the packed batch."""
  tokens, n = np.asarray(BATCH.tokens_BT), len(ids) - 1
  starts = np.argwhere((np.asarray(BATCH.positions_BT) == 0) & (np.asarray(BATCH.segments_BT) > 0))
  return next((int(b), int(t)) for b, t in starts if t + n <= 32 and (tokens[b, t : t + n] == ids[:n]).all())


def test_dtype_is_kept(case):
  bind = dataclasses.replace(tiny.binder(case.moved.module), compute="bfloat16")

  def run(params, batch: batch_lib.Batch):
    model = bind(params)
    return model.hidden(batch.tokens_BT, model.context(batch))[0]

  assert jax.eval_shape(run, case.moved.params, BATCH).dtype == jnp.bfloat16


def test_new_values_compile_nothing(case):
  run = tiny.program(tiny.binder(case.moved.module))
  logits(case.fresh, BATCH)
  compiled = run._cache_size()
  logits(case.moved, BATCH)
  assert run._cache_size() == compiled


def test_through_a_peft_folder_and_back(case, tmp_path):
  """Written, read and written again: the same function, and the same file."""
  methods = case.moved.methods
  if not all(isinstance(m, codec.PeftMethod) for m in methods) or case.name in ("full",):
    with pytest.raises(errors.InputError, match="export --format=hf"):
      exchange.save(str(tmp_path / "a"), case.moved, LAYOUT, base="somewhere")
    return
  exchange.save(str(tmp_path / "a"), case.moved, LAYOUT, base="somewhere")
  methods, values = exchange.load(str(tmp_path / "a"), case.base.module, LAYOUT)
  again = tiny.attach(case.base, *methods, key=7)
  again = dataclasses.replace(again, params={**again.params, **exchange.fill(again, values)})
  found = logits(case.moved, BATCH)
  np.testing.assert_allclose(logits(again, BATCH), found, atol=1e-5 * np.ptp(found))
  exchange.save(str(tmp_path / "b"), again, LAYOUT, base="somewhere")
  same = lambda name: (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
  assert same("adapter_model.safetensors")


def test_a_pattern_that_matches_nothing_lists_the_sites(base):
  with pytest.raises(errors.InputError, match=r"Lora\(sites='.*wq'\) matches no site; sites are .*blocks/attn/q"):
    tiny.attach(base, lora.Lora(sites=r".*/wq"))
