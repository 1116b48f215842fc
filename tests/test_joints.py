"""The joints, proved by all methods: stacked, scanned, rematerialised, sharded, taken apart; and how they compose.

A model carries many methods at once, each on sites of its own, so that a program proves all of them.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.core import batch as batch_lib
from itune_jax.objectives import sft
from itune_jax.peft import attach
from itune_jax.peft.methods import ia3
from itune_jax.peft.methods import lora
from itune_jax.peft.methods import prefix
from itune_jax.train import step as step_lib
from tests import tiny
from tests.peft import table

LORA = lora.Lora(rank=4, alpha=8.0, dropout=0.25, rank_pattern={r"blocks/1/.*": 2})
BATCH = tiny.packed(tiny.examples(24), 32, 8)
SITES = ("attn/q", "attn/k", "attn/v", "attn/o", "mlp/gate", "mlp/up", "mlp/down")
GROUPS = {
  "lora": ("dropout", "dora", "lora bias", "pissa", "patterns", "rslora", "olora"),
  "products": ("vera", "loha", "lokr", "hira", "delora", "gralora", "randlora"),
  "rotations": ("oft", "road_1", "hra", "boft", "boft twice"),
  "tiles": ("miss", "miss bat", "miss mini", "c3a", "fourierft"),
  "sparse": ("ia3", "shira", "vblora", "mora", "adalora", "routed"),
  "activations": ("houlsby", "loreft", "direft", "parallel", "mode", "mixlora"),
  "in front": ("prompt", "prefix mlp"),
}
assert all(len(rows) <= len(SITES) for rows in GROUPS.values()), "a site for each"


def group(name: str):
  """The methods of a group, each on a site of its own; those in front of the input where they belong."""
  found = []
  for i, row in enumerate(GROUPS[name]):
    (method,) = (LORA,) if row == "dropout" else table.methods_of(row)
    own = {} if "kinds" in vars(type(method)) and "tap" in method.kinds else {"sites": rf"blocks/\d+/{SITES[i]}"}
    found.append(dataclasses.replace(method, name=f"m{i}", **own))
  return found


def gradients(attached, mesh, batch, key=0):
  bind = tiny.binder(attached.module, mesh)
  trainable = {n: attached.params[n] for n in attached.trainable}
  frozen = {n: v for n, v in attached.params.items() if n not in trainable}
  run = jax.jit(lambda t, f, b: step_lib.gradients(bind, sft.Sft(chunk=16), t, f, b, jax.random.key(key)))
  return run(trainable, frozen, jax.tree.map(lambda x: x[None], batch))


def close(a, b, tolerance=1e-5):
  assert a.keys() == b.keys()
  for name in a:
    x, y = np.asarray(a[name]), np.asarray(b[name])
    assert np.linalg.norm(x - y) <= tolerance * max(np.linalg.norm(x), 1e-6), name


# Two of the groups by default: hooks of a kernel, and what stands in front, which touches most.
OFTEN = ("lora", "in front")


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in OFTEN else pytest.mark.full) for n in GROUPS])
@pytest.mark.heavy
def test_scanned_equals_rematerialised_equals_sharded_equals_taken_apart(name, mesh1):
  methods = group(name)
  attached = tiny.randomise(tiny.attach(tiny.base(mesh1), *methods))
  sums, grads = gradients(attached, mesh1, BATCH)
  again = dataclasses.replace(attached, module=tiny.attach(tiny.base(mesh1, remat="taps"), *methods).module)
  close(gradients(again, mesh1, BATCH)[1], grads)
  eight = tiny.mesh(8, data=2, fsdp=2, tensor=2)
  there = tiny.attach(tiny.base(eight), *methods, the_mesh=eight)
  params = {n: jax.device_put(np.asarray(attached.params[n]), v.sharding) for n, v in there.params.items()}
  sharded_sums, sharded = gradients(dataclasses.replace(there, params=params), eight, BATCH)
  np.testing.assert_allclose(float(sharded_sums.loss), float(sums.loss), rtol=1e-5)
  close(sharded, grads)
  bind, arrays = tiny.binder(attached.module).apart(attached.params)
  plain = np.asarray(tiny.logits(attached, BATCH))
  np.testing.assert_allclose(tiny.program(bind)(arrays, BATCH), plain, atol=1e-5 * np.ptp(plain))


def test_lora_rank_mask_gives_gradients_in_exactly_the_kept_columns(mesh1):
  attached = tiny.randomise(tiny.attach(tiny.base(mesh1), dataclasses.replace(LORA, dropout=0.0)))
  _, grads = gradients(attached, mesh1, BATCH)
  for name, grad in grads.items():
    columns = np.moveaxis(np.asarray(grad), 1, -1) if name.endswith("/b") else np.asarray(grad)
    assert (
      (np.abs(columns[1][..., 2:]).sum() == 0)
      and (np.abs(columns[1][..., :2]).sum() > 0)
      and (np.abs(columns[0][..., 2:]).sum() > 0)
    ), name


@pytest.mark.heavy
def test_dropout_differs_by_layer_and_is_off_without_a_key(mesh1):
  attached = tiny.randomise(tiny.attach(tiny.base(mesh1), LORA))
  losses = {key: float(gradients(attached, mesh1, BATCH, key)[0].loss) for key in (0, 1)}
  assert losses[0] != losses[1]
  np.testing.assert_array_equal(tiny.logits(attached, BATCH), tiny.logits(attached, BATCH))


def test_prefix_in_packed_rows_equals_prefix_per_example(mesh1):
  """Every segment of a packed row sees the prefix, and only itself behind it."""
  items = tiny.examples(6)
  attached = tiny.randomise(tiny.attach(tiny.base(mesh1), prefix.Prefix(count=3)))
  together = tiny.packed(items, 64)
  whole = np.asarray(tiny.logits(attached, together))
  members = {}
  for b in range(together.tokens_BT.shape[0]):
    for s in range(1, together.segments_BT[b].max() + 1):
      here = together.segments_BT[b] == s
      members[tuple(together.tokens_BT[b, here])] = whole[b, here]
  for ids, weights in items:
    alone = np.asarray(tiny.logits(attached, tiny.unpacked([(ids, weights)], 32)))[0, : len(ids) - 1]
    np.testing.assert_allclose(members[tuple(ids[:-1])], alone, atol=1e-5)


def test_two_methods_on_one_site_compose_and_merge(mesh1):
  attached = tiny.randomise(
    tiny.attach(tiny.base(mesh1), dataclasses.replace(LORA, dropout=0.0, sites=r"blocks/\d+/mlp/down"), ia3.Ia3())
  )
  merged = attach.merge(attached)
  plain = dataclasses.replace(tiny.base(mesh1), params=merged)
  # LoRA sees the scaled input as well: pre runs before everything. So merging folds LoRA first, then the scale.
  np.testing.assert_allclose(tiny.logits(attached, BATCH), tiny.logits(plain, BATCH), atol=2e-5)


def test_partly_matched_stack_is_exactly_off_elsewhere(mesh1):
  base = tiny.base(mesh1)
  attached = tiny.randomise(tiny.attach(base, ia3.Ia3(sites=r"blocks/1/mlp/down")))
  _, grads = gradients(attached, mesh1, BATCH)
  (grad,) = grads.values()
  assert np.abs(np.asarray(grad)[0]).sum() == 0 and np.abs(np.asarray(grad)[1]).sum() > 0


def test_batch_is_a_pytree():
  assert len(jax.tree.leaves(BATCH)) == 6 and isinstance(jax.tree.map(jnp.asarray, BATCH), batch_lib.Batch)
