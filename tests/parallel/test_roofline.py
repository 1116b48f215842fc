"""Counting what a compiled program does: loops count as often as they turn, padding never."""

import types

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.parallel.cost import chips
from itune_jax.parallel.cost import hlo
from itune_jax.parallel import mesh as mesh_lib
from itune_jax.parallel.cost import roofline
from itune_jax.run.plan import topology as topology_lib

LAYERS, ROWS, WIDTH = 6, 256, 512


def scanned(x, w):
  return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)[0].sum()


def unrolled(x, w):
  for i in range(LAYERS):
    x = jnp.tanh(x @ w[i])
  return x.sum()


def compiled(fn, mesh=None):
  """The gradient's program: for the CPU here, or sharded for TPUs."""
  spec = {} if mesh is None else {"sharding": NamedSharding(mesh, P("data"))}
  weights = {} if mesh is None else {"sharding": NamedSharding(mesh, P(None, "data"))}
  x = jax.ShapeDtypeStruct((ROWS, WIDTH), jnp.bfloat16 if mesh else jnp.float32, **spec)
  w = jax.ShapeDtypeStruct((LAYERS, WIDTH, WIDTH), x.dtype, **weights)
  return jax.jit(jax.grad(fn, argnums=(0, 1))).lower(x, w).compile()


@pytest.mark.parametrize("where", ["cpu", "tpu"])
def test_a_scan_counts_as_its_unrolled_loop_and_as_the_formula(where):
  mesh = None
  if where == "tpu":
    pytest.importorskip("libtpu", reason="the TPU compiler is not installed: pip install libtpu")
    mesh = Mesh(np.array(topology_lib.devices_of("v5e:2x2")), ("data",))
  programs = [compiled(fn, mesh) for fn in (scanned, unrolled)]
  counts = [hlo.Program(p.as_text()).counts() for p in programs]
  formula = 3 * 2 * LAYERS * ROWS * WIDTH * WIDTH / (1 if mesh is None else 4)
  assert [c.flops for c in counts] == [formula, formula]
  if mesh is not None:  # the compiler counts adds and tanh as well, and sees no loop in the unrolled program
    assert 1 <= programs[1].cost_analysis()["flops"] / formula < 1.05
    # Weights are gathered forward and backward, and their gradient is summed, which costs twice its size.
    assert sum(c.nbytes for c in counts[0].collectives) == pytest.approx(4 * LAYERS * WIDTH * WIDTH * 2, rel=0.1)
    assert counts[0].hbm_bytes < 3 * programs[1].cost_analysis()["bytes accessed"]


NESTED = """HloModule m

%retile (t0: f32[32,8,8]) -> f32[32,8,8] {
  %t0 = f32[32,8,8]{2,1,0} parameter(0)
  ROOT %same = f32[32,8,8]{2,1,0} copy(%t0)
}

%slice (p0: f32[32,8,8], p1: s32[]) -> f32[8,8] {
  %p0 = f32[32,8,8]{2,1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %c = s32[] constant(0)
  %t = f32[32,8,8]{2,1,0} fusion(%p0), kind=kLoop, output_to_operand_aliasing={{}: (0, {})}, calls=%retile
  %ds = f32[1,8,8]{2,1,0} dynamic-slice(%t, %p1, %c, %c), dynamic_slice_sizes={1,8,8}
  ROOT %b = f32[8,8]{1,0} bitcast(%ds)
}

%product (q0: f32[32,8,8], q1: s32[], q2: f32[4,8]) -> f32[4,8] {
  %q0 = f32[32,8,8]{2,1,0} parameter(0)
  %q1 = s32[] parameter(1)
  %q2 = f32[4,8]{1,0} parameter(2)
  %w = f32[8,8]{1,0} fusion(%q0, %q1), kind=kLoop, calls=%slice
  ROOT %dot = f32[4,8]{1,0} dot(%q2, %w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%put (a: f32[64,8], b: f32[64,8]) -> f32[64,8] {
  ROOT %b = f32[64,8]{1,0} parameter(1)
}

%enter (r0: f32[64,8], r1: s32[4,1], r2: f32[4,8]) -> f32[64,8] {
  %r0 = f32[64,8]{1,0} parameter(0)
  %r1 = s32[4,1]{1,0} parameter(1)
  %r2 = f32[4,8]{1,0} parameter(2)
  ROOT %sc = f32[64,8]{1,0} scatter(%r0, %r1, %r2), to_apply=%put
}

ENTRY %main (w: f32[32,8,8], i: s32[], x: f32[4,8], store: f32[64,8], at: s32[4,1]) -> f32[64,8] {
  %w = f32[32,8,8]{2,1,0} parameter(0)
  %i = s32[] parameter(1)
  %x = f32[4,8]{1,0} parameter(2)
  %store = f32[64,8]{1,0} parameter(3)
  %at = s32[4,1]{1,0} parameter(4)
  %y = f32[4,8]{1,0} fusion(%w, %i, %x), kind=kOutput, calls=%product
  ROOT %out = f32[64,8]{1,0} fusion(%store, %at, %y), kind=kCustom, calls=%enter
}
"""


