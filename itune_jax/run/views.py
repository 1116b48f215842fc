"""The models that an objective asks for beside the policy, as values: a reference, a teacher.

VIEWS = {"teacher": @views.Model()}
views.Model.model = @teacher/specs.Model()
"""

import abc
from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp

from itune_jax.core import axes as axes_lib
from itune_jax.core import batch as batch_lib
from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.core import numerics
from itune_jax.core import common_words
from itune_jax.data import made
from itune_jax.data import stored_reference
from itune_jax.data import stored_teacher
from itune_jax.models import load as load_lib
from itune_jax.models import view
from itune_jax.objectives import kept
from itune_jax.objectives.distill import top_k
from itune_jax.run import adapters as adapters_lib
from itune_jax.run import loading
from itune_jax.run import specs
from itune_jax.train import step as step_lib


SOURCE = made.SOURCE


class Other(NamedTuple):
  """Another model on the policy's devices: its binder, its arrays, what tells its tokenizer from others, and the id of
  each of its words, where a tokenizer is open."""

  bind: view.Binder
  params: Mapping[str, Any]
  tokenizer: str
  words: Callable[[], Mapping[str, int]] | None = None


class Policy(NamedTuple):
  """What views are made beside. Arrays, or shapes where a run is only planned.

  open: gives another model on the same devices, by its values. on_base: the base with saved adapters side by side.
  words: the id of each word, where a tokenizer is open.
  """

  base: load_lib.Base
  bind: view.Binder
  params: Mapping[str, Any]
  trainable: frozenset[str]
  tokenizer: str
  open: Callable[["Model"], Other]
  on_base: Callable[[Mapping[str, str]], tuple[view.Binder, Mapping[str, Any]]]
  words: Callable[[], Mapping[str, int]] | None = None


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adapters(View):
  """The policy's own base with saved adapters: no second copy of the base (self-distillation, several teachers).

  adapters: run directories, checkpoints or PEFT folders by the names of sources, whose rows each teaches; of one with
  the name "" all rows take it. A source that has none is taught by the base alone.
  """

  adapters: dict[str, str]

  def __post_init__(self):
    check.check_types(self)
    check.require(self.adapters, "views.Adapters.adapters is empty: name an adapter for each source, or '' for all")
    check.require(
      "" not in self.adapters or len(self.adapters) == 1, "views.Adapters: '' is for all sources: give it alone"
    )

  def make(self, name: str, policy: Policy) -> tuple[step_lib.FrozenView, dict[str, Any]]:
    """The view. Raises InputError where parameters of the base train, and for an adapter of another base."""
    opened = sorted(set(policy.base.params) & policy.trainable)
    check.require(not opened, f"VIEWS: {name!r} shares the base, but {', '.join(opened[:3])} of it train: use Model")
    bind, params = policy.on_base(self.adapters)
    names = tuple((n, n if n in policy.base.params else f"{name}:{n}") for n in params)
    arrays = {key: params[n] for n, key in names if n != key}
    order = tuple(self.adapters)
    return step_lib.FrozenView(_BySource(bind, order), names), arrays


@dataclasses.dataclass(frozen=True)
class _BySource:
  """Gives views of several adapters, of which each position takes that of its source."""

  inner: view.Binder
  names: tuple[str, ...]

  def __call__(self, params: Mapping[str, Any]) -> contracts.View:
    return _BySourceView(self.inner(params), self.inner, self.names)


@dataclasses.dataclass(frozen=True)
class _BySourceView(view.BoundModel):
  """`module` is the model of all adapters."""

  names: tuple[str, ...] = ()

  def __init__(self, bound: view.BoundModel, binder: view.Binder, names: tuple[str, ...]):
    object.__setattr__(self, "module", bound.module)
    object.__setattr__(self, "binder", binder)
    object.__setattr__(self, "names", names)

  def context(self, batch: batch_lib.Batch, key: Any = None, **more: Any) -> batch_lib.Ctx:
    """With the number of each position's adapter: those of `taught`, or the only one."""
    column = batch.columns.get(SOURCE.name)
    number_BT = jnp.zeros_like(batch.tokens_BT) if self.names == ("",) or column is None else column
    return super().context(dataclasses.replace(batch, adapters_BT=number_BT), key, **more)


