"""What a method is: a frozen dataclass that derives from one of these classes, or from one of `folders.codec`.

A method sits on sites of the model (`SiteMethod`), or opens base parameters for training (`Method.opens`), or both.
What it does not define keeps the default of its base. What a base annotates and leaves without a value (`name`,
`sites`) every method declares: a class that does not is refused when it is defined.
"""

import abc
from collections.abc import Mapping, Sequence
import dataclasses
import inspect
from typing import Any, ClassVar, Literal, Self

import numpy as np
import optax

from itune_jax.core import check
from itune_jax.nn import site

Statistic = Literal["", "moments", "gradient", "residual"]


class Method(abc.ABC):
  """A parameter-efficient method as a value. Its fields are what recipes set and what checkpoints hold.

  regexes: those of its fields that hold regular expressions, or tables whose keys do: what does not compile is refused.
  name: under which its arrays stand in the model (`blocks/attn/q/adapters/NAME/a`); no two methods of a model share it.
  """

  name: str
  regexes: ClassVar[tuple[str, ...]] = ()
  __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]  # every method is a dataclass

  def __init_subclass__(cls) -> None:
    super().__init_subclass__()
    if "name" in vars(cls):  # a method, and not one more base
      _require_declared(cls)

  def __post_init__(self) -> None:
    """Raises InputError when a field holds a value of another type than declared, or no regular expression."""
    _require_declared(type(self))
    check.check_types(self)
    for name in self.regexes:
      check.regex(getattr(self, name), f"{type(self).__name__}.{name}")

  def opens(self, names: list[str]) -> list[str]:
    """Those of the base's parameters that train, of all their names (`blocks/attn/q/kernel`). None by default."""
    del names
    return []

  def beside(self, width: int) -> dict[str, Any]:
    """Arrays that train beside a model of this width and that its function does not read, by name: an objective finds
    them as `view.beside("METHOD_NAME")`. None by default."""
    del width
    return {}

  def transform(self, optimizer: optax.GradientTransformation, steps: int) -> optax.GradientTransformation:
    """The optimizer of a run of so many steps with what the method wraps around it; by default itself."""
    del steps
    return optimizer


class Penalised(Method):
  """A method with a penalty on what trains, which is added once a step to the gradient, not to the reported loss."""

  @abc.abstractmethod
  def penalty(self, trainable: Mapping[str, Any]) -> Any:
    """The penalty, a float32 scalar, as a function of the trainable parameters by path."""


class SiteMethod(Method):
  """A method that puts an adapter on sites.

  sites: a regex over expanded site names (`blocks/3/attn/q`). kinds: of the sites that it is for. shared_trains: which
  arrays of `shared` train; the others are constants that checkpoints hold. batches: of training data that a statistic
  is taken from.
  """

  sites: str
  regexes: ClassVar[tuple[str, ...]] = ("sites",)
  kinds: ClassVar[tuple[site.Kind, ...]] = ("proj",)
  shared_trains: ClassVar[tuple[str, ...]] = ()
  batches: int = 8

  @property
  def needs_weight(self) -> bool:
    """Whether `make` takes the layer's kernel or table as `w`, float32 where it is quantised."""
    return False

  @property
  def statistic(self) -> Statistic:
    """What `make` takes as `statistic` (`probes` takes it), None until it was measured. "" asks for none."""
    return ""

  @abc.abstractmethod
  def make(self, spec: site.SiteSpec, key: Any, *args: Any, **given: Any) -> site.Adapter:
    """The adapter of one layer; stacks are made by vmap over it.

    Args:
      spec: of the site. key: of the layer. given: by keyword, what the method asks for: its `layer_values` of this
        layer, `w` where it `needs_weight`, and its `statistic`.

    Raises:
      InputError when the method does not fit the site.
    """

  def layer_values(self, spec: site.SiteSpec, matched: np.ndarray) -> dict[str, np.ndarray]:
    """Values [L, ...] that differ by layer, by their names in `make`; `matched` [L] says which layers the regex meets.

    Without any, layers that are not matched are gated off (`attach.Gated`).
    """
    del spec, matched
    return {}

  def shared(self, specs: Sequence[site.SiteSpec], key: Any) -> dict[str, Any]:
    """Arrays that all its sites share, by name; adapters find them as `ctx.bank["METHOD_NAME"]`. None by default."""
    del specs, key
    return {}

  def calibrated(self, spectra: Mapping[str, np.ndarray], layers: Mapping[str, Sequence[str | None]]) -> Self:
    """The method as the inputs want it, of those whose statistic is "moments"; by default itself.

    Args:
      spectra: variances [*lead, in] of the inputs by direction, largest first, by site. layers: expanded names of the
        layers that are adapted, by site; None where a layer is not.
    """
    del spectra, layers
    return self


def _require_declared(cls: type[Method]) -> None:
  """Raises TypeError unless what a base annotates without a value is declared by the class or by another base."""
  order = [c for c in cls.__mro__ if issubclass(c, Method)]
  is_base = lambda c: c is not cls and "__dataclass_fields__" not in vars(c)
  declared = {c: {*vars(c), *(() if is_base(c) else inspect.get_annotations(c))} for c in order}
  asked = [(name, c) for c in order if is_base(c) for name in inspect.get_annotations(c) if name not in vars(c)]
  # Not `issubclass`: while a class is being made, an abstract base answers for it.
  lacks = lambda name, base: not any(name in declared[c] for c in order if c not in base.__mro__)
  missing = [name for name, base in asked if name != "__dataclass_fields__" and lacks(name, base)]
  if missing:
    raise TypeError(f"{cls.__module__}.{cls.__qualname__} does not declare {', '.join(missing)}, as its bases ask")
