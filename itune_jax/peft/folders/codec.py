"""What a method says of its Hugging Face PEFT folder, and the shapes that most of them share.

HF keeps matrices as [out, in] and factors as [r, in] and [out, r]; ours are [*in, *out], [*in, R] and [R, *out].
"""

import abc
from collections.abc import Callable, Mapping, Sequence
import dataclasses
import itertools
import math
import operator
import re
from typing import Any, ClassVar, Self

import numpy as np

from itune_jax.core import errors
from itune_jax.nn import site
from itune_jax.peft import method

Arrays = dict[str, np.ndarray]


class Tensors(Arrays):
  """peft's tensors of one module by name. One that is missing is one line, and so is one that nobody took."""

  def __init__(self, found: Arrays, module: str):
    super().__init__(found)
    self.module, self._taken = module, set[str]()

  def __missing__(self, name: str) -> Any:
    raise errors.InputError(f"{self.module}: {name} is missing, and {', '.join(self) or 'nothing'} is there")

  def __getitem__(self, name: str) -> np.ndarray:
    self._taken.add(name)
    return super().__getitem__(name)

  def require_taken(self) -> None:
    """Raises InputError for a tensor that was not read."""
    if left := sorted(set(self) - self._taken):
      raise errors.InputError(f"{self.module}: the file holds {left[0]}, and adapter_config.json says nothing of it")


@dataclasses.dataclass(frozen=True)
class Part:
  """The share of one single site (one layer) in an adapter: our arrays by leaf, peft's by their name in the module."""

  name: str
  module: str
  spec: site.SiteSpec
  leaves: Arrays = dataclasses.field(default_factory=dict)
  tensors: Arrays = dataclasses.field(default_factory=dict)

  @property
  def fan_in(self) -> int:
    """in, the number of inputs."""
    return math.prod(self.spec.in_shape)

  @property
  def fan_out(self) -> int:
    """out, the number of outputs."""
    return math.prod(self.spec.out_shape)


class PeftMethod(method.Method):
  """A method that peft knows; what is written and read is said by the classes below.

  peft_type: peft's name of it. peft_names: the tensors of a module. peft_roots: the tensors of the model as a whole.
  peft_ignored: tensors of a module that say nothing new. peft_integers: those of whole numbers. What becomes of peft's
  options is in `folders.options`.
  """

  peft_type: ClassVar[str]
  peft_names: ClassVar[tuple[str, ...]] = ()
  peft_roots: ClassVar[tuple[str, ...]] = ()
  peft_ignored: ClassVar[tuple[str, ...]] = ()
  peft_integers: ClassVar[tuple[str, ...]] = ()


class ModuleWriter(PeftMethod):
  """A method whose tensors are written module by module. Arrays are of one layer, cut to the layer's rank."""

  @abc.abstractmethod
  def peft_write(self, part: Part) -> Arrays:
    """peft's tensors of a module, of our arrays `part.leaves` (float32, or whole numbers)."""

  @abc.abstractmethod
  def peft_config(self, parts: Sequence[Part]) -> dict[str, Any]:
    """Fields of adapter_config.json, beside those that all methods have."""


class ModuleCodec(ModuleWriter):
  """A method whose tensors go both ways, module by module."""

  peft_names: ClassVar[tuple[str, ...]]

  @classmethod
  @abc.abstractmethod
  def from_peft(cls, config: Mapping[str, Any], parts: Sequence[Part]) -> Self:
    """The method of a folder; InputError where it cannot be."""

  @abc.abstractmethod
  def peft_read(self, part: Part) -> Arrays:
    """Our arrays of a site, of peft's `part.tensors`."""


class BankCodec(ModuleCodec):
  """A method with arrays that all sites share (`SiteMethod.shared`), which peft keeps beside its modules."""

  peft_roots: ClassVar[tuple[str, ...]]

  @abc.abstractmethod
  def peft_bank(self, bank: Arrays) -> Arrays:
    """peft's tensors of what is shared."""

  @abc.abstractmethod
  def read_bank(self, roots: Arrays) -> Arrays:
    """What is shared, of peft's tensors; InputError where they are not there."""


