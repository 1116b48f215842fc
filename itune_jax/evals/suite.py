"""Benchmarks on a responder: items are streamed through it block by block, graded, and become figures and rows."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
import itertools
from typing import Any

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.evals import protocol
from itune_jax.sampling import requests as requests_lib

BLOCK = 1024  # items that are asked together: enough to keep a mesh busy, few enough to hold

Row = dict[str, Any]


def measure(
  benchmark: protocol.Benchmark,
  responder: requests_lib.Responder,
  *,
  limit: int = 0,
  progress: requests_lib.Progress = lambda n: None,
  write: Callable[[list[Row]], None] = lambda rows: None,
) -> contracts.EvalResult:
  """Asks a benchmark's items and grades the answers.

  Args:
    limit: at most so many items; 0 for all. write: gets the rows of each block as it is done.

  Raises:
    InputError when there is no item, or two have one id, or a grade lacks a metric.
  """
  rows: list[Row] = []
  seen: set[str] = set()
  items = benchmark.items() if not limit else itertools.islice(benchmark.items(), limit)
  for block in _blocks(items, BLOCK):
    for item in block:
      check.require(item.id not in seen, f"{benchmark.name}: two items have the id {item.id!r}; ids must differ")
      seen.add(item.id)
    answers = benchmark.ask(block, responder, progress)
    done = [_row(benchmark, *given) for given in zip(block, answers, benchmark.grade(block, answers), strict=True)]
    write(done)
    rows += done
  check.require(rows, f"benchmark {benchmark.name} has no items")
  return contracts.EvalResult(figures(benchmark, rows), rows)


def figures(benchmark: protocol.Benchmark, rows: Sequence[Mapping[str, Any]]) -> list[contracts.Result]:
  """The figures of graded rows: of all of them, then by the values of each tag."""
  parts: list[tuple[str, Sequence[Mapping[str, Any]]]] = [("", rows)]
  for tag in benchmark.tags:
    values = dict.fromkeys(row["tags"].get(tag) for row in rows)
    parts += [(f"{tag}={v}", [r for r in rows if r["tags"].get(tag) == v]) for v in values if v is not None]
  found = []
  for tag, chosen in parts:
    clusters = [row["cluster"] for row in chosen]
    for name, metric in benchmark.metrics.items():
      value, low, high, n = metric([row["values"][name] for row in chosen], clusters)
      found.append(contracts.Result(benchmark.name, name, value, tag, low, high, n, len(chosen)))
  return found


def _row(benchmark: protocol.Benchmark, item: protocol.Item, answer: Any, graded: protocol.Graded) -> Row:
  missing = sorted(set(benchmark.metrics) - set(graded.values))
  check.require(not missing, f"{benchmark.name}: the grade of item {item.id} lacks {', '.join(missing)}")
  values = {name: None if value is None else float(value) for name, value in graded.values.items()}
  own = {"id": item.id, "cluster": item.cluster or item.id, "tags": dict(item.tags), "values": values}
  return {**own, **benchmark.ask.row(item, answer), **item.shown, **graded.shown}


def _blocks(items: Iterable[protocol.Item], size: int) -> Iterator[list[protocol.Item]]:
  stream = iter(items)
  while block := list(itertools.islice(stream, size)):
    yield block


@dataclasses.dataclass(frozen=True)
class Bound(contracts.Evaluator):
  """A benchmark as an evaluator. respond: makes the responder of an engine."""

  benchmark: protocol.Benchmark
  every: int
  respond: Callable[[Any], requests_lib.Responder]
  limit: int = 0

  @property
  def name(self) -> str:
    """The benchmark's."""
    return self.benchmark.name

  @property
  def metrics(self) -> Mapping[str, contracts.Better]:
    """The figures over all items."""
    return {f"{self.name}/{name}": metric.better for name, metric in self.benchmark.metrics.items()}

  def run(self, view: Any) -> contracts.EvalResult:
    """Measures with the engine's parameters of now."""
    return measure(self.benchmark, self.respond(view), limit=self.limit, progress=view.progress)
