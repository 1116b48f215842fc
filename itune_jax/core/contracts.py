"""The contracts by which rooms meet. Each is small; a new part is one file that keeps one of them."""

import abc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import itertools
import types
from typing import Any, Literal, NamedTuple

from itune_jax.core import batch as batch_lib
from itune_jax.core import errors
from itune_jax.core import vocabulary
from itune_jax.core import common_words

SHOWN = "shown"  # what `Ctx.shows` asks for, among the sums of all layers


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


class View(abc.ABC):
  """A model as an objective sees it: bound to one set of parameters, inside a trace."""

  @abc.abstractmethod
  def context(self, batch: batch_lib.Batch, key: Any = None) -> batch_lib.Ctx:
    """The context of one call over `batch`."""

  @abc.abstractmethod
  def hidden(self, tokens_BT: Any, ctx: batch_lib.Ctx) -> tuple[Any, Any]:
    """Final hidden states [B, T, D] and the auxiliary sums of the layers."""

  @abc.abstractmethod
  def project(self, hidden: Any, ctx: Any = None) -> Any:
    """Logits [..., V] of hidden states [..., D]; ctx as for `hidden`."""

  def shown(
    self, tokens_BT: Any, ctx: batch_lib.Ctx, wanted: Sequence[tuple[str, int]]
  ) -> tuple[tuple[Any, Any], dict[tuple[str, int], Any]]:
    """What `hidden` gives, and of its layers, counted from 0, the parts that are wanted (`Ctx.shows`), by these pairs.

    Raises InputError for a layer or a part that is not there, and for a model whose layers show nothing (a mesh with
    stages, an encoder).
    """
    asked = tuple(dict.fromkeys((*ctx.shows, *wanted)))
    hidden_BTD, aux = self.hidden(tokens_BT, ctx.replace(shows=asked))
    if SHOWN not in aux:
      raise errors.InputError("this model shows nothing of its layers: it has stages, or is no decoder")
    found = {pair: aux[SHOWN][pair] for pair in wanted}
    return (hidden_BTD, aux if ctx.shows else {name: value for name, value in aux.items() if name != SHOWN}), found

  def beside(self, name: str) -> Any:
    """An array that trains beside the model, whose function does not read it (`Method.beside`), by METHOD_NAME.

    Raises InputError where there is none.
    """
    raise errors.InputError(f"no array {name} trains beside this model")

  @property
  def shared_words(self) -> common_words.Shared:
    """The words that the policy's vocabulary and this model's have in common. Raises InputError where nobody knows."""
    raise errors.InputError("nothing is known of the words of this model: give views.Model, with own_tokens")

  def token_logprobs(
    self, batch: batch_lib.Batch, ctx: batch_lib.Ctx, *, temperature: float = 1.0, chunk: int = 0
  ) -> Any:
    """log p of every target [B, T] in nats, 0 where the weight is 0. Differentiable, and chunked over positions."""
    hidden_BTD, _ = self.hidden(batch.tokens_BT, ctx)
    how = dict(chunk=chunk, shards=ctx.logit_shards)
    where_BT = batch.weights_BT != 0
    project, targets_BT = _projector(self, ctx), batch.targets_BT
    return vocabulary.token_logprobs(project, hidden_BTD, targets_BT, where_BT, temperature=temperature, **how)

  def over_vocabulary(
    self,
    fn: Callable,
    batch: batch_lib.Batch,
    ctx: batch_lib.Ctx,
    *,
    others: Sequence[tuple["View", batch_lib.Ctx]] = (),
    columns: Any = (),
    chunk: int = 0,
  ) -> Any:
    """A function of the logits of each trained position, chunk by chunk, with exact gradients (see `vocabulary`).

    Args:
      fn: (logits, columns) -> tree of values [B, t]; `logits` are this view's [B, t, V], then those of `others`.
      others: further views of the same vocabulary (a teacher), each with its context. columns: arrays [B, T, ...].
    """
    views = ((self, ctx), *others)
    models = [vocabulary.Projection(_projector(v, c), v.hidden(batch.tokens_BT, c)[0]) for v, c in views]
    where_BT = batch.weights_BT != 0
    return vocabulary.over_vocabulary(fn, models, where_BT, columns, chunk=chunk, shards=ctx.logit_shards)


def _projector(view: View, ctx: batch_lib.Ctx) -> Callable:
  return lambda hidden, at_BT: view.project(hidden, ctx.replace(at_BT=at_BT))


