"""Mixtures of experts: both dispatches agree, also sharded by expert; the balance loss does not depend on the cut."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.core import batch as batch_lib
from itune_jax.core import errors
from itune_jax.parallel import mesh as mesh_lib
from itune_jax.nn import all_to_all
from itune_jax.nn import moe
from itune_jax.objectives import sft
from itune_jax.peft.methods import lora
from itune_jax.train import step as step_lib
from tests import tiny

SPEC = moe.MoeSpec(experts=4, top_k=2)
CONFIG = dataclasses.replace(tiny.CONFIG, moe=SPEC, depth=1)
ITEMS = tiny.examples(8)
EXPERTS = lora.Lora(dropout=0.3, rank=2, sites=r"blocks/\d+/mlp/experts/\d+/(gate|down)")


def gradient(dispatch, the_mesh, batch, objective=sft.Sft(chunk=16)):
  """(loss sum, gradients of an adapter on the experts), of a batch [M, B, T]."""
  cfg = dataclasses.replace(CONFIG, moe=dataclasses.replace(SPEC, dispatch=dispatch))
  attached = tiny.randomise(tiny.attach(tiny.base(the_mesh, cfg), EXPERTS, the_mesh=the_mesh))
  trainable = {n: attached.params[n] for n in attached.trainable}
  frozen = {n: v for n, v in attached.params.items() if n not in trainable}
  bind = tiny.binder(attached.module, the_mesh)
  run = jax.jit(lambda t, f, b: step_lib.gradients(bind, objective, t, f, b, jax.random.key(0)))
  sums, grads = run(trainable, frozen, batch)
  return float(sums.loss), {n: np.asarray(g) for n, g in grads.items()}


def stacked(items, rows, micro):
  batch = tiny.packed(items, 64, rows)
  return jax.tree.map(lambda x: jnp.asarray(x).reshape(micro, rows // micro, -1), batch)


def close(a, b):
  assert a[0] == pytest.approx(b[0], rel=1e-5)
  for name, g in a[1].items():
    assert np.linalg.norm(g - b[1][name]) <= 1e-5 * np.linalg.norm(g), name


def test_dispatches_agree():
  batch = stacked(ITEMS, 4, 1)
  close(gradient("dense", tiny.mesh(1), batch), gradient("sorted", tiny.mesh(1), batch))


@pytest.mark.parametrize(
  "sizes,dispatch",
  [
    ({"fsdp": 2, "expert": 4}, "sorted"),
    ({"fsdp": 4, "expert": 2}, "dense"),
    pytest.param({"fsdp": 4}, "sorted", marks=pytest.mark.full),
  ],
  ids=str,
)
@pytest.mark.heavy
def test_experts_shard(sizes, dispatch):
  batch = stacked(ITEMS, 4, 1)
  mesh = mesh_lib.MeshSpec(**sizes).make(jax.devices()[: math.prod(sizes.values())])
  close(gradient("dense", tiny.mesh(1), batch), gradient(dispatch, mesh, batch))


def test_tokens_travel_by_all_to_all_and_a_capacity_drops_what_exceeds_it():
  mesh = mesh_lib.MeshSpec(fsdp=2, expert=4).make(jax.devices()[:8])
  ctx = batch_lib.Ctx(None, None, mesh=mesh)
  experts = moe.Moe(SPEC, CONFIG.width, 16, jax.random.key(1), activation="silu").experts
  x_nD = jax.random.normal(jax.random.key(0), (64, CONFIG.width))
  top_nk, chosen_nk = jnp.full((64, 2), 0.5), jnp.stack([jnp.zeros(64, jnp.int32), jnp.ones(64, jnp.int32)], axis=1)
  given = (x_nD, top_nk, chosen_nk, jnp.arange(64)[:, None])
  run = jax.jit(
    lambda capacity: all_to_all.run(moe.DISPATCHES["sorted"], experts, *given, ctx, capacity), static_argnums=0
  )
  whole = moe.DISPATCHES["dense"](experts, *given, batch_lib.Ctx(None, None))
  np.testing.assert_allclose(run(0.0), whole, atol=1e-5)
  assert "all-to-all" in run.lower(0.0).compile().as_text()
  # All 8 tokens of a device go to two others; an even share is 8 * 2 / 4 of them.
  kept = np.arange(64) % 8 < 4
  np.testing.assert_allclose(run(1.0), np.where(kept[:, None], whole, 0), atol=1e-5)


def test_ragged_gives_the_same_logits_and_wants_plain_experts():
  batch = tiny.packed(ITEMS, 64)
  of = lambda dispatch: tiny.base(cfg=dataclasses.replace(CONFIG, moe=dataclasses.replace(SPEC, dispatch=dispatch)))
  np.testing.assert_allclose(tiny.logits(of("ragged"), batch), tiny.logits(of("dense"), batch), atol=2e-5)
  with pytest.raises(errors.InputError, match="takes plain experts"):
    tiny.logits(tiny.attach(of("ragged"), EXPERTS), batch)


@pytest.mark.heavy
def test_the_balance_of_segments_does_not_depend_on_the_cut():
  objective = sft.Sft(chunk=16, router_balance=0.5)
  whole = gradient("dense", tiny.mesh(1), stacked(ITEMS, 4, 1), objective)
  close(whole, gradient("dense", tiny.mesh(1), stacked(ITEMS, 4, 2), objective))
  assert whole[0] > gradient("dense", tiny.mesh(1), stacked(ITEMS, 4, 1))[0] + 0.4


def test_balance_by_hand():
  """One segment of three tokens, two experts, one chosen: f = (2/3, 1/3)."""
  probs = jnp.array([[[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.5, 0.5]]])
  aux = moe.balance(probs, jnp.array([[[0], [0], [1], [0]]]), batch_lib.Ctx(None, jnp.array([[1, 1, 1, 0]])))
  expected = 2 * (2 / 3 * (0.9 + 0.6 + 0.2) / 3 + 1 / 3 * (0.1 + 0.4 + 0.8) / 3)
  np.testing.assert_allclose(aux["router_balance_BT"][0, :3], expected, rtol=1e-6)
  np.testing.assert_allclose(aux["router_sent_E"], [2, 1])
