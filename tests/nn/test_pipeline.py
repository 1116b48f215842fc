"""Layers over stages give what one device gives, whatever differs by layer, and micro-batches move by permutes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.nn import moe
from itune_jax.nn import rope
from itune_jax.peft.methods import lora
from tests import tiny

PLAIN = dataclasses.replace(tiny.CONFIG, depth=4)
MIXED = dataclasses.replace(PLAIN, windows=(8, 0, 8, 0), local_rope=rope.Rope(base=100.0), no_rope=(0, 0, 0, 1))
BATCH = tiny.packed(tiny.examples(24, longest=12), 24, 8)


def outputs(cfg, mesh, key=None, method=lora.Lora(rank=4)):
  """(logits, gradient of their weighted sum by the adapter) under random adapter values."""
  model = tiny.randomise(tiny.attach(tiny.base(mesh, cfg), method, the_mesh=mesh))
  bind = tiny.binder(model.module, mesh)

  def run(params):
    view = bind(params)
    ctx = view.context(BATCH, key=key)
    hidden, _ = view.hidden(BATCH.tokens_BT, ctx)
    logits = view.project(hidden, ctx)
    real = (jnp.asarray(BATCH.segments_BT) != 0)[..., None]
    return jnp.sum(jnp.where(real, jnp.sin(logits), 0)), jnp.where(real, logits, 0)

  (_, logits), grads = jax.jit(jax.value_and_grad(run, has_aux=True, allow_int=True))(model.params)
  return np.asarray(logits), {n: np.asarray(grads[n]) for n in sorted(model.trainable)}


@pytest.mark.parametrize(
  "sizes", [dict(devices=4, fsdp=1, stage=4), dict(devices=8, fsdp=2, sequence=2, stage=2)], ids=["stages", "and-more"]
)
@pytest.mark.by_default("stages")
def test_stages_equal_one_device(sizes):
  logits, grads = outputs(MIXED, tiny.mesh(1))
  there, grads_there = outputs(MIXED, tiny.mesh(**sizes))
  np.testing.assert_allclose(there, logits, atol=1e-5)
  for name, g in grads.items():
    assert np.linalg.norm(grads_there[name] - g) <= 1e-5 * np.linalg.norm(g), name


def test_micro_batches_move_by_permutes_and_weights_stay():
  mesh = tiny.mesh(4, fsdp=1, stage=4)
  model = tiny.base(mesh, PLAIN)
  kernel = model.params["blocks/mlp/up/kernel"]
  assert kernel.sharding.shard_shape(kernel.shape)[0] == 1, "a stage holds its own layers only"
  bind = tiny.binder(model.module, mesh)
  forward = lambda params: (lambda view: view.hidden(BATCH.tokens_BT, view.context(BATCH))[0])(bind(params))
  text = jax.jit(forward).lower(model.params).compile().as_text()
  assert "collective-permute" in text
  whole = f"[{','.join(map(str, kernel.shape))}]"
  assert not any("all-gather" in line and whole in line for line in text.splitlines())


@pytest.mark.full
def test_dropout_differs_by_micro_batch_and_stage():
  mesh = tiny.mesh(2, fsdp=1, stage=2)
  method = lora.Lora(rank=4, dropout=0.5)
  first, _ = outputs(PLAIN, mesh, jax.random.key(0), method)
  again, _ = outputs(PLAIN, mesh, jax.random.key(0), method)
  other, _ = outputs(PLAIN, mesh, jax.random.key(1), method)
  np.testing.assert_array_equal(first, again)
  assert np.abs(first - other).max() > 1e-3


def test_what_cannot_run_in_stages_is_refused():
  with pytest.raises(errors.InputError, match="3 layers do not divide among 2 stages"):
    outputs(dataclasses.replace(tiny.CONFIG, depth=3), tiny.mesh(2, fsdp=1, stage=2))
  with pytest.raises(errors.InputError, match="mixtures of experts do not run in stages"):
    experts = moe.MoeSpec(experts=2, top_k=1)
    outputs(
      dataclasses.replace(PLAIN, moe=experts),
      tiny.mesh(2, fsdp=1, stage=2),
      method=lora.Lora(rank=2, sites=r".*/attn/q"),
    )
