"""`itune eval --contamination`: which items of benchmarks stand in training data, and figures with and without them.

An item is contaminated when the data holds one of its n-grams of words: 13 words of what it asks, 8 of what is right
there (`select/decontaminate.py`, after Brown et al. 2020). One that has too few words for that is not looked for: it is
neither contaminated nor clean.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import dataclasses
import itertools
import os
from typing import Any

import rich.table

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import log
from itune_jax.data import example as example_lib
from itune_jax.data import mixture as mixture_lib
from itune_jax.data import opening
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.evals import suite as suite_lib
from itune_jax.evals.benchmarks import registry
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.run import console
from itune_jax.run import outside
from itune_jax.run import specs
from itune_jax.run import suites
from itune_jax.run import user_code
from itune_jax.run.comparison import evaluated
from itune_jax.select import decontaminate
from itune_jax.select import row_texts

TAG, SHARE = evaluated.CONTAMINATED, evaluated.SHARE
YES, NO, UNKNOWN = "yes", "no", "not_looked_for"
_BLOCK = 1000  # rows of the data that are looked up at once
_NAMED = 3  # rows of the data that are named for an item


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overlap:
  """What of an item stands in the data.

  parts: "prompt", "gold". ngrams: how many different ones of the item. rows: of the data that hold one. named: the
  first of them.
  """

  parts: tuple[str, ...]
  ngrams: int
  rows: int
  named: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
  """Training data, and what of a suite's items stands in it.

  data: as it was named. sources: name, digest and rows of each, and how many of these were no examples. looked_for: of
  each benchmark the ids of the items of which something was looked for. overlaps: by benchmark and id.
  """

  data: str
  sources: tuple[Mapping[str, Any], ...]
  looked_for: Mapping[str, frozenset[str]]
  overlaps: Mapping[str, Mapping[str, Overlap]]

  def mark(self, benchmark: protocol.Benchmark, result: contracts.EvalResult) -> contracts.EvalResult:
    """The result of a benchmark with a tag on each row, each figure by that tag, and the share of contaminated items,
    which is of the items that were looked for."""
    rows = [self._row(benchmark.name, row) for row in result.rows]
    if TAG not in benchmark.tags:
      benchmark = dataclasses.replace(benchmark, tags=(*benchmark.tags, TAG))
    value = {YES: 1.0, NO: 0.0, UNKNOWN: None}
    share = metrics_lib.Mean("lower")([value[row["tags"][TAG]] for row in rows], [row["cluster"] for row in rows])
    figure = contracts.Result(benchmark.name, SHARE, share.value, "", share.low, share.high, share.n, len(rows))
    return contracts.EvalResult([*suite_lib.figures(benchmark, rows), figure], rows)

  def _row(self, name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    overlap = self.overlaps.get(name, {}).get(row["id"])
    state = YES if overlap else NO if row["id"] in self.looked_for.get(name, ()) else UNKNOWN
    marked = {key: value for key, value in row.items() if key != "overlap"}
    marked["tags"] = {**row["tags"], TAG: state}
    return marked | ({"overlap": dataclasses.asdict(overlap)} if overlap else {})

  def write(self, folder: str) -> None:
    """Says in a folder of figures what they were held against."""
    hits = {
      name: {id: dataclasses.asdict(one) for id, one in own.items()} for name, own in self.overlaps.items() if own
    }
    looked = {name: len(ids) for name, ids in self.looked_for.items()}
    told = {"data": self.data, "sources": list(self.sources), "looked_for": looked, "overlaps": hits}
    files.write_json(os.path.join(folder, evaluated.HELD_FILE), told)


def of(suite: suite_lib.Suite, data: str) -> Data:
  """Reads the data once and looks for every item of a suite's benchmarks, whichever of them are asked.

  data: a file, folder or glob, or several, as `--data` has it; or a run directory, for what it was trained on. Raises
  InputError where it cannot be read.
  """
  index, ids = _index(suite)
  mixture = opening.read(_mixture(data), specs.cache_dir(), user_code.files())
  hits: dict[str, list[tuple[str, decontaminate.Gram]]] = {}
  sources = []
  with console.Bars("rows") as bars:
    bar = bars.add("contamination")
    for source in mixture.sources:
      reader = _Reader(source)
      for block in _blocks(reader.texts(), _BLOCK):
        found = index.found([row_texts.words(text) for _, text in block])
        for (where, _), grams in zip(block, found, strict=True):
          for gram in grams:
            hits.setdefault(gram.item, []).append((where, gram))
        bar.advance(len(block))
      check.require(reader.rows > reader.bad, f"--contamination={data}: {source.name} has no row that can be read")
      sources.append({"name": source.name, "digest": source.digest(), "rows": reader.rows, "unread": reader.bad})
      if reader.bad:
        log.info(f"--contamination: {reader.bad} of {reader.rows} rows of {source.name} are not read: {reader.why}")
    bar.finish()
  searched = index.items
  return Data(
    data=data,
    sources=tuple(sources),
    looked_for={name: frozenset(id for id in own if f"{name}/{id}" in searched) for name, own in ids.items()},
    overlaps={
      name: {id: _overlap(hits[f"{name}/{id}"]) for id in own if f"{name}/{id}" in hits} for name, own in ids.items()
    },
  )


def _mixture(data: str) -> mixture_lib.Mixture:
  """The sources of a text. Of a run these are whole files: rows that it left out of them are looked at too."""
  trained = os.path.join(data, "data.json")
  if not files.exists(trained):
    return mixture_lib.Mixture(name="contamination", sources=(mixture_lib.Source(name="data", path=data),))
  told = files.read_object(trained)["sources"]
  without = [one["name"] for one in told if not one.get("path")]
  check.require(told and not without, f"--contamination={data}: the run does not say where its data lay")
  sources = tuple(mixture_lib.Source(name=one["name"], path=one["path"]) for one in told)
  return mixture_lib.Mixture(name="contamination", sources=sources)


def _overlap(found: Sequence[tuple[str, decontaminate.Gram]]) -> Overlap:
  rows = list(dict.fromkeys(where for where, _ in found))
  return Overlap(
    parts=tuple(sorted({gram.part for _, gram in found})),
    ngrams=len({(gram.part, gram.words) for _, gram in found}),
    rows=len(rows),
    named=tuple(rows[:_NAMED]),
  )


def _index(suite: suite_lib.Suite) -> tuple[decontaminate.Index, dict[str, list[str]]]:
  """The n-grams of all items, and their ids: a limit chooses among them later, and says nothing of what is a template
  of the benchmark."""
  own = decontaminate.Decontaminate()
  index = decontaminate.Index(own.size, own.gold_size, own.whole, own.common)
  ids: dict[str, list[str]] = {}
  for name in suite.names:
    settings = dataclasses.replace(suite.settings.get(name, suite.common), limit=0, limit_each=0)
    benchmark = registry.find(name).benchmark(official.roots(suite.data), settings)
    held = [outside.held(item) for item in benchmark.items()]
    index.add(benchmark.name, held)
    ids[benchmark.name] = [one.id for one in held]
  return index, ids


class _Reader:
  """The texts of a source's rows, each with where it stands; rows that are no examples are counted."""

  def __init__(self, source: mixture_lib.Source):
    self._source, self.rows, self.bad, self.why = source, 0, 0, ""

  def texts(self) -> Iterator[tuple[str, str]]:
    """(file:line, text) of whatever somebody reads in a conversation, those of rejected answers among them."""
    for row in self._source.rows():
      self.rows += 1
      if row.example is None:
        self.bad, self.why = self.bad + 1, self.why or f"{row.file}:{row.line}: {row.problem}"
        continue
      for text in _texts(row.example):
        yield f"{row.file}:{row.line}", text


