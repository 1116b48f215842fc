"""The mesh of a run, as a value."""

import dataclasses
import math

import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from itune_jax.core import axes as axes_lib
from itune_jax.core import check
from itune_jax.core import errors


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshSpec:
  """Devices per mesh axis; one axis may be -1: all the devices that are left.

  slices: how many slices, joined by the data-centre network, the data axis spans: copies of the model are as far apart
  as that, all other axes stay inside a slice. rules: changes to the default table.

  data: copies of the model, each with its rows. fsdp: rows are shared out over it, and parameters too. tensor: wide
  dimensions are cut over it. sequence: every row is cut along its length. expert: experts are shared out. stage:
  layers are shared out.
  """

  data: int = 1
  fsdp: int = -1
  tensor: int = 1
  sequence: int = 1
  expert: int = 1
  stage: int = 1
  slices: int = 1
  rules: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    check.check_types(self)
    sizes = tuple(self.sizes().values())
    check.require(
      all(n >= 1 or n == -1 for n in sizes) and sizes.count(-1) <= 1,
      f"MeshSpec({self.sizes()}): sizes are positive; one may be -1",
    )
    check.require(
      self.slices >= 1 and (self.data == -1 or self.data % self.slices == 0),
      f"MeshSpec(data={self.data}, slices={self.slices}): the data axis spans the slices, so they divide it",
    )
    unknown = {a for axes in self.rules.values() for a in axes} - set(axes_lib.MESH_AXES)
    check.require(
      not unknown, f"MeshSpec.rules names unknown mesh axes {sorted(unknown)}; they are {axes_lib.MESH_AXES}"
    )

    check.require(len(self.rules.get("length", ())) <= 1, "MeshSpec.rules: `length` goes along one mesh axis at most")
    known = set(axes_lib.LOGICAL_AXES)
    check.require(set(self.rules) <= known, f"MeshSpec.rules names unknown axes {sorted(set(self.rules) - known)}")
    object.__setattr__(self, "rules", {**axes_lib.DEFAULT_RULES, **self.rules})

  def sizes(self) -> dict[str, int]:
    """Devices per axis, as asked for."""
    near = {"data": self.data, "fsdp": self.fsdp, "tensor": self.tensor}
    return near | {"sequence": self.sequence, "expert": self.expert, "stage": self.stage}

  def make(self, devices=None) -> Mesh:
    """The mesh over all (or the given) devices. Raises InputError when the sizes do not multiply to their number."""
    devices = jax.devices() if devices is None else devices
    sizes = self.sizes()
    known = math.prod(n for n in sizes.values() if n != -1)
    sizes = {axis: max(1, len(devices) // known) if n == -1 else n for axis, n in sizes.items()}
    total = math.prod(sizes.values())
    if total != len(devices):
      raise errors.InputError(f"the mesh {sizes} has {total} places for {len(devices)} devices; change the mesh part")
    kinds = (AxisType.Auto,) * len(sizes)
    if self.slices == 1:
      return jax.make_mesh(tuple(sizes.values()), tuple(sizes), axis_types=kinds, devices=devices)
    inside = [n // self.slices if axis == "data" else n for axis, n in sizes.items()]
    between = [self.slices if axis == "data" else 1 for axis in sizes]
    try:
      order = mesh_utils.create_hybrid_device_mesh(inside, between, devices, allow_split_physical_axes=True)
    except (ValueError, AttributeError, AssertionError) as e:
      raise errors.InputError(f"MeshSpec.slices = {self.slices} does not match the devices ({e})") from None
    return Mesh(order, tuple(sizes), axis_types=kinds)


@dataclasses.dataclass(frozen=True)
class Same:
  """A mesh that is there already, under rules of one's own."""

  mesh: Mesh
  rules: axes_lib.Rules

  def make(self, devices=None) -> Mesh:
    """The mesh."""
    del devices
    return self.mesh


@dataclasses.dataclass(frozen=True, kw_only=True)
class Auto:
  """A mesh by the devices that are found: parameters sharded as far as links are fast (a slice of TPUs, GPUs joined by
  NVLink), copies of them beyond. rules: as for `MeshSpec`."""

  rules: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    object.__setattr__(self, "rules", MeshSpec(rules=self.rules).rules)

  def make(self, devices=None) -> Mesh:
    """The mesh over all (or the given) devices."""
    devices = jax.devices() if devices is None else devices
    islands = len({getattr(device, "slice_index", 0) for device in devices})
    return MeshSpec(data=islands, fsdp=len(devices) // islands, slices=islands).make(devices)