def sources_of(given: Mapping[str, View]) -> tuple[str, ...]:
  """The sources that have a teacher of their own, in the order of their numbers; () where none has."""
  found = [tuple(one.adapters) for one in given.values() if isinstance(one, Adapters) and "" not in one.adapters]
  check.require(len(found) <= 1, "VIEWS: one view alone may take its adapters by source")
  return found[0] if found else ()


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
class StoredTeacher(View):
  """A teacher whose likeliest tokens were stored by `itune prepare --with_teacher`, for `top_k.TopK`, which says how
  many, and at which temperature. No second model runs, and none is loaded.

  model: what was opened. adapter: what was put on it, "" for nothing. precision: which dtype held what. dtype: what
  log-probs are stored in.
  """

  model: specs.Model
  adapter: str = ""
  precision: numerics.Precision = numerics.Precision()
  dtype: Literal["float16", "float32"] = "float16"

  def __post_init__(self):
    check.check_types(self)

  def asked(self, objective: contracts.Objective) -> top_k.TopK:
    """What reads its tokens. Raises InputError for an objective that reads none."""
    asks = objective.objective if isinstance(objective, kept.Kept) else objective
    if not isinstance(asks, top_k.TopK) or asks.live:
      raise errors.InputError(
        f"VIEWS: a stored teacher is for top_k.TopK (live = False), not for {type(asks).__name__}: of its "
        "distributions the likeliest tokens are there alone"
      )
    return asks

  def of(self, objective: contracts.Objective) -> stored_teacher.Of:
    """What tells its tokens from those of others. Raises InputError as `asked` does, and where it is not had."""
    asks, quant = self.asked(objective), "" if self.model.quant is None else repr(self.model.quant)
    whose = loading.digest_of(self.model), adapters_lib.digest(self.adapter), str(self.precision.compute), quant
    return stored_teacher.Of(*whose, asks.k, float(asks.temperature), self.dtype)

  def make(self, name: str, policy: Policy) -> tuple[step_lib.FrozenView, dict[str, Any]]:
    """Raises InputError: no model is there to be asked."""
    raise errors.InputError(f"VIEWS: {name!r} is stored, and this objective asks a model: use views.Model")


def stored_teacher_of(objective: contracts.Objective, given: Mapping[str, View]) -> stored_teacher.Of | None:
  """Whose stored tokens the batches bring, if anybody's. Raises InputError as `StoredTeacher.of` does."""
  teacher = given.get("teacher")
  return teacher.of(objective) if isinstance(teacher, StoredTeacher) else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model(View):
  """Another model (or the same with another adapter), laid out and computed in its own way on the policy's devices.

  rules: changes to the mesh's table of rules.

  model: what is opened. adapter: what is put on it, "" for nothing. precision: which dtype holds what. own_tokens:
  whether it may have another tokenizer, since it reads tokens of its own (Distill.beside, Source.teacher).
  """

  model: specs.Model
  adapter: str = ""
  precision: numerics.Precision = numerics.Precision()
  rules: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
  own_tokens: bool = False

  def __post_init__(self):
    check.check_types(self)
    unknown = sorted(set(self.rules) - set(axes_lib.LOGICAL_AXES))
    check.require(not unknown, f"views.Model.rules names unknown axes {unknown}")

  def make(self, name: str, policy: Policy) -> tuple[step_lib.FrozenView, dict[str, Any]]:
    """The view. Raises InputError when its tokenizer is another: ids would mean other words to it."""
    other = policy.open(self)
    check.require(
      other.tokenizer == policy.tokenizer or self.own_tokens,
      f"VIEWS: {name!r} ({self.model.base}) has another tokenizer than the model that trains: its ids mean others. "
      "Source.teacher, Distill.beside and divergence 'uld' bridge them (with views.Model.own_tokens)",
    )
    bind: Any = other.bind
    if policy.words is not None and other.words is not None:
      own, theirs = policy.words, other.words
      bind = view.WithWords(bind, functools.cache(lambda: common_words.Shared.of(own(), theirs())))
    return step_lib.frozen_tree(name, bind, other.params)


def make(
  objective: contracts.Objective, given: Mapping[str, View], policy: Policy, warm: bool
) -> tuple[dict[str, step_lib.FrozenView], dict[str, Any]]:
  """The views that an objective needs, and their arrays.

  Args:
    given: by name; a reference that is not given is the policy as it starts. warm: whether it starts from an adapter.

  Raises:
    InputError for a view that is needed and not given, or given and not needed.
  """
  if isinstance(stored := given.get("teacher"), StoredTeacher) and "teacher" not in objective.needs:
    stored.asked(objective)
    given = {name: one for name, one in given.items() if one is not stored}  # it is read with the data: no view
  for name in given:
    if name not in objective.needs:
      known = ", ".join(objective.needs) or "none"
      raise errors.InputError(f"VIEWS: {type(objective).__name__} asks for no {name!r}; it asks for {known}")
  opened = bool(set(policy.base.params) & policy.trainable)
  given = {"reference": Start() if warm or opened else Base(), **given}
  for name, one in given.items():
    if not isinstance(one, View):
      raise errors.InputError(f"VIEWS: {name!r} is {jsontext.shown(one)}, no view: write @views.Model() or another")
  missing = sorted(set(objective.needs) - set(given))
  if missing:
    raise errors.InputError(
      f"{type(objective).__name__} needs {', '.join(missing)}: set VIEWS = {{{missing[0]!r}: @views.Model()}}"
    )
  made = {name: given[name].make(name, policy) for name in objective.needs}
  arrays = {key: value for _, each in made.values() for key, value in each.items()}
  return {name: one for name, (one, _) in made.items()}, arrays
