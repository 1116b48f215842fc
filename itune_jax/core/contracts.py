"""The contracts by which rooms meet. Each is small; a new part is one file that keeps one of them."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from itune_jax.core import batch as batch_lib


class Sums(NamedTuple):
  """What an objective returns: sums and the weight to divide by, never means.

  Dividing once per optimizer step by the sum of all weights makes the gradient independent of how a global
  batch is cut into micro-batches, packed rows, hosts and devices.
  """

  loss: Any
  weight: Any
  metrics: dict[str, tuple[Any, Any]]


class Leaf(NamedTuple):
  """How a parameter is laid out: stacked axes in front, then the contracted axes of a matrix (0 of what is none)."""

  lead: int
  num_in: int


class View(Protocol):
  """The model as an objective sees it: bound to one set of parameters, inside a trace."""

  def context(self, batch: batch_lib.Batch, key: Any = None) -> batch_lib.Ctx:
    """The context of one call over `batch`."""
    ...

  def hidden(self, tokens_BT: Any, ctx: batch_lib.Ctx) -> tuple[Any, Any]:
    """Final hidden states [B, T, D] and the auxiliary sums of the layers."""
    ...

  def project(self, hidden: Any, ctx: Any = None) -> Any:
    """Logits [..., V] of hidden states [..., D]; ctx as for `hidden`."""
    ...


class Objective(Protocol):
  """A loss: a frozen value, called inside the gradient."""

  def __call__(self, view: View, batch: batch_lib.Batch, key: Any) -> Sums:
    """Sums over the tokens of one micro-batch."""
    ...


class Feed(Protocol):
  """Batches by number. Batch k is a pure function of (manifest, seed, k)."""

  def batch(self, k: int) -> batch_lib.Batch:
    """This process's rows of global batch k, as numpy arrays."""
    ...

  def iterate(self, start: int) -> Iterator[batch_lib.Batch]:
    """Batches start, start + 1, ... read ahead by threads."""
    ...


class Evaluator(Protocol):
  """Something measured on the live parameters, every so many steps."""

  name: str
  every: int

  def run(self, view: Any) -> "EvalResult":
    """Measures; `view` exposes compiled functions on the training mesh."""
    ...


class EvalResult(NamedTuple):
  """Figures by name, and one row per example (what the report and paired statistics read)."""

  figures: dict[str, float]
  rows: list[dict[str, Any]]


class Hook(Protocol):
  """Called with the metrics of every step (one step late), and once at the end."""

  def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
    """Takes the metrics of one finished step."""
    ...

  def flush(self) -> None:
    """Writes what it holds back: a checkpoint that a run may resume from is about to be saved."""
    ...

  def close(self) -> None:
    """Flushes what is open."""
    ...