class ModelCodec(PeftMethod):
  """A method whose tensors are those of the model, not of a module."""

  @abc.abstractmethod
  def peft_whole(self, adapters: Mapping[str, Any], bank: Mapping[str, Any], cfg: Any) -> tuple[Arrays, dict[str, Any]]:
    """Tensors, and fields of adapter_config.json, of the adapters by site, the bank and the model's config."""

  @classmethod
  @abc.abstractmethod
  def from_peft_whole(cls, config: Mapping[str, Any], tensors: Arrays, cfg: Any) -> tuple[Self, dict[str, np.ndarray]]:
    """The method of a folder, and its arrays by path, with `{name}` where the method's name goes."""


def down(a) -> np.ndarray:
  """A factor [*in, R] as peft's [r, in]."""
  return np.ascontiguousarray(a.reshape(-1, a.shape[-1]).T)


def up(b) -> np.ndarray:
  """A factor [R, *out] as peft's [out, r]."""
  return np.ascontiguousarray(b.reshape(b.shape[0], -1).T)


def from_down(tensor, part: Part) -> np.ndarray:
  """peft's [r, in] as [*in, R]. Raises InputError when it belongs to another model."""
  _check_shape(tensor, (None, part.fan_in), part)
  return np.ascontiguousarray(tensor.T).reshape(*part.spec.in_shape, tensor.shape[0])


def from_up(tensor, part: Part) -> np.ndarray:
  """peft's [out, r] as [R, *out]. Raises InputError when it belongs to another model."""
  _check_shape(tensor, (part.fan_out, None), part)
  return np.ascontiguousarray(tensor.T).reshape(tensor.shape[-1], *part.spec.out_shape)


def _check_shape(tensor, shape: tuple[int | None, ...], part: Part) -> None:
  fits = tensor.ndim == len(shape) and all(want in (None, n) for n, want in zip(tensor.shape, shape, strict=True))
  if not fits:
    expected = ["any" if n is None else n for n in shape]
    raise errors.InputError(f"{part.module}: a tensor of {tensor.shape}, expected {expected}: another model's adapter")


def shaped(tensor, shape: Sequence[int], part: Part) -> np.ndarray:
  """A tensor with some of its axes taken apart or put together. Raises InputError when it is another model's."""
  if not _refines(tensor.shape, tuple(shape)):
    raise errors.InputError(
      f"{part.module}: a tensor of {tensor.shape}, expected {tuple(shape)}: another model's adapter"
    )
  return np.ascontiguousarray(tensor).reshape(tuple(shape))


def _refines(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
  """Whether two shapes come of each other by taking neighbouring axes apart or together, transposing none."""
  if math.prod(one) != math.prod(other):
    return False
  ends = lambda shape: set(itertools.accumulate((n for n in shape if n != 1), operator.mul))
  return ends(one) <= ends(other) or ends(other) <= ends(one)


def sites_of(parts: Sequence[Part]) -> str:
  """The regex of exactly these sites."""
  return "|".join(re.escape(part.name) for part in sorted(parts, key=lambda part: part.name))


def pattern(patterns: Mapping[str, Any] | None, module: str, default):
  """peft's rank_pattern and its like: the first key that ends the module's name."""
  matches = (value for key, value in (patterns or {}).items() if re.match(rf"(.*\.)?({key})$", module))
  return next(matches, default)


def ranks_of(config: Mapping[str, Any], parts: Sequence[Part], down: Callable[[Part], np.ndarray]) -> dict[str, int]:
  """The rank of every module, by `down`'s tensor [r, in]. Raises InputError where the config says another."""
  ranks = {part.module: down(part).shape[0] for part in parts}
  for module, rank in ranks.items():
    said = pattern(config.get("rank_pattern"), module, config["r"])
    if rank != said:
      raise errors.InputError(f"{module}: its rank is {rank} in the file, and {said} by adapter_config.json")
  return ranks


def most(values: Sequence[Any]) -> Any:
  """The commonest value, which the config states; others go into a pattern."""
  return max(set(values), key=list(values).count)


def whole(x: float) -> float | int:
  """A number as people write it."""
  x = round(float(x), 6)
  return int(x) if x.is_integer() else x


def seed_only(what: str, how: str) -> str:
  """Why an adapter that holds a seed in place of its random arrays is refused."""
  return (
    f"the folder holds a seed of torch's generator in place of {what}, which cannot be drawn again here: load it with "
    f"peft once and save it with {how}"
  )
