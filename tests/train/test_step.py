"""The guard of a step, and which checkpoints stay."""

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.objectives import sft
from itune_jax.peft.methods import lora
from itune_jax.train import checkpoint
from itune_jax.train import state as state_lib
from itune_jax.train import step as step_lib
from tests import tiny


def setup():
  attached = tiny.attach(tiny.base(), lora.Lora(rank=2, sites=r"blocks/\d+/attn/q"))
  trainable = {n: attached.params[n] for n in attached.trainable}
  frozen = {n: v for n, v in attached.params.items() if n not in trainable}
  optimizer = optax.adam(0.1)
  where = {n: v.sharding for n, v in trainable.items()}
  make = lambda: state_lib.create(trainable, optimizer, 0, tiny.mesh(1))
  step = step_lib.make_step(tiny.binder(attached.module), sft.Sft(), optimizer, lambda step: jnp.float32(0.1), where)
  batch = jax.tree.map(lambda x: jnp.asarray(x)[None], tiny.packed(tiny.examples(4), 64))
  return make, step, frozen, batch


def test_non_finite_or_empty_steps_change_nothing_but_the_count():
  make, step, frozen, batch = setup()
  before = jax.device_get(make().trainable)
  for weight in (np.nan, 0.0):
    bad = type(batch)(
      batch.tokens_BT, batch.targets_BT, batch.weights_BT * weight, batch.segments_BT, batch.positions_BT
    )
    state, metrics = step(make(), frozen, bad)
    assert float(metrics["finite"]) == 0 and int(state.step) == 1
    for name, value in before.items():
      np.testing.assert_array_equal(state.trainable[name], value)
    assert all(np.isfinite(np.asarray(x)).all() for x in jax.tree.leaves(state.opt_state))
  state, metrics = step(make(), frozen, batch)
  assert float(metrics["finite"]) == 1 and any((np.asarray(state.trainable[n]) != v).any() for n, v in before.items())


class _Number(contracts.Objective):
  """A loss that is a number, as one writes it at first."""

  def __call__(self, views, batch, key):
    return jnp.mean(views["policy"].token_logprobs(batch, views["policy"].context(batch, key)))


class _Unnamed(contracts.Objective):
  """A loss that reads a view that it does not name."""

  def __call__(self, views, batch, key):
    return views["reference"]


@pytest.mark.parametrize(
  "objective,error,says",
  [
    (_Number(), TypeError, "_Number returns .*; an objective returns contracts.Sums"),
    (_Unnamed(), KeyError, "the view 'reference'; it has policy. Name others in its `needs`"),
  ],
)
def test_an_objective_that_is_none_is_told_so(objective, error, says):
  make, _, frozen, batch = setup()
  state = make()
  where = {n: v.sharding for n, v in state.trainable.items()}
  bind = tiny.binder(tiny.attach(tiny.base(), lora.Lora(rank=2, sites=r"blocks/\d+/attn/q")).module)
  step = step_lib.make_step(bind, objective, optax.adam(0.1), lambda step: jnp.float32(0.1), where)
  with pytest.raises(error, match=says):
    step(state, frozen, batch)


def test_last_and_best_checkpoints_stay_and_restore_is_exact(tmp_path):
  make, step, frozen, batch = setup()
  keep = checkpoint.Keep(last=1, best=1, metric="score", mode="max")
  saver = checkpoint.Checkpointer(str(tmp_path), keep, {"base": "b", "base_digest": "d", "methods": []})
  state, kept = make(), None
  for number, score in enumerate((0.1, 0.9, 0.5, 0.2), 1):
    state, _ = step(state, frozen, batch)
    saver.save(number, state, {"score": score})
    kept = jax.device_get(state.trainable) if number == 2 else kept
  saver.finish()
  folders = checkpoint.committed(saver.folder)
  assert [os.path.basename(f) for f in folders] == ["000002", "000004"]
  restored, _ = saver.restore(folders[0], make())
  assert int(restored.step) == 2
  for name, value in kept.items():
    np.testing.assert_array_equal(restored.trainable[name], value)
  meta = json.loads((tmp_path / "checkpoints" / "000002" / "meta.json").read_text())
  name = next(n for n in meta["names"] if n.startswith(".trainable"))
  meta["sums"][name] ^= 1
  (tmp_path / "checkpoints" / "000002" / "meta.json").write_text(json.dumps(meta))
  with pytest.raises(errors.InputError, match="its checksum differs"):
    saver.restore(folders[0], make())
  other = checkpoint.Checkpointer(str(tmp_path), keep, {"base": "x", "base_digest": "e", "methods": []})
  with pytest.raises(errors.InputError, match="another base model: b there, x here"):
    other.restore(folders[0], make())


def test_a_checkpoint_of_another_run_is_refused_and_one_that_names_none_is_not(tmp_path):
  make, step, frozen, batch = setup()
  state, _ = step(make(), frozen, batch)
  identity = {"base": "b", "base_digest": "d", "methods": []}
  open_run = lambda: checkpoint.Checkpointer(str(tmp_path), checkpoint.Keep(last=3), identity)
  earlier, first, second = open_run(), open_run(), open_run()
  first.belong_to("first")
  second.belong_to("second")
  places = [earlier.save(1, state, {}), first.save(2, state, {})]
  earlier.finish()
  first.finish()
  for place in places:
    assert int(first.restore(place, make())[0].step) == 1
  with pytest.raises(errors.InputError, match="000002 is a checkpoint of another run .first there, second here."):
    second.restore(places[1], make())