def test_what_is_sliced_or_written_in_place_inside_fusions_counts_as_that_part():
  sliced = 8 * 8 * 4 + 4 + 2 * 4 * 8 * 4  # a layer of the stack, its number, x and y
  written = 4 * 4 + 2 * 4 * 8 * 4  # places, and rows read and written
  assert hlo.Program(NESTED).counts().hbm_bytes == sliced + written


def test_groups_are_read_however_they_are_written():
  mesh_form = "mesh['axis_0'=4,'axis_1'=2] {'axis_0'}"
  turned = "mesh['axis_0'=2,'axis_1'=4], device_ids=([4,2]T(1,0)) {'axis_1'}"
  assert hlo.members("{{0,0},{1,3}}", 8) == [1, 3]
  for text in ("{{0,2,4,6},{1,3,5,7}}", "[2,4]<=[4,2]T(1,0)", mesh_form, turned):
    assert hlo.members(hlo._group(f"replica_groups={text}, x", "replica_groups="), 8) == [0, 2, 4, 6]


def test_kernels_are_counted_by_their_operands():
  array = lambda kind, *shape: hlo.Array(kind, shape, False)
  q, k, both_segments = array("bf16", 4, 256, 128), array("bf16", 2, 256, 128), [array("s32", 256, 128)] * 2
  whole = 2 * 2 * 4 * 256 * 256 * 128  # q·k and p·v, two operations each, all keys
  name = "splash_mha_fwd_segmented_residuals.3"
  assert roofline.kernel_flops(name, (q, k, k, *both_segments)) == whole
  assert roofline.kernel_flops(name, (q, k, k, *both_segments, array("s32", 256, 128))) == whole / 2  # causal
  codes = array("u8", 16, 32, 256)  # 16 blocks of 64 inputs
  assert roofline.kernel_flops("nf4_matmul.1", (array("bf16", 8, 512), codes)) == 2 * 8 * 1024 * 256
  assert roofline.kernel_flops("someone_elses.1", (q, k, k)) == 0


def test_time_is_the_slowest_part_and_what_nothing_hides():
  devices = np.array([types.SimpleNamespace(coords=(i % 4, i // 4, 0)) for i in range(16)]).reshape(4, 4)
  mesh = types.SimpleNamespace(devices=devices, shape={"data": 4, "fsdp": 4}, size=16)
  chip = chips.Chip("x", 16.0, flops=100.0, hbm_rate=10.0, link_rate=1.0, wraps_at=4, dcn_rate=0.5)
  gather = hlo.Collective("all-gather", "[4,4]<=[16]", 6.0, overlapped=True)
  reduce = hlo.Collective("all-reduce", "[1,16]<=[16]", 8.0, overlapped=False)
  line = roofline.predict(hlo.Counts(400.0, 20.0, (gather, reduce)), chip, mesh)
  # Four rows of a ring of four: two links. All sixteen: four links.
  assert (line.compute_s, line.memory_s, line.overlapped_s, line.exposed_s) == (4.0, 2.0, 3.0, 2.0)
  assert line.step_s == 6.0 and line.bound == "compute"
  assert line.bytes_by_axes == {"fsdp": 6.0, "data+fsdp": 8.0}
  network = hlo.Collective("network", "", 4.0, overlapped=True)
  line = roofline.predict(hlo.Counts(400.0, 20.0, (gather, reduce, network)), chip, mesh)
  assert line.overlapped_s == 11.0 and line.bound == "links" and line.bytes_by_axes["slices"] == 4.0


def test_the_data_axis_spans_the_slices():
  pytest.importorskip("libtpu", reason="the TPU compiler is not installed: pip install libtpu")
  made = mesh_lib.MeshSpec(data=4, fsdp=-1, slices=2).make(topology_lib.devices_of("v5e:4x4", slices=2))
  assert dict(made.shape) == {"data": 4, "fsdp": 8, "tensor": 1, "sequence": 1, "expert": 1, "stage": 1}
  assert [{d.slice_index for d in row.ravel()} for row in made.devices] == [{0}, {0}, {1}, {1}]
  with pytest.raises(errors.InputError, match="does not match the devices"):
    mesh_lib.MeshSpec(data=4, fsdp=-1, slices=4).make(topology_lib.devices_of("v5e:4x4", slices=2))
