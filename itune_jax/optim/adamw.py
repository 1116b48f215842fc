"""AdamW (Loshchilov & Hutter 2019) with global-norm clipping and groups of parameters by path."""

from collections.abc import Hashable, Iterable, Mapping
import dataclasses
import math
import re
import types

import optax

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import ranges
from itune_jax.optim import schedule as schedule_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
  """Parameters whose path matches: their rate is `rate_scale` times the schedule, their decay their own.

  pattern: a regex over the paths of parameters. rate_scale: what the schedule's rate is multiplied by. weight_decay:
  of these parameters.
  """

  pattern: str
  rate_scale: ranges.NonNegativeFloat = 1.0
  weight_decay: ranges.NonNegativeFloat = 0.0

  def __post_init__(self):
    check.check_types(self)
    check.regex(self.pattern, "Group.pattern")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamW(contracts.Optimizer):
  """The optimizer. `weight_decay` skips norms and biases; the first group that matches a path takes it.

  schedule: the learning rate by step. b1, b2: decay rates of the two moments. eps: added to the square root of the
  second moment. weight_decay: decoupled, of matrices and tables; norms and biases have none. clip: the norm to which
  a larger gradient is scaled down, 0 for none. groups: parameters with a rate or a decay of their own.
  """

  schedule: schedule_lib.Schedule = schedule_lib.Schedule()
  b1: float = 0.9
  b2: float = 0.999
  eps: float = 1e-8
  weight_decay: float = 0.0
  clip: float = 1.0
  groups: tuple[Group, ...] = ()

  def __post_init__(self):
    check.check_types(self)
    name = type(self).__name__
    for key, value in (("b1", self.b1), ("b2", self.b2)):
      check.require(0 <= value < 1, f"{name}.{key} = {value}; a decay rate is 0 or more, and below 1")
    for key, value in (("eps", self.eps), ("weight_decay", self.weight_decay), ("clip", self.clip)):
      check.require(0 <= value < math.inf, f"{name}.{key} = {value}; it is a finite number, 0 or more")

  def make(
    self, steps: int, names: Iterable[str], leaves: Mapping[str, contracts.Leaf] = types.MappingProxyType({})
  ) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The transformation over flat parameters of these paths, and the schedule (to be logged).

    Args:
      leaves: how a parameter is laid out, for optimizers that look at layers and matrices.

    Raises:
      InputError when a group matches no parameter.
    """
    names = list(names)
    rate = self.schedule.make(steps)
    groups = (*self.groups, Group(pattern=r".*/(scale|bias)"), Group(pattern=".*", weight_decay=self.weight_decay))
    for group in self.groups:
      if not any(matches(group.pattern, name) for name in names):
        raise errors.InputError(
          f"AdamW group {group.pattern!r} matches no trained parameter; they are: {', '.join(sorted(names))}"
        )
    number = lambda name: next(i for i, group in enumerate(groups) if matches(group.pattern, name))
    kinds = {name: (number(name), self.kind(name, leaves.get(name))) for name in names}
    label = {name: str(kind) for name, kind in kinds.items()}  # a tuple would be a tree
    scaled = lambda group: optax.scale_by_learning_rate(lambda step: rate(step) * group.rate_scale)
    rules: dict[Hashable, optax.GradientTransformation] = {
      str((i, kind)): optax.chain(self.direction(kind, groups[i]), scaled(groups[i])) for i, kind in set(kinds.values())
    }
    chain = [*self.first(names, leaves), *([optax.clip_by_global_norm(self.clip)] if self.clip else [])]
    chain.append(optax.partition(rules, lambda params: {name: label[name] for name in params}))
    return optax.chain(*chain), rate

  def kind(self, name: str, leaf: contracts.Leaf | None) -> Hashable:
    """What `direction` is told of a parameter."""
    return None

  def first(self, names: list[str], leaves: Mapping[str, contracts.Leaf]) -> list[optax.GradientTransformation]:
    """What comes before clipping."""
    return []

  def direction(self, kind: Hashable, group: Group) -> optax.GradientTransformation:
    """The step of parameters of one kind, decay included, for a rate of one."""
    return optax.chain(optax.scale_by_adam(self.b1, self.b2, self.eps), optax.add_decayed_weights(group.weight_decay))


def matches(pattern: str, name: str) -> bool:
  """Whether a regex matches all of a path."""
  return re.fullmatch(pattern, name) is not None
