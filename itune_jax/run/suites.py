"""Published benchmarks as a command runs them: found, asked, written as they are done, reused where nothing changed."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import hashlib
import json
import os
from typing import Any

import rich.table

from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import log
from itune_jax.evals import judged
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.evals import stored as stored_lib
from itune_jax.evals import suite as suite_lib
from itune_jax.evals.benchmarks import registry
from itune_jax.run import console
from itune_jax.run import costs
from itune_jax.run import gin_setup
from itune_jax.run import results
from itune_jax.sampling import requests as requests_lib
from itune_jax.sampling.responders import journal

After = Callable[[Sequence[tuple[protocol.Benchmark, contracts.EvalResult]]], None]
# What adds to a benchmark's rows and figures when all is answered; its rows may come from disk.
Mark = Callable[[protocol.Benchmark, contracts.EvalResult], contracts.EvalResult]
_ANSWERS = "answers.partial.jsonl"  # what was answered so far, in the folder of an evaluation that is under way


def completed(evals: Sequence[Any]) -> list[Any]:
  """Evaluators, suites among them with the folder of data and the settings that gin has under the benchmarks' names."""
  return [_completed(one) if isinstance(one, suite_lib.Suite) else one for one in evals]


def _completed(suite: suite_lib.Suite) -> suite_lib.Suite:
  scoped = {name: gin_setup.scoped(official.Settings, name) for name in suite.names}
  settings = {name: value for name, value in scoped.items() if value is not None}
  data = suite.data or os.environ.get("ITUNE_DATA", "")
  return dataclasses.replace(suite, data=data, settings={**suite.settings, **settings})


def named(names: str) -> tuple[str, ...]:
  """The names in `--suite A,B`."""
  return tuple(name.strip() for name in names.split(",") if name.strip())


def table() -> None:
  """Prints the benchmarks that there are, on stdout."""
  shown = rich.table.Table("name", "axis", "items", "metric", "files", "licence", "from")
  for one in registry.table():
    name = f"{one.name} (format only)" if one.format_only else one.name
    items = f"{one.count:,}" if one.count else "any"
    shown.add_row(name, one.axis, items, one.metric, one.size, one.licence, one.source)
  console.printed(shown)


@dataclasses.dataclass(frozen=True, kw_only=False)
class More:
  """A benchmark that is asked beside a suite's: `base` is the name of the one that it is a variation of, `told` what it
  hangs on beside that one's key."""

  benchmark: protocol.Benchmark
  base: str
  told: Mapping[str, Any]


def run(
  suite: suite_lib.Suite,
  responder: requests_lib.Responder,
  who: Mapping[str, Any],
  out: str,
  progress: requests_lib.Progress,
  overwrite: bool = False,
  after: After | None = None,
  mark: Mark | None = None,
) -> dict[str, Any]:
  """Asks the benchmarks of a suite and writes each into `out` as it is done; returns their figures.

  who: what the answers hang on beside the benchmark: weights, rendering, how tokens are drawn. A benchmark that stands
  in `out` with the same digest of all this is not asked again. after: gets all of them with their results at the end.
  mark: adds to rows and figures of each before that.

  Raises InputError where `out` holds a benchmark of something else, unless it may be overwritten.
  """
  return asked(suite, responder, who, out, progress, overwrite, after, mark=mark)[0]