class Objective(abc.ABC):
  """A loss: a frozen value, called inside the gradient. Only `views["policy"]` is differentiated."""

  chunk: int = 0  # positions projected onto the vocabulary at a time, by each shard of the batch; 0 for the default

  @property
  def needs(self) -> tuple[str, ...]:
    """Names of the views that it asks for beside the policy ("reference", "teacher")."""
    return ()

  @property
  def columns(self) -> tuple[batch_lib.Column, ...]:
    """What it reads of `batch.columns`."""
    return ()

  @property
  def couples_batch(self) -> bool:
    """Whether what one example adds hangs on the others of its micro-batch, over all devices. Then a step must be one
    micro-batch, or the cut would change the loss."""
    return False

  @property
  def starts_at(self) -> Mapping[str, float]:
    """Metrics that a run begins with where nothing has trained yet: it ends at its first step where they differ."""
    return {}

  @property
  def remembers(self) -> Mapping[str, float]:
    """Numbers that it keeps from step to step, and what each begins with. It finds them in `batch.memory`."""
    return {}

  def remember(self, memory: Mapping[str, Any], metrics: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """What these numbers are behind a step, of what they were before it and of the sums of all its metrics."""
    del metrics
    return dict(memory)

  @abc.abstractmethod
  def __call__(self, views: Mapping[str, View], batch: batch_lib.Batch, key: Any) -> Sums:
    """Sums over one micro-batch."""


class BatchSource(abc.ABC):
  """Batches by number. Those of an offline source are a pure function of (manifest, seed, k, log of changes); those of
  a live one hang on the parameters of step k too, and on nothing else."""

  is_live = False  # whether `batch` asks the engine

  @abc.abstractmethod
  def batch(self, k: int, engine: Any = None) -> batch_lib.Batch:
    """This process's rows of global batch k, as numpy arrays.

    engine: generates and scores with the parameters of step k; an offline source does not look.
    """

  def iterate(self, start: int, engine: Callable[[], Any] = lambda: None) -> Iterator[batch_lib.Batch]:
    """Batches start, start + 1, ... without end. An offline source may read ahead."""
    return (self.batch(k, engine() if self.is_live else None) for k in itertools.count(start))

  @property
  def changes(self) -> int:
    """How often what later batches hold was changed: after a change, `iterate` is called anew."""
    return 0

  def state(self) -> dict[str, Any]:
    """What a checkpoint must hold beside the number of batches, as JSON."""
    return {}

  def restore(self, state: Mapping[str, Any]) -> None:
    """Goes on from what a checkpoint holds."""
    del state


class Result(NamedTuple):
  """One figure of a benchmark.

  tag: what it is of, such as "language=de"; "" for all items. low, high: its interval, None without one. n: items that
  it was made of, `of` those that were asked.
  """

  benchmark: str
  metric: str
  value: float
  tag: str = ""
  low: float | None = None
  high: float | None = None
  n: int = 0
  of: int = 0

  @property
  def name(self) -> str:
    """As logs, reports and values of a run name it."""
    return "/".join(part for part in (self.benchmark, self.tag, self.metric) if part)


class EvalResult(NamedTuple):
  """Figures, and one row per item (what the report and paired statistics read)."""

  results: list[Result]
  rows: list[dict[str, Any]]

  @property
  def figures(self) -> dict[str, float]:
    """The figures by name, intervals beside them under `…_low` and `…_high`, and the number of items."""
    found: dict[str, float] = {}
    for result in self.results:
      found[result.name] = result.value
      if result.low is not None and result.high is not None:
        found |= {f"{result.name}_low": result.low, f"{result.name}_high": result.high}
      if not result.tag and result.of:
        items = f"{result.benchmark}/items"
        found[items] = max(found.get(items, 0.0), float(result.n))
    return found


Better = Literal["higher", "lower"]


class Evaluator(abc.ABC):
  """Something measured on the live parameters, every so many steps.

  every: steps between two measurements in training; 0 for none, -1 for one at its end, however long it is.
  """

  name: str
  every: int

  @property
  @abc.abstractmethod
  def metrics(self) -> Mapping[str, Better]:
    """Which figures `run` will surely give, by their names, and which way each is better: known before the first step,
    so that what a run keeps or stops by is checked."""

  @abc.abstractmethod
  def run(self, view: Any) -> EvalResult:
    """Measures; `view` exposes compiled functions on the training mesh."""


class Optimizer(abc.ABC):
  """What makes updates of gradients, as a configuration has it: a frozen value, OPTIMIZER."""

  @abc.abstractmethod
  def make(self, steps: int, names: Iterable[str], leaves: Mapping[str, Leaf] = types.MappingProxyType({})) -> Any:
    """(an optax transformation over flat parameters of these paths, its schedule) for so many steps. leaves: how a
    parameter is laid out. Raises InputError for what does not fit the parameters."""

  def used(self, opt_state: Any, trainable: Mapping[str, Any]) -> Mapping[str, Any]:
    """What evaluations, exports and later runs take of a run: by default what gradients are taken at."""
    del opt_state
    return trainable


class Evaluation(abc.ABC):
  """What is to be measured, as a configuration has it: a frozen value of EVALS."""

  @abc.abstractmethod
  def bind(self, renderer: Any, seed: int) -> Evaluator:
    """The evaluator. Raises InputError for what it cannot be made of."""


class Hook:
  """Called with the metrics of every step (one step late), and once at the end."""

  def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
    """Takes the metrics of one finished step."""
    raise NotImplementedError

  def due(self, step: int) -> bool:
    """Whether it wants to see the state behind so many steps (`between`): the same for all processes."""
    del step
    return False

  def between(self, step: int, state: Any) -> Mapping[str, float]:
    """Looks at the state between two steps, before it is saved and the next batch is taken; gives figures, which all
    hooks get. What it changes of the source of batches holds from this step on, and is in its checkpoint."""
    del step, state
    return {}

  def flush(self) -> None:
    """Writes what it holds back: a checkpoint that a run may resume from is about to be saved."""

  def close(self) -> None:
    """Flushes what is open."""
