"""What scores ask of a model on the mesh beyond its answers: its engine, other models, and small trainings.

`run` makes it. Trainings are handed in here as a function, since this room knows neither adapters nor optimizers.
"""

import abc
from collections.abc import Mapping, Sequence
import dataclasses
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import pack
from itune_jax.core import ranges
from itune_jax.data.render import chat
from itune_jax.select import select_protocol

if TYPE_CHECKING:
  from itune_jax.sampling import engine as engine_lib  # a module of JAX, which selections without a model do without


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuning:
  """A small training that a score needs: a LoRA adapter by AdamW, loss on answers.

  epochs: passes over the rows. rate: the peak of the learning rate. warmup: the share of the steps in which it rises;
  then it falls in a line to 0. rank, alpha: of the adapter. sites: which projections get it, a regular expression over
  their names. rows, row_length: the packed rows of a step, and their positions. checkpoints: at how many places of the
  training its arrays are kept, the last of them its end. seed: of what is drawn.
  """

  epochs: float = 4.0
  rate: float = 2e-5
  warmup: float = 0.03
  rank: int = 8
  alpha: ranges.PositiveFloat = 16.0
  sites: str = r".*/(q|k|v|o)"
  rows: int = 2
  row_length: int = 1024
  checkpoints: int = 1
  seed: ranges.Seed = 0

  def __post_init__(self):
    check.check_types(self)
    check.regex(self.sites, "Tuning.sites")
    counts = (self.rank, self.rows, self.row_length, self.checkpoints)
    check.require(
      self.epochs > 0 and self.rate > 0 and 0 <= self.warmup < 1 and min(counts) > 0,
      "Tuning: epochs, rate, rank, rows, row_length and checkpoints are above 0, warmup is a share below 1",
    )


class Checkpoint(NamedTuple):
  """Arrays of a training at one place, by name: parameters, both moments of Adam, and the mean rate that led here."""

  params: Mapping[str, Any]
  first: Mapping[str, Any]
  second: Mapping[str, Any]
  rate: float


class Tuned(NamedTuple):
  """A trained model, and the checkpoints of its training, first to last."""

  model: "Asked"
  checkpoints: tuple[Checkpoint, ...]


class Asked(select_protocol.Ask):
  """A model on the mesh, with what scores need of it.

  targets: rows of the task that is selected for, none without.
  """

  targets: Sequence[select_protocol.Row] = ()

  @property
  @abc.abstractmethod
  def engine(self) -> "engine_lib.Engine":
    """Scoring of ids with the parameters of this model."""

  @property
  @abc.abstractmethod
  def renderer(self) -> chat.Renderer:
    """Conversations into its ids."""

  @abc.abstractmethod
  def other(self, model: str) -> "Asked":
    """Another model, by what `--base` or `--adapter` take. Raises InputError when it cannot be had."""

  @abc.abstractmethod
  def tuned(self, name: str, items: Sequence[pack.Item], tuning: Tuning) -> Tuned:
    """This model, tuned on items. name: names the training for ever: one that was killed goes on, and one that has
    ended is not made again."""

  @abc.abstractmethod
  def progress(self, what: str, total: int) -> "Asked":
    """The same, which tells a person how far a piece of work is."""


def of(ask: select_protocol.Ask | None, model: str = "") -> Asked:
  """The model on the mesh that a score asks, or another one by name. Raises InputError where there is none."""
  if not isinstance(ask, Asked):
    raise errors.InputError("this score reads a model's log-probabilities or states: give --base with a model, no URL")
  return ask.other(model) if model else ask


def targets(ask: Asked, score: str) -> Sequence[select_protocol.Row]:
  """The rows of the task. Raises InputError where none are given."""
  check.require(ask.targets, f"score {score} compares rows with those of a task: give them with --targets=FILE")
  return ask.targets


By = Literal["last", "mean", "weighted_mean"]
