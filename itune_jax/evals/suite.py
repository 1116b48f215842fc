"""Benchmarks on a responder: items are streamed through it block by block, graded, and become figures and rows.

Several benchmarks run as one suite: what is asked in one kind of way goes to the responder together, whichever
benchmark it is of.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
import itertools
from typing import Any

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import conversation
from itune_jax.core import log
from itune_jax.evals import ask as ask_lib
from itune_jax.evals import protocol
from itune_jax.evals import official
from itune_jax.evals.benchmarks import registry
from itune_jax.grading.judging import judged_metrics
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests as requests_lib
from itune_jax.sampling.decode import decode as decode_lib
from itune_jax.sampling.responders import on_mesh

JUDGES_AGREE = "judge_alpha"  # the figure of a benchmark that several voices judge
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
  benchmark = _bound(benchmark, responder)
  items = benchmark.items() if not limit else itertools.islice(benchmark.items(), limit)
  for block in _blocks(_distinct(benchmark, items), BLOCK):
    fitted = [benchmark.ask.fit(item, responder) for item in block]
    done = graded(benchmark, fitted, benchmark.ask(fitted, responder, progress))
    write(done)
    rows += done
  check.require(rows, f"benchmark {benchmark.name} has no items")
  _say_idle_tags(benchmark, rows)
  return contracts.EvalResult(figures(benchmark, rows), rows)


def run(
  benchmarks: Sequence[protocol.Benchmark],
  responder: requests_lib.Responder,
  *,
  progress: requests_lib.Progress = lambda n: None,
  done: Callable[[protocol.Benchmark, contracts.EvalResult], None] = lambda benchmark, result: None,
) -> dict[str, contracts.EvalResult]:
  """Asks the items of all benchmarks together, block by block, and grades each benchmark when its last answer is there.

  Ids of requests are those of the items behind the benchmark's name, `gsm8k/17`, so that two benchmarks may have items
  of one id. done: gets the result of each benchmark as it comes.

  Raises InputError for two benchmarks of one name, and as `measure` does.
  """
  names = [benchmark.name for benchmark in benchmarks]
  check.require(len(set(names)) == len(names), f"two benchmarks have one name: {', '.join(names)}")
  benchmarks = [_bound(benchmark, responder) for benchmark in benchmarks]
  found: dict[str, contracts.EvalResult] = {}
  waiting: dict[str, list[tuple[protocol.Item, Any]]] = {}

  def finish(benchmark: protocol.Benchmark) -> None:
    pairs = waiting.pop(benchmark.name, [])
    check.require(pairs, f"benchmark {benchmark.name} has no items")
    rows = graded(benchmark, [item for item, _ in pairs], [answer for _, answer in pairs])
    _say_idle_tags(benchmark, rows)
    found[benchmark.name] = contracts.EvalResult(figures(benchmark, rows), rows)
    done(benchmark, found[benchmark.name])

  stream = ((benchmark, item) for benchmark in benchmarks for item in [*_distinct(benchmark, benchmark.items()), None])
  for block in _blocks(stream, BLOCK):
    given = [(b, dataclasses.replace(item, id=f"{b.name}/{item.id}")) for b, item in block if item is not None]
    fitted = [(b, b.ask.fit(item, responder)) for b, item in given]
    for (benchmark, item), answer in zip(fitted, _answers(fitted, responder, progress), strict=True):
      own = dataclasses.replace(item, id=item.id.removeprefix(f"{benchmark.name}/"))
      waiting.setdefault(benchmark.name, []).append((own, answer))
    for benchmark in [benchmark for benchmark, item in block if item is None]:
      finish(benchmark)
  return found


def _bound(benchmark: protocol.Benchmark, responder: requests_lib.Responder) -> protocol.Benchmark:
  return dataclasses.replace(benchmark, grade=benchmark.grade.bound(responder))


def _answers(
  given: Sequence[tuple[protocol.Benchmark, protocol.Item]],
  responder: requests_lib.Responder,
  progress: requests_lib.Progress,
) -> list[Any]:
  """The answer to each: of those that ask once together, then of the others benchmark by benchmark."""
  answers: list[Any] = [None] * len(given)
  once = [(k, one.ask, item) for k, (one, item) in enumerate(given) if isinstance(one.ask, protocol.Pooled)]
  said = protocol.pooled([(ask, item) for _, ask, item in once], responder, progress)
  for (k, _, _), answer in zip(once, said, strict=True):
    answers[k] = answer
  others: dict[str, list[int]] = {}
  for k, (benchmark, _) in enumerate(given):
    if not isinstance(benchmark.ask, protocol.Pooled):
      others.setdefault(benchmark.name, []).append(k)
  for places in others.values():
    ask = given[places[0]][0].ask
    for k, answer in zip(places, ask([given[k][1] for k in places], responder, progress), strict=True):
      answers[k] = answer
  return answers


def graded(benchmark: protocol.Benchmark, items: Sequence[protocol.Item], answers: Sequence[Any]) -> list[Row]:
  """A row for each item. An answer that is missing is not judged: its values are None, and show in the number of items.

  Raises InputError when a grade lacks a metric.
  """
  is_there = [not _is_missing(answer) for answer in answers]
  pairs = [(item, answer) for item, answer, there in zip(items, answers, is_there, strict=True) if there]
  judged = iter(benchmark.grade([item for item, _ in pairs], [answer for _, answer in pairs]) if pairs else ())
  nothing = protocol.Graded(dict.fromkeys(benchmark.metrics))
  values = [next(judged) if there else nothing for there in is_there]
  return [_row(benchmark, *given) for given in zip(items, answers, values, strict=True)]


def _is_missing(answer: Any) -> bool:
  return isinstance(answer, requests_lib.Response) and ask_lib.verdict(answer) == "missing"


def _say_idle_tags(benchmark: protocol.Benchmark, rows: Sequence[Row]) -> None:
  """Names a tag of the benchmark that no item has: figures by it are not there, and nobody would see why."""
  known = sorted({tag for row in rows for tag in row["tags"]})
  for tag in benchmark.tags:
    if tag not in known:
      log.info(f"{benchmark.name}: no item has the tag {tag}; items have {', '.join(known) or 'none'}")


def figures(benchmark: protocol.Benchmark, rows: Sequence[Mapping[str, Any]]) -> list[contracts.Result]:
  """The figures of graded rows: of all of them, then by the values of each tag. Where answers are generated, the shares
  of those that were cut off, that are empty, and whose thinking was ended at a budget stand beside them; where several
  voices judged, how far they agree does too."""
  parts: list[tuple[str, Sequence[Mapping[str, Any]]]] = [("", rows)]
  for tag in benchmark.tags:
    by_value: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
      for value in protocol.tagged(row["tags"].get(tag)):
        by_value.setdefault(value, []).append(row)
    parts += [(f"{tag}={value}", chosen) for value, chosen in by_value.items()]
  found = gaps(benchmark, rows)
  for tag, chosen in parts:
    clusters = [row["cluster"] for row in chosen]
    of = len(chosen) if tag or not benchmark.total else benchmark.total
    for name, metric in benchmark.metrics.items():
      value, low, high, n = metric([row["values"][name] for row in chosen], clusters)
      found.append(contracts.Result(benchmark.name, name, value, tag, low, high, n, of))
    if benchmark.ask.generates and not tag:
      found += _verdicts(benchmark, chosen, clusters, of)
    if not tag and any("votes" in row for row in rows):
      value, low, high, n = judged_metrics.Alpha()([row.get("votes") for row in rows], clusters)
      found.append(contracts.Result(benchmark.name, JUDGES_AGREE, value, "", low, high, n, of))
  return found


def gaps(benchmark: protocol.Benchmark, rows: Sequence[Mapping[str, Any]]) -> list[contracts.Result]:
  """What the values of the benchmark's tag `against` lack of the one that it names: metric NAME_gap, that one minus the
  other on the clusters that both have, so more is worse where more of the metric is better.

  The interval is that of the paired difference. Values of which an answer is not there are left out of both.
  """
  if benchmark.against is None:
    return []
  name, reference = benchmark.against
  values: dict[str, dict[str, Mapping[str, Any]]] = {}
  for row in rows:
    for value in protocol.tagged(row["tags"].get(name)):
      values.setdefault(value, {})[row["cluster"]] = row["values"]
  base, found = values.pop(reference, {}), []
  for value, own in values.items():
    shared = [cluster for cluster in own if cluster in base]
    for metric_name, metric in benchmark.metrics.items():
      first, second = ([side[cluster][metric_name] for cluster in shared] for side in (own, base))
      if not isinstance(metric, metrics_lib.Resampled) or all(None in pair for pair in zip(first, second, strict=True)):
        continue
      value_, low, high, n = metric.paired(first, second, shared).figure
      tag, of = f"{name}={value}", len(own)
      found.append(contracts.Result(benchmark.name, f"{metric_name}_gap", value_, tag, low, high, n, of))
  return found


def _verdicts(benchmark, rows, clusters, of) -> list[contracts.Result]:
  found = []
  there = [k for k, row in enumerate(rows) if row.get("verdict") != "missing"]  # nobody knows how the others would end
  rows, clusters = [rows[k] for k in there], [clusters[k] for k in there]
  told: dict[str, list[float]] = {}
  if not rows:
    return found
  if all("verdict" in row for row in rows):
    told |= {name: [float(row["verdict"] == name) for row in rows] for name in ("cut_off", "empty")}
  if all("thinking_cut" in row for row in rows):
    told["thinking_cut"] = [row["thinking_cut"] for row in rows]
  for name, shares in told.items():
    if name not in benchmark.metrics:
      value, low, high, n = metrics_lib.Mean("lower")(shares, clusters)
      found.append(contracts.Result(benchmark.name, name, value, "", low, high, n, of))
  return found


def _row(benchmark: protocol.Benchmark, item: protocol.Item, answer: Any, graded: protocol.Graded) -> Row:
  missing = sorted(set(benchmark.metrics) - set(graded.values))
  check.require(not missing, f"{benchmark.name}: the grade of item {item.id} lacks {', '.join(missing)}")
  values = {name: _value(value) for name, value in graded.values.items()}
  own: Row = {"id": item.id, "cluster": item.cluster or item.id, "tags": dict(item.tags), "values": values}
  own |= {"harmful": True} if item.harmful else {}
  return {**own, **benchmark.ask.row(item, answer), **item.shown, **graded.shown}


def _value(value: Any) -> Any:
  """A value of an item as it is kept: a number, None, or what a metric makes of more than a number."""
  return float(value) if isinstance(value, (bool, int, float)) else value


def _distinct(benchmark: protocol.Benchmark, items: Iterable[protocol.Item]) -> Iterator[protocol.Item]:
  seen: set[str] = set()
  for item in items:
    check.require(item.id not in seen, f"{benchmark.name}: two items have the id {item.id!r}; ids must differ")
    seen.add(item.id)
    yield item


def _blocks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suite(contracts.Evaluation):
  """Published benchmarks as an evaluator: they are asked together, with one engine.

  names: of `evals/benchmarks/registry.py`, or folders and files of one's own. settings: how a benchmark is asked, by
  its name. common: how all others are asked. data: the folder of their files, "" for ITUNE_DATA. decode: how answers
  are drawn, but for what a benchmark says itself. every: steps between two evaluations in training, 0 for none: then
  only `itune eval` runs it. name: under which the evaluator is known; figures stand under the benchmarks' own names.
  """

  names: tuple[str, ...]
  settings: Mapping[str, official.Settings] = dataclasses.field(default_factory=dict)
  common: official.Settings = official.Settings()
  data: str = ""
  decode: decode_lib.Decode = decode_lib.Decode(max_new_tokens=2048, batch=32)
  every: int = 0
  name: str = "suite"

  def __post_init__(self):
    check.check_types(self)
    check.require(self.names, "Suite.names is empty: name a benchmark (`itune eval --list`)")
    check.require(len(set(self.names)) == len(self.names), f"Suite.names has one twice: {', '.join(self.names)}")
    unknown = sorted(set(self.settings) - set(self.names))
    check.require(not unknown, f"Suite.settings are for {', '.join(unknown)}, which Suite.names does not have")

  def benchmarks(self) -> list[protocol.Benchmark]:
    """The benchmarks, with their files found. Raises InputError for a name or files that there are not."""
    roots = official.roots(self.data)
    return [registry.find(name).benchmark(roots, self.settings.get(name, self.common)) for name in self.names]

  def bind(self, renderer: conversation.Renderer, seed: int) -> "BoundSuite":
    """The evaluator, ready to run."""
    del seed  # decoding has its own
    made = tuple(self.benchmarks())
    return BoundSuite(self.name, self.every, made, lambda engine: on_mesh.MeshResponder(engine, renderer, self.decode))


@dataclasses.dataclass(frozen=True)
class BoundSuite(contracts.Evaluator):
  """Benchmarks with their files, and how a responder is made of an engine."""

  name: str
  every: int
  benchmarks: tuple[protocol.Benchmark, ...]
  respond: Callable[[Any], requests_lib.Responder]

  @property
  def metrics(self) -> Mapping[str, contracts.Better]:
    """The figures of all benchmarks over all items."""
    return {f"{b.name}/{name}": metric.better for b in self.benchmarks for name, metric in b.metrics.items()}

  def run(self, view: Any) -> contracts.EvalResult:
    """Asks all of them with the engine's parameters of now; each row names its benchmark."""
    found = run(self.benchmarks, self.respond(view), progress=view.progress)
    rows = [{"benchmark": name, **row} for name, result in found.items() for row in result.rows]
    return contracts.EvalResult([one for result in found.values() for one in result.results], rows)