def asked(
  suite: suite_lib.Suite,
  responder: requests_lib.Responder,
  who: Mapping[str, Any],
  out: str,
  progress: requests_lib.Progress,
  overwrite: bool = False,
  after: After | None = None,
  more: Sequence[More] = (),
  place: str = "",
  mark: Mark | None = None,
  rows: bool = False,
) -> tuple[dict[str, Any], dict[str, contracts.EvalResult]]:
  """As `run`, with further benchmarks that are asked together with the suite's and written into `place`; returns the
  figures of the suite, and all results with their rows by name. rows: whether those of results that stand on disk are
  wanted too, where nothing else asks for them."""
  called = [registry.find(name).name for name in suite.names]  # a user's own is named by its path
  keys = {name: _identity(suite, given, who) for name, given in zip(called, suite.names, strict=True)}
  keys |= {one.benchmark.name: _keyed({**keys[one.base], **one.told}) for one in more}
  where = {**dict.fromkeys(called, out), **dict.fromkeys((one.benchmark.name for one in more), place)}
  found: dict[str, contracts.EvalResult] = {}
  for name, folder in where.items() if not overwrite else ():
    found |= _earlier(folder, name, keys[name]) if folder else {}
  benchmarks = suite.benchmarks()
  rest = [b for b in (*benchmarks, *(one.benchmark for one in more)) if b.name not in found]
  for name in found:
    log.info(f"{name}: {where[name]} has it of the same weights, files and settings; not asked again")
  path = os.path.join(out, _ANSWERS)
  timed = costs.Timed(responder)
  kept = journal.Journal(timed, path) if out and rest else None

  def done(benchmark: protocol.Benchmark, result: contracts.EvalResult) -> None:
    folder = where[benchmark.name]
    if folder and log.is_lead():
      results.write_into(folder, benchmark.name, result)
      files.write_json(os.path.join(folder, f"{benchmark.name}.key"), keys[benchmark.name])

  asked_now = suite_lib.run(rest, kept or timed, progress=progress, done=done) if rest else {}
  found |= asked_now
  if out and log.is_lead():
    _write_costs(rest, asked_now, where, None if kept is not None and kept.reused else timed)
    if files.exists(path):
      files.remove(path)
  if rows or more or after is not None or mark is not None:
    found = {name: _with_rows(result, where[name], name) for name, result in found.items()}
  for benchmark in benchmarks if mark is not None else ():
    found[benchmark.name] = mark(benchmark, found[benchmark.name])
    if out and log.is_lead():
      results.write_into(out, benchmark.name, found[benchmark.name])
  results_ = [one for name in called for one in found[name].results]
  if after is not None:
    after([(b, found[b.name]) for b in benchmarks])
  show(results_)
  said = {f"{name}/{what}": told for name in called for what, told in judged.said(found[name]).items()}
  return contracts.EvalResult(results_, []).figures | said, found


def _write_costs(
  benchmarks: Sequence[protocol.Benchmark],
  found: Mapping[str, contracts.EvalResult],
  where: Mapping[str, str],
  timed: costs.Timed | None,
) -> None:
  """Writes what answers cost into the folders of their benchmarks."""
  generates = {b.name: b.ask.generates for b in benchmarks}
  each = costs.shared({name: result.rows for name, result in found.items()}, generates, timed)
  for folder in dict.fromkeys(where[name] for name in each):
    costs.write(folder, {name: one for name, one in each.items() if where[name] == folder})


def _with_rows(result: contracts.EvalResult, out: str, name: str) -> contracts.EvalResult:
  """A result with its rows, which those that stood there already left on disk."""
  if result.rows:
    return result
  with files.opened(os.path.join(out, f"{name}.jsonl")) as f:
    return result._replace(rows=[json.loads(line) for line in f])


