"""The joints, proved by five small adapters, each stacked, scanned, rematerialised, sharded, and hot-swapped."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.core import batch as batch_lib
from itune_jax.core import numerics
from itune_jax.core import rng
from itune_jax.nn import kernels
from itune_jax.nn import site
from itune_jax.objectives import sft
from itune_jax.peft import base as peft_base
from itune_jax.peft import lora
from itune_jax.train import step as step_lib
from tests import tiny

P = 3  # length of the learned prefix


class Ia3Input(site.Adapter):
  def __init__(self, spec):
    self.l = site.AdapterParam(jnp.ones(spec.in_shape), axes=spec.in_axes)

  def pre(self, x, ctx):
    return x * numerics.align(self.l[...].astype(x.dtype), x)

  def merge(self, w):
    return w * self.l[...].reshape(*self.l.shape, *[1] * (w.ndim - self.l.ndim))


@dataclasses.dataclass(frozen=True)
class Ia3:
  sites: str = r"blocks/\d+/mlp/down"
  name: str = "ia3"

  def make(self, spec, key, w=None):
    return Ia3Input(spec)


class VeraAdapter(site.Adapter):
  def __init__(self, spec, rank):
    self.d = site.AdapterParam(jnp.full((rank,), 0.1), axes=("rank",))
    self.b = site.AdapterParam(jnp.zeros(spec.out_shape), axes=spec.out_axes)

  def post(self, x, y, w, ctx):
    flat = x.reshape(*x.shape[:2], -1) @ ctx.bank["vera_a"][...] * self.d[...][None, None] @ ctx.bank["vera_b"][...]
    return y + numerics.align(self.b[...], y) * flat.reshape(y.shape)


@dataclasses.dataclass(frozen=True)
class Vera:
  sites: str = r"blocks/\d+/attn/q"
  name: str = "vera"

  def shared(self, specs, key):
    (spec,) = specs
    return {
      "a": jax.random.normal(rng.named(key, "a"), (int(np.prod(spec.in_shape)), 4)),
      "b": jax.random.normal(rng.named(key, "b"), (4, int(np.prod(spec.out_shape)))),
    }

  def make(self, spec, key, w=None):
    return VeraAdapter(spec, 4)


class PissaAdapter(site.Adapter):
  """y = W x + (B A - B0 A0) x: the base is never edited."""

  def __init__(self, spec, w, rank):
    u, s, vt = jnp.linalg.svd(w.reshape(int(np.prod(spec.in_shape)), -1).astype(jnp.float32), full_matrices=False)
    root = jnp.sqrt(s[:rank])
    for name, a, b, trains in (
      ("", u[:, :rank] * root[None], root[:, None] * vt[:rank], True),
      ("0", u[:, :rank] * root[None], root[:, None] * vt[:rank], False),
    ):
      setattr(
        self,
        "a" + name,
        site.AdapterParam(a.reshape(*spec.in_shape, rank), axes=(*spec.in_axes, "rank"), trainable=trains),
      )
      setattr(
        self,
        "b" + name,
        site.AdapterParam(b.reshape(rank, *spec.out_shape), axes=("rank", *spec.out_axes), trainable=trains),
      )
    self.num_in = len(spec.in_shape)

  def merge(self, w):
    return w + site.contract(self.a[...], self.b[...], 1) - site.contract(self.a0[...], self.b0[...], 1)

  def weight(self, w, ctx):
    return site.Weight(lambda: self.merge(w.value), w.shape)


@dataclasses.dataclass(frozen=True)
class Pissa:
  sites: str = r"blocks/\d+/attn/(v|o)"
  name: str = "pissa"
  needs_weight: bool = True

  def make(self, spec, key, w=None):
    return PissaAdapter(spec, w, 2)


class PrefixMix(site.Adapter):
  """Learned keys and values, not rotated, merged into attention by log-sum-exp: every segment of a row sees them."""

  def __init__(self, key, kv_heads, head_dim):
    k, v = jax.random.normal(key, (2, P, kv_heads, head_dim))
    self.k = site.AdapterParam(k, axes=(None, "kv_heads", "head_dim"))
    self.v = site.AdapterParam(v, axes=(None, "kv_heads", "head_dim"))

  def post(self, x, y, w, ctx):
    B = x.shape[0]
    rows = lambda p: jnp.broadcast_to(p[None], (B, *p.shape))
    k_BKHP, v_BKPH = rows(self.k[...].transpose(1, 2, 0)), rows(self.v[...].swapaxes(0, 1))
    seen = jnp.zeros((B, P), jnp.int32)
    return kernels.merge(*y, *kernels.cached(x, k_BKHP, v_BKPH, jnp.zeros(x.shape[:2], jnp.int32), seen))


class Shift(site.Adapter):
  def post(self, x, y, w, ctx):
    return y + P


@dataclasses.dataclass(frozen=True)
class Prefix:
  sites: str = r"positions|blocks/\d+/attn/mix"
  kinds: tuple[str, ...] = ("tap",)
  name: str = "prefix"

  def make(self, spec, key, w=None):
    return Shift() if spec.name == "positions" else PrefixMix(key, 2, 4)


LORA = lora.Lora(rank=4, alpha=8.0, dropout=0.25, rank_pattern={r"blocks/1/.*": 2})
DORA = dataclasses.replace(LORA, dora=True, name="dora")
METHODS = [LORA, DORA, Ia3(), Vera(), Pissa(), Prefix()]
BATCH = tiny.packed(tiny.examples(24), 32, 8)


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


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_scanned_equals_rematerialised_equals_sharded(method, mesh1):
  base = tiny.base(mesh1)
  attached = tiny.randomise(tiny.attach(base, method))
  sums, grads = gradients(attached, mesh1, BATCH)
  assert all(np.abs(np.asarray(g)).sum() > 0 for n, g in grads.items()), "every trained array gets a gradient"
  for policy in ("taps", "full"):
    again = tiny.base(mesh1, remat=policy)
    other = peft_base.Attached(tiny.attach(again, method).module, attached.params, attached.trainable, attached.methods)
    close(gradients(other, mesh1, BATCH)[1], grads)
  eight = tiny.mesh(8, data=2, fsdp=2, tensor=2)
  there = tiny.attach(tiny.base(eight), method, the_mesh=eight)
  params = {n: jax.device_put(np.asarray(attached.params[n]), v.sharding) for n, v in there.params.items()}
  moved = peft_base.Attached(there.module, params, there.trainable, there.methods)
  sharded_sums, sharded = gradients(moved, eight, BATCH)
  np.testing.assert_allclose(float(sharded_sums.loss), float(sums.loss), rtol=1e-5)
  close(sharded, grads)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_hot_swap_traces_once(method, mesh1):
  attached = tiny.attach(tiny.base(mesh1), method)
  bind, traces = tiny.binder(attached.module), []

  @jax.jit
  def run(params, batch):
    traces.append(1)
    model = bind(params)
    return model.hidden(batch.tokens_BT, model.context(batch))[0]

  first = run(attached.params, BATCH)
  swapped = {
    n: (v * 1.5 + 0.1 if "/adapters/" in n and v.dtype == jnp.float32 else v) for n, v in attached.params.items()
  }
  second = run(swapped, BATCH)
  assert len(traces) == 1
  assert np.abs(np.asarray(first - second)).max() > 0


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


def test_dropout_differs_by_layer_and_is_off_without_a_key(mesh1):
  attached = tiny.randomise(tiny.attach(tiny.base(mesh1), LORA))
  losses = {key: float(gradients(attached, mesh1, BATCH, key)[0].loss) for key in (0, 1)}
  assert losses[0] != losses[1]
  np.testing.assert_array_equal(tiny.logits(attached, BATCH), tiny.logits(attached, BATCH))


def test_prefix_in_packed_rows_equals_prefix_per_example(mesh1):
  """Every segment of a packed row sees the prefix, and only itself behind it."""
  items = tiny.examples(6)
  attached = tiny.randomise(tiny.attach(tiny.base(mesh1), Prefix()))
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
    tiny.attach(tiny.base(mesh1), dataclasses.replace(LORA, dropout=0.0, sites=r"blocks/\d+/mlp/down"), Ia3())
  )
  merged = peft_base.merge(attached)
  plain = dataclasses.replace(tiny.base(mesh1), params=merged)
  # LoRA sees the scaled input as well: pre runs before everything. So merging folds LoRA first, then the scale.
  np.testing.assert_allclose(tiny.logits(attached, BATCH), tiny.logits(plain, BATCH), atol=2e-5)


def test_partly_matched_stack_is_exactly_off_elsewhere(mesh1):
  base = tiny.base(mesh1)
  attached = tiny.randomise(tiny.attach(base, Ia3(sites=r"blocks/1/mlp/down")))
  _, grads = gradients(attached, mesh1, BATCH)
  (grad,) = grads.values()
  assert np.abs(np.asarray(grad)[0]).sum() == 0 and np.abs(np.asarray(grad)[1]).sum() > 0


def test_batch_is_a_pytree():
  assert len(jax.tree.leaves(BATCH)) == 6 and isinstance(jax.tree.map(jnp.asarray, BATCH), batch_lib.Batch)
