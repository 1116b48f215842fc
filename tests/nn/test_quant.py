"""Quantised kernels: what they round, what they weigh, and what the backward pass keeps."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.core import axes
from itune_jax.core import errors
from itune_jax.models import load
from itune_jax.nn import packed_matmul
from itune_jax.nn import quant
from itune_jax.nn import site
from itune_jax.objectives import sft
from itune_jax.peft import attach
from itune_jax.peft.methods import lora
from itune_jax.train import step as step_lib
from tests import tiny

CONFIG = dataclasses.replace(tiny.CONFIG, width=64, mlp=128, head_dim=16)
BATCH = tiny.packed(tiny.examples(12), 32)


def proj(kind, num_in=1):
  shape, eqn = ((128, 96), "...D,DF->...F") if num_in == 1 else ((8, 20, 96), "...NH,NHD->...D")
  axes_ = ("embed", "mlp") if num_in == 1 else ("heads", "head_dim", "embed")
  made = site.Proj(eqn, shape, axes_, jax.random.key(0))
  whole = made.kernel[...]
  site.quantise(made, quant.Quant(kind=kind), 0)
  return made, whole


@pytest.mark.parametrize("num_in", [1, 2])
def test_int8_rounds_to_half_a_step_of_its_channel(num_in):
  made, whole = proj("int8", num_in)
  step = np.abs(whole).max(axis=tuple(range(num_in))) / 127
  assert (np.abs(site.read_kernel(made.kernel, jnp.float32) - whole) <= step * 0.5001).all()


def test_nf4_picks_the_nearest_code_and_weighs_what_it_should():
  made, whole = proj("nf4")
  whole = np.asarray(whole).reshape(2, 64, 96)
  read = np.asarray(site.read_kernel(made.kernel, jnp.float32)).reshape(2, 64, 96)
  _, scales, steps, offset = quant.arrays(made.kernel)
  scale = np.asarray(quant._scales(scales, steps, offset)).reshape(2, 1, 96)
  # Double quantisation moves a scale by at most half a step of its output.
  exact = np.abs(whole).max(axis=1, keepdims=True)
  assert (np.abs(scale - exact) <= np.abs(exact - exact.mean()).max(axis=0) / 127 * 0.5001).all()
  codes = packed_matmul.NF4[:, None, None, None] * scale[None] + 0 * whole[None]
  nearest = np.take_along_axis(codes, np.abs(codes - whole[None]).argmin(0)[None], 0)[0]
  np.testing.assert_allclose(np.abs(read - whole), np.abs(nearest - whole), atol=1e-6)
  big = site.Proj("...D,DF->...F", (1024, 1024), ("embed", "mlp"), jax.random.key(0))
  site.quantise(big, quant.Quant(kind="nf4"), 0)
  bits = 8 * sum(x.nbytes for x in quant.arrays(big.kernel)) / 1024**2
  assert bits == pytest.approx(4 + 8 / 64 + 32 / 1024, abs=1e-3)


@pytest.mark.parametrize("kind", list(quant.KINDS))
@pytest.mark.parametrize("num_in", [1, 2])
@pytest.mark.by_default(2)
def test_matmul_is_that_of_the_dequantised_kernel(kind, num_in):
  made, _ = proj(kind, num_in)
  w = site.read_kernel(made.kernel, jnp.float32)
  x = jax.random.normal(jax.random.key(1), (2, 3, *w.shape[:num_in]))
  ours = jax.value_and_grad(lambda x: (quant.contract(x, made.kernel, num_in) ** 2).sum())(x)
  theirs = jax.value_and_grad(lambda x: (site.contract(x, w, num_in) ** 2).sum())(x)
  np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5)
  np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-4, atol=1e-4)


def quantised(tmp_path, kind, the_mesh):
  folder = str(tmp_path / "m")
  base = tiny.base(tiny.mesh(1), CONFIG)
  load.save_hf(folder, base.module, base.params)
  how = dict(mesh=the_mesh, rules=axes.DEFAULT_RULES)
  return load.load(folder, **how), load.load(folder, **how, quantised=quant.Quant(kind=kind))


@pytest.mark.full
@pytest.mark.parametrize("kind,limit", [("int8", 0.03), ("nf4", 0.4)])
def test_a_quantised_base_trains_an_adapter_on_any_mesh(tmp_path, kind, limit):
  whole, packed = quantised(tmp_path, kind, tiny.mesh(1))
  a, b = (np.asarray(tiny.logits(m, BATCH)) for m in (whole, packed))
  error = np.abs(a - b).max() / (a.max() - a.min())
  bytes_ = [sum(v.nbytes for n, v in m.params.items() if "/kernel" in n) for m in (whole, packed)]
  print(f"{kind}: {bytes_[1] / bytes_[0]:.3f} of the bytes, logits move by {error:.4f} of their range")
  assert 1e-6 < error < limit

  def gradient(the_mesh):
    _, base = quantised(tmp_path, kind, the_mesh)
    attached = tiny.attach(base, lora.Lora(rank=2), the_mesh=the_mesh)
    attached = tiny.randomise(attached)
    trainable = {n: attached.params[n] for n in attached.trainable}
    frozen = {n: v for n, v in attached.params.items() if n not in trainable}
    run = jax.jit(
      lambda t, f, b: step_lib.gradients(
        tiny.binder(attached.module, the_mesh), sft.Sft(chunk=16), t, f, b, jax.random.key(0)
      )
    )
    return run(trainable, frozen, jax.tree.map(lambda x: jnp.asarray(x)[None], BATCH))[1]

  one, eight = gradient(tiny.mesh(1)), gradient(tiny.mesh(8, fsdp=4, tensor=2))
  for name, g in one.items():
    assert np.linalg.norm(eight[name] - np.asarray(g)) <= 5e-5 * max(np.linalg.norm(g), 1e-6), name


def test_a_quantised_base_is_neither_merged_nor_exported_unasked(tmp_path):
  _, packed = quantised(tmp_path, "int8", tiny.mesh(1))
  with pytest.raises(errors.InputError, match="quantised: merge into the full base"):
    attach.merge(tiny.attach(packed, lora.Lora(rank=2)))
  with pytest.raises(errors.InputError, match="the base is quantised: export the adapter alone"):
    load.save_hf(str(tmp_path / "x"), packed.module, packed.params)


@pytest.mark.heavy
def test_the_backward_pass_keeps_no_dequantised_kernel(tmp_path):
  """Compiled temporary memory of a gradient, against the same through plain autodiff of the dequantised kernel."""
  _, base = quantised(tmp_path, "nf4", tiny.mesh(1))

  def memory():
    attached = tiny.attach(base, lora.Lora(rank=2))
    trainable = {n: attached.params[n] for n in attached.trainable}
    frozen = {n: v for n, v in attached.params.items() if n not in trainable}
    batch = jax.tree.map(lambda x: jnp.asarray(x)[None], tiny.packed(tiny.examples(3), 16, 1))
    run = jax.jit(
      lambda t, f, b: step_lib.gradients(tiny.binder(attached.module), sft.Sft(chunk=16), t, f, b, jax.random.key(0))
    )
    return run.lower(trainable, frozen, batch).compile().memory_analysis().temp_size_in_bytes

  ours = memory()
  patch = pytest.MonkeyPatch()
  plain = lambda x, store, n, ctx: site.contract(x, quant.dequantise(store.layout(), quant.arrays(store), x.dtype), n)
  patch.setattr(quant, "contract", plain)
  theirs = memory()
  patch.undo()
  kernels = 4 * CONFIG.depth * 64 * (2 * 64 + 2 * 32 + 3 * 128)
  print(f"temporary memory: {ours:,} bytes, by plain autodiff {theirs:,}; all kernels in float32 are {kernels:,}")
  assert ours < theirs - 0.9 * kernels