def stored(
  suite: suite_lib.Suite, responses: str, after: After | None = None, mark: Mark | None = None, out: str = ""
) -> dict[str, Any]:
  """Scores the answers in files (`FILE`, or `NAME=FILE,…`); returns the figures, of one benchmark by bare names and
  in percent. after, mark: as for `run`. out: a folder for figures and rows.

  Raises InputError for a benchmark that generates nothing, and for files and names that do not fit together.
  """
  benchmarks = suite.benchmarks()
  for benchmark in benchmarks:
    if not benchmark.ask.generates:
      raise errors.InputError(f"{benchmark.name} asks for no answers that could be stored: it needs a model")
  where = _files(responses, [benchmark.name for benchmark in benchmarks])
  figures: dict[str, Any] = {}
  shown: list[contracts.Result] = []
  found: list[tuple[protocol.Benchmark, contracts.EvalResult]] = []
  for benchmark in benchmarks:
    responder = stored_lib.Stored(where[benchmark.name])
    result = suite_lib.run([benchmark], responder)[benchmark.name]
    result = result if mark is None else mark(benchmark, result)
    if out and log.is_lead():
      results.write_into(out, benchmark.name, result)
    shown += result.results
    found.append((benchmark, result))
    if said := responder.said():
      log.info(said)
    prefix = "" if len(benchmarks) == 1 else f"{benchmark.name}/"
    scale = 100 if benchmark.percent else 1
    figures |= {f"{prefix}{one.metric}": scale * one.value for one in result.results if not one.tag}
    answered = len(result.rows) - len(responder.missing)
    counts = {"n": answered, "of": benchmark.total or len(result.rows), "missing": len(responder.missing)}
    counts |= {"unmatched": len(responder.unmatched), **judged.said(result)}
    figures |= {f"{prefix}{name}": count for name, count in counts.items()}
  if after is not None:
    after(found)
  show(shown)
  return figures


def show(figures: Sequence[contracts.Result]) -> None:
  """Prints figures with their intervals and of how many items they are; by tags the first metric of each benchmark."""
  shown = rich.table.Table("figure", "value", "95 % interval", "items")
  shown.columns[0].overflow = "fold"
  first: dict[str, str] = {}
  for one in figures:
    if one.benchmark not in first:
      first[one.benchmark] = one.metric
      shown.add_row(f"{one.benchmark} (by tag: {one.metric})" if _has_tags(figures, one.benchmark) else one.benchmark)
    if one.tag and one.metric != first[one.benchmark]:
      continue
    interval = "" if one.low is None or one.high is None else f"{one.low:.4f} to {one.high:.4f}"
    items = f"{one.n}" if one.n == one.of else f"{one.n} of {one.of}"
    shown.add_row(f"  {one.tag or one.metric}", f"{one.value:.4f}", interval, items)
  console.show(shown)


def _has_tags(figures: Sequence[contracts.Result], benchmark: str) -> bool:
  return any(one.tag for one in figures if one.benchmark == benchmark)


def _files(responses: str, names: Sequence[str]) -> dict[str, str]:
  parts = dict(part.split("=", 1) for part in responses.split(",") if "=" in part)
  if len(names) == 1 and not parts:
    return {names[0]: responses}
  if set(parts) != set(names):
    raise errors.InputError(f"--responses of several benchmarks is {','.join(f'{name}=FILE' for name in names)}")
  return parts


def _identity(suite: suite_lib.Suite, name: str, who: Mapping[str, Any]) -> dict[str, Any]:
  """What a figure hangs on, and a digest of it all."""
  benchmark, settings = registry.find(name), suite.settings.get(name, suite.common)
  folder = benchmark.folder(official.roots(suite.data))
  what = {
    "benchmark": name,
    "version": benchmark.version,
    "settings": settings.identity,
    "data": folder.digest(benchmark.files),
    "decode": dataclasses.asdict(suite.decode),
    **who,
  }
  return _keyed(what)


def _keyed(what: Mapping[str, Any]) -> dict[str, Any]:
  """With a digest of it all as its key."""
  plain = json.loads(json.dumps({name: value for name, value in what.items() if name != "key"}, default=str))
  return {"key": hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16], **plain}


def _earlier(out: str, name: str, identity: Mapping[str, Any]) -> dict[str, contracts.EvalResult]:
  """A benchmark's result that stands there already."""
  path = os.path.join(out, f"{name}.key")
  if not files.exists(path):
    return {}
  there = files.read_object(path)
  if there.get("key") != identity["key"]:
    differ = [key for key in identity if there.get(key) != identity[key] and key != "key"]
    raise errors.InputError(
      f"{out} holds {name} of other {', '.join(differ)}: give --overwrite to replace it, or another folder"
    )
  figures = [contracts.Result(**one) for one in files.read_json(os.path.join(out, f"{name}.json"))]
  return {name: contracts.EvalResult(figures, [])}
