"""The kernel that reads 4-bit codes as they lie, in Pallas' interpreter, against the kernel that they stand for."""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding
import numpy as np
import pytest

from itune_jax.core import axes as axes_lib
from itune_jax.core import batch as batch_lib
from itune_jax.nn import packed_matmul
from itune_jax.nn import quant
from itune_jax.nn import site
from itune_jax.run.plan import topology as topology_lib
from itune_jax.sampling.decode import one_token
from tests import tiny

TPU = packed_matmul.Place("interpret")


def made(inputs, outputs, rows, dtype=jnp.float32):
  """A packed projection, its kernel and rows for it."""
  proj = site.Proj("...D,DF->...F", (inputs, outputs), ("embed", "mlp"), jax.random.key(0))
  site.quantise(proj, quant.Quant(kind="nf4"), 0)
  return proj.kernel, jax.random.normal(jax.random.key(1), (rows, inputs), dtype)


def on(place, store, x):
  codes, *scales = quant.arrays(store)
  assert packed_matmul.supports(place, x, codes)
  return packed_matmul.nf4(place, x, codes, quant._scales(*scales))


# Inputs and outputs that tiles divide; that are a tile; inputs that are no whole blocks (padded), many and few rows.
@pytest.mark.parametrize("inputs,outputs,rows", [(1024, 256, 8), (576, 192, 1), (100, 48, 3), (2048, 1024, 200)])
@pytest.mark.by_default(1)
def test_it_is_the_product_with_the_kernel(inputs, outputs, rows):
  store, x = made(inputs, outputs, rows)
  w = site.read_kernel(store, jnp.float32)
  np.testing.assert_allclose(on(TPU, store, x), x @ w, rtol=1e-5, atol=2e-5)


def test_bfloat16_rounds_as_it_does_elsewhere():
  store, x = made(1024, 256, 16, jnp.bfloat16)
  ours, theirs = on(TPU, store, x), quant.contract(x, store, 1)
  assert ours.dtype == theirs.dtype == jnp.bfloat16
  np.testing.assert_allclose(ours.astype(jnp.float32), theirs.astype(jnp.float32), rtol=2e-2, atol=2e-2)


def test_codes_stand_for_the_table():
  assert (packed_matmul.looked_up(jnp.arange(16, dtype=jnp.uint8)) == packed_matmul.NF4).all()


@pytest.mark.parametrize("axes", [("embed", "mlp"), ("mlp", "embed")])
@pytest.mark.parametrize("rows", [8, 3])
@pytest.mark.by_default(1)
def test_every_device_multiplies_its_part(axes, rows):
  """The rules of decoding on data × fsdp × tensor: outputs cut, inputs cut (parts are summed), rows where they can."""
  store, x = made(1024, 2048, rows)
  expected = np.asarray(on(TPU, store, x))
  mesh = tiny.mesh(8, data=2, fsdp=2, tensor=2)
  rules = one_token.rules(dict(axes_lib.DEFAULT_RULES), mesh, 2**40)
  ctx = batch_lib.Ctx(None, None, mesh=mesh, rules=tuple(rules.items()))
  assert ctx.without_rows(axes) == axes  # decoding gathers no kernel
  lies = ctx.spec((axes[0], None, axes[1]), store.codes[...].shape)
  place = packed_matmul.Place("interpret", mesh, lies, rules["batch"])
  arrays = [jax.device_put(quant.arrays(store)[0], NamedSharding(mesh, lies)), *quant.arrays(store)[1:]]
  run = jax.jit(lambda x, codes, *scales: packed_matmul.nf4(place, x, codes, quant._scales(*scales)))
  np.testing.assert_allclose(run(x, *arrays), expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("lead", [(), (3,)])
@pytest.mark.by_default(1)
def test_mosaic_compiles_it(dtype, lead):
  """For a TPU, as it is and one by one in a loop, as tiles of experts meet it; whatever JAX is told of float32."""
  pytest.importorskip("libtpu", reason="the TPU compiler is not installed: pip install libtpu")
  there = SingleDeviceSharding(topology_lib.devices_of("v5e:2x2")[0])
  shape = lambda kind, *dims: jax.ShapeDtypeStruct((*lead, *dims), kind, sharding=there)
  one = lambda given: packed_matmul.nf4(packed_matmul.Place("tpu"), *given)
  run = jax.jit(functools.partial(jax.lax.map, one) if lead else one)
  given = shape(dtype, 8, 1024), shape(jnp.uint8, 16, 32, 256), shape(jnp.float32, 16, 256)
  with jax.default_matmul_precision("float32"):
    assert "nf4_matmul" in run.lower(given).compile().as_text()


def test_many_rows_gathered_kernels_and_other_platforms_are_left_to_the_compiler():
  store, x = made(1024, 256, 8)
  codes = quant.arrays(store)[0]
  takes = functools.partial(packed_matmul.supports, x=x, codes=codes)
  gathered = (NamedSharding(tiny.mesh(1), PartitionSpec()),)
  assert takes(TPU) and takes(TPU._replace(platform="tpu"))
  assert not takes(TPU._replace(platform="cpu")) and not takes(TPU._replace(platform="gpu"))
  assert not takes(TPU._replace(gathered=gathered))
  assert not packed_matmul.supports(TPU, jnp.ones((257, 1024)), codes)
  assert not packed_matmul.supports(TPU, x, jnp.zeros((17, 32, 256), jnp.uint8))  # no whole tiles of blocks
