"""The gradient of a step does not depend on micro-batches, devices, or packing."""

import dataclasses
import functools
import itertools

import jax
import numpy as np
import pytest

from itune_jax.core import batch as batch_lib
from itune_jax.core import axes
from itune_jax.parallel import shard
from itune_jax.objectives import sft
from itune_jax.peft import attach
from itune_jax.peft.methods import full
from itune_jax.peft.methods import lora
from itune_jax.train import step as step_lib
from tests import tiny

ITEMS = tiny.examples(32, longest=12)
MESHES = {
  "1": dict(devices=1),
  "2 data": dict(devices=2, data=2, fsdp=1),
  "8 data·fsdp·tensor": dict(devices=8, data=2, fsdp=2, tensor=2),
  "8 data·sequence": dict(devices=8, data=2, fsdp=1, sequence=4),
  "8 fsdp·tensor·stage": dict(devices=8, fsdp=2, tensor=2, stage=2),
}


def gradient(method, micro, mesh, packed, cfg=tiny.CONFIG, objective=sft.Sft(chunk=16)):
  model = tiny.base(cfg=cfg)
  attached = tiny.randomise(tiny.attach(model, method))
  there = tiny.attach(tiny.base(mesh, cfg), method, the_mesh=mesh)
  params = {n: jax.device_put(np.asarray(attached.params[n]), v.sharding) for n, v in there.params.items()}
  moved = attach.Attached(there.module, params, there.trainable, there.methods)
  batch = tiny.packed(ITEMS, 24, 32) if packed else tiny.unpacked(ITEMS, 24)
  cut = jax.tree.map(lambda x: x.reshape(micro, -1, *x.shape[1:]), batch)
  cut = shard.global_batch(cut, mesh, axes.DEFAULT_RULES, len(batch.tokens_BT) // micro, stacked=True)
  bind = tiny.binder(moved.module, mesh)
  trainable = {n: params[n] for n in moved.trainable}
  frozen = {n: v for n, v in params.items() if n not in trainable}
  sums, grads = jax.jit(lambda t, f, b: step_lib.gradients(bind, objective, t, f, b, jax.random.key(0)))(
    trainable, frozen, cut
  )
  assert isinstance(cut, batch_lib.Batch)
  return {n: np.asarray(g) / float(sums.weight) for n, g in grads.items()}


@functools.cache
def whole():
  return gradient(lora.Lora(rank=4), 1, tiny.mesh(1), True)


# All micro-batch counts on one device, and every mesh: the full product, also of full tuning, is in `test.sh full`.
@pytest.mark.by_default(3, heavy=4)
@pytest.mark.parametrize(
  "micro,mesh,packed",
  [
    (4, "1", True),
    (1, "1", False),
    (4, "8 data·fsdp·tensor", True),
    (2, "1", True),
    (2, "1", False),
    (4, "1", False),
    (2, "2 data", False),
    (2, "8 data·sequence", True),
    (2, "8 fsdp·tensor·stage", True),
  ],
)
def test_gradient_is_one_and_the_same(micro, mesh, packed):
  other = gradient(lora.Lora(rank=4), micro, tiny.mesh(**MESHES[mesh]), packed)
  for name, expected in whole().items():
    distance = np.linalg.norm(other[name] - expected) / np.linalg.norm(expected)
    assert distance <= 1e-5, f"{name}: {distance:.1e}"


@pytest.mark.parametrize(
  "micro,mesh",
  [
    (4, "1"),
    pytest.param(2, "8 data·fsdp·tensor", marks=pytest.mark.heavy),
    pytest.param(4, "8 data·sequence", marks=pytest.mark.full),
    pytest.param(2, "8 fsdp·tensor·stage", marks=pytest.mark.heavy),
  ],
)
def test_what_is_dropped_and_what_noise_is_added_is_the_same_in_every_cut(micro, mesh):
  """Units are drawn by step, row of the global batch and place in it: in layers, and on a head that is not tied, which
  sees a chunk of positions at a time."""
  cfg, objective = dataclasses.replace(tiny.CONFIG, tied=False), sft.Sft(chunk=16, neftune_alpha=5.0)
  run = lambda dropout, *where: gradient(
    lora.Lora(rank=4, dropout=dropout, sites=r".*/(q|v|up)|head"), *where, True, cfg, objective
  )
  reference, other = run(0.3, 1, tiny.mesh(1)), run(0.3, micro, tiny.mesh(**MESHES[mesh]))
  distance = lambda a, b: max(np.linalg.norm(a[n] - b[n]) / np.linalg.norm(b[n]) for n in b)
  assert any(n.startswith("head") for n in reference) and distance(other, reference) <= 1e-5
  if mesh == "1":
    assert distance(run(0.0, 1, tiny.mesh(1)), reference) > 0.1


@pytest.mark.full
@pytest.mark.parametrize("method", [lora.Lora(rank=4), full.Full()], ids=lambda m: m.name)
def test_gradient_full_product(method):
  reference, worst = gradient(method, 1, tiny.mesh(1), True), 0.0
  for micro, mesh, packed in itertools.product((1, 2, 4), MESHES, (True, False)):
    other = gradient(method, micro, tiny.mesh(**MESHES[mesh]), packed)
    worst = max(worst, *(np.linalg.norm(other[n] - g) / np.linalg.norm(g) for n, g in reference.items()))
    assert worst <= 1e-5, (micro, mesh, packed)
  print(f"worst relative gradient distance over 30 factorisations, {method.name}: {worst:.1e}")
