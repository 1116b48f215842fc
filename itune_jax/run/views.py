"""The models that an objective asks for beside the policy, as values: a reference, a teacher.

VIEWS = {"teacher": @views.Model()}
views.Model.model = @teacher/specs.Model()
"""

import abc
from collections.abc import Callable, Mapping
import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp

from itune_jax.core import axes as axes_lib
from itune_jax.core import batch as batch_lib
from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import numerics
from itune_jax.data import stored_reference
from itune_jax.models import load as load_lib
from itune_jax.models import view
from itune_jax.run import specs
from itune_jax.train import step as step_lib


class Other(NamedTuple):
  """Another model on the policy's devices: its binder, its arrays, and what tells its tokenizer from others."""

  bind: view.Binder
  params: Mapping[str, Any]
  tokenizer: str


class Policy(NamedTuple):
  """What views are made beside. Arrays, or shapes where a run is only planned.

  open: gives another model on the same devices, by its values.
  """

  base: load_lib.Base
  bind: view.Binder
  params: Mapping[str, Any]
  trainable: frozenset[str]
  tokenizer: str
  open: Callable[["Model"], Other]


class View(abc.ABC):
  """How a view is made: a frozen value."""

  @abc.abstractmethod
  def make(self, name: str, policy: Policy) -> tuple[step_lib.FrozenView, dict[str, Any]]:
    """The view, and its arrays that are not the policy's own. Raises InputError where it cannot be made."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Base(View):
  """The base with adapters off: the policy's own frozen arrays, and no second copy."""

  def make(self, name: str, policy: Policy) -> tuple[step_lib.FrozenView, dict[str, Any]]:
    """The view. Raises InputError where parameters of the base train: with adapters off it would be no reference."""
    opened = sorted(set(policy.base.params) & policy.trainable)
    check.require(
      not opened, f"VIEWS: {name!r} is the base with adapters off, but {', '.join(opened[:3])} of it train: use Start"
    )
    bind = view.Binder.of(policy.base.module, policy.bind.mesh, dict(policy.bind.rules), policy.bind.compute)
    return step_lib.FrozenView(bind, tuple((n, n) for n in policy.base.params)), {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start(View):
  """The policy as it starts, adapters and all: a frozen copy of what trains, the rest is the policy's own."""

  def make(self, name: str, policy: Policy) -> tuple[step_lib.FrozenView, dict[str, Any]]:
    """The view."""
    names = tuple((n, f"{name}:{n}" if n in policy.trainable else n) for n in policy.params)
    arrays = {key: policy.params[n] for n, key in names if n in policy.trainable}
    return step_lib.FrozenView(policy.bind, names), arrays


@dataclasses.dataclass(frozen=True, kw_only=True)
class Following(View):
  """A reference that follows the policy (TR-DPO, Gorbatovski et al. 2024): behind every so many steps it becomes
  mix · policy + (1 - mix) · itself. It starts as the policy does, as a copy of what trains, and is saved with the run.

  every: steps between two changes. mix: the policy's share; 1 is a copy of it (the hard update of the paper).
  """

  every: int = 512
  mix: float = 0.6

  def __post_init__(self):
    check.check_types(self)
    check.require(self.every > 0, f"views.Following.every must be a number of steps, not {self.every}")
    check.require(0 < self.mix <= 1, f"views.Following.mix must be a share above 0, not {self.mix}")
    check.require(
      self.every > 1 or self.mix < 1,
      "views.Following(every=1, mix=1) is the policy itself at every step: nothing would be learnt from a difference",
    )

  def make(self, name: str, policy: Policy) -> tuple[step_lib.FrozenView, dict[str, Any]]:
    """The view."""
    found, arrays = Start().make(name, policy)
    return dataclasses.replace(found, every=self.every, mix=self.mix), arrays


class _StoredView(contracts.View):
  """A reference of which nothing is there but its log-probs, in a column of the batch."""

  def context(self, batch: batch_lib.Batch, key: Any = None) -> Any:
    """Nothing: no model runs."""
    return None

  def hidden(self, tokens_BT: Any, ctx: Any) -> tuple[Any, Any]:
    """Raises InputError."""
    raise errors.InputError(_ALONE)

  def project(self, hidden: Any, ctx: Any = None) -> Any:
    """Raises InputError."""
    raise errors.InputError(_ALONE)

  def token_logprobs(self, batch, ctx, *, temperature: float = 1.0, chunk: int = 0) -> Any:
    """What is stored, where the weight is not 0."""
    check.require(temperature == 1, "log-probs that are stored are of temperature 1")
    return jnp.where(batch.weights_BT != 0, batch.columns[stored_reference.REFERENCE.name], 0)


_ALONE = "of a stored reference the log-probs of the data are there alone: this objective asks for its distributions"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stored(View):
  """A reference whose log-probs were stored by `itune prepare --with_reference`: no second model, and no second pass.

  They are those of the base with adapters off, or of the adapter that the run starts from (WARM_START).
  """

  def make(self, name: str, policy: Policy) -> tuple[step_lib.FrozenView, dict[str, Any]]:
    """The view."""
    return step_lib.FrozenView(_stored, ()), {}


def _stored(params: Mapping[str, Any]) -> contracts.View:
  del params
  return _StoredView()


def are_stored(given: Mapping[str, View]) -> bool:
  """Whether one of the views is read from the data. Raises InputError where it is no reference."""
  stored = [name for name, view_of in given.items() if isinstance(view_of, Stored)]
  check.require(stored in ([], ["reference"]), f"VIEWS: {stored} is stored, and a reference alone can be")
  return bool(stored)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model(View):
  """Another model (or the same with another adapter), laid out and computed in its own way on the policy's devices.

  rules: changes to the mesh's table of rules.

  model: what is opened. adapter: what is put on it, "" for nothing. precision: which dtype holds what.
  """

  model: specs.Model
  adapter: str = ""
  precision: numerics.Precision = numerics.Precision()
  rules: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    check.check_types(self)
    unknown = sorted(set(self.rules) - set(axes_lib.LOGICAL_AXES))
    check.require(not unknown, f"views.Model.rules names unknown axes {unknown}")

  def make(self, name: str, policy: Policy) -> tuple[step_lib.FrozenView, dict[str, Any]]:
    """The view. Raises InputError when its tokenizer is another: ids would mean other words to it."""
    other = policy.open(self)
    check.require(
      other.tokenizer == policy.tokenizer,
      f"VIEWS: {name!r} ({self.model.base}) has another tokenizer than the model that trains: its ids mean other words",
    )
    return step_lib.frozen_tree(name, other.bind, other.params)


def make(
  objective: contracts.Objective, given: Mapping[str, View], policy: Policy, warm: bool
) -> tuple[dict[str, step_lib.FrozenView], dict[str, Any]]:
  """The views that an objective needs, and their arrays.

  Args:
    given: by name; a reference that is not given is the policy as it starts. warm: whether it starts from an adapter.

  Raises:
    InputError for a view that is needed and not given, or given and not needed.
  """
  for name in given:
    if name not in objective.needs:
      known = ", ".join(objective.needs) or "none"
      raise errors.InputError(f"VIEWS: {type(objective).__name__} asks for no {name!r}; it asks for {known}")
  opened = bool(set(policy.base.params) & policy.trainable)
  given = {"reference": Start() if warm or opened else Base(), **given}
  missing = sorted(set(objective.needs) - set(given))
  if missing:
    raise errors.InputError(
      f"{type(objective).__name__} needs {', '.join(missing)}: set VIEWS = {{{missing[0]!r}: @views.Model()}}"
    )
  made = {name: given[name].make(name, policy) for name in objective.needs}
  arrays = {key: value for _, each in made.values() for key, value in each.items()}
  return {name: one for name, (one, _) in made.items()}, arrays
