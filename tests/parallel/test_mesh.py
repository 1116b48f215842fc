"""The mesh that is proposed for the devices found."""

import jax
import pytest

from itune_jax.parallel import mesh as mesh_lib
from itune_jax.run.plan import topology as topology_lib

AUTO = mesh_lib.Auto()


def test_one_group_of_linked_devices_shards_everything():
  shape = AUTO.make(jax.devices()[:8]).shape
  assert shape["fsdp"] == 8 and shape["data"] == 1


def test_slices_hold_a_copy_each():
  pytest.importorskip("libtpu", reason="the TPU compiler is not installed: pip install libtpu")
  mesh = AUTO.make(topology_lib.devices_of("v5e:2x2", slices=2))
  assert mesh.shape["data"] == 2 and mesh.shape["fsdp"] == 4
  for copy in mesh.devices.reshape(2, 4):
    assert len({device.slice_index for device in copy}) == 1