def _texts(example: example_lib.Example) -> Iterator[str]:
  for conversation in (example.messages, example.rejected, *example.others):
    for message in conversation:
      if text := row_texts.plain(message):
        yield text


def _blocks(given: Iterable[Any], size: int) -> Iterator[list[Any]]:
  stream = iter(given)
  while block := list(itertools.islice(stream, size)):
    yield block


class Holding:
  """Holds the results of a suite against training data, if some is given, and tells what was found at the end."""

  def __init__(self, data: Data | None, out: str):
    self._data, self._out = data, out
    self._found: list[contracts.Result] = []

  @property
  def mark(self) -> suites.Mark | None:
    """What marks a benchmark's results; None without data."""
    return None if self._data is None else self._mark

  def _mark(self, benchmark: protocol.Benchmark, result: contracts.EvalResult) -> contracts.EvalResult:
    assert self._data is not None
    marked = self._data.mark(benchmark, result)
    self._found += marked.results
    return marked

  def tell(self) -> None:
    """Prints the shares and the figures with and without contaminated items, and writes what was held against."""
    if self._data is not None:
      show(self._found)
      if self._out and log.is_lead():
        self._data.write(self._out)


def show(results: Iterable[contracts.Result]) -> None:
  """Prints the share of each benchmark, and its figures over all, clean and contaminated items."""
  shown = rich.table.Table("figure", "contaminated", "all", "without them", "they alone", title="contamination")
  by_name: dict[str, list[contracts.Result]] = {}
  for one in results:
    by_name.setdefault(one.benchmark, []).append(one)
  for name, own in by_name.items():
    known = {(one.metric, one.tag): one for one in own}
    share = known.get((SHARE, ""))
    if share is None:
      raise errors.InputError(f"{name}: was not held against training data")
    shown.add_row(name, f"{_cell(share)} of {share.n} items")
    for metric in dict.fromkeys(one.metric for one in own if not one.tag and one.metric != SHARE):
      cells = [_cell(known.get((metric, tag))) for tag in ("", f"{TAG}={NO}", f"{TAG}={YES}")]
      shown.add_row(f"  {metric}", "", *cells)
  console.show(shown)


def _cell(one: contracts.Result | None) -> str:
  if one is None:
    return "–"
  bounds = "" if one.low is None or one.high is None else f" [{one.low:.4f}, {one.high:.4f}]"
  return f"{one.value:.4f}{bounds}"
