"""Rows that hold items of a benchmark, found by n-grams of words in an index in this process; no server is asked.

13-grams are what GPT-3 (Brown et al. 2020, appendix C) and lm-eval's decontamination compare; the right answers, which
are shorter, by 8-grams. A hash only names a candidate: the words themselves decide.
"""

import collections
from collections.abc import Iterable, Iterator, Sequence
import dataclasses
import itertools
import os
from typing import Literal, NamedTuple

import numpy as np

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.core import ranges
from itune_jax.select import ngrams
from itune_jax.select import row_texts
from itune_jax.select import select_protocol
from itune_jax.select import stages

BLOCK = 1000  # rows that are looked up at once
EVERYTHING = "all"
FRAMED = 20  # items from which on words that all of them begin with are taken for a frame


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decontaminate(select_protocol.Step):
  """Drops, marks or refuses rows that share an n-gram with an item of a benchmark.

  against: names of registered benchmarks, "all" for those whose data is here, or files. size: words of an n-gram of
  what an item asks; gold_size: of what is right there. whole: an item of fewer words than that is looked for as a
  whole, if it has as many as this; one that is shorter still is not, and is counted. common: n-grams of more items of
  one benchmark than this are its template ("Choose the right answer …"), and are not looked for; 0 for no limit.
  fields: the texts of a row that are read, all of them without any. action: what becomes of such a row; "mark" names
  the items in its `contaminated`.
  """

  against: tuple[str, ...] = (EVERYTHING,)
  size: int = 13
  gold_size: int = 8
  whole: int = 8
  common: ranges.PositiveInt = 10
  fields: tuple[str, ...] = ()
  action: Literal["drop", "mark", "refuse"] = "drop"

  def __post_init__(self):
    check.check_types(self)
    check.require(self.against, "Decontaminate.against names no benchmark and no file")
    sizes = (self.size, self.gold_size, self.whole)
    check.require(min(sizes) >= 1, f"Decontaminate: size, gold_size and whole are 1 or more, not {sizes}")

  def files(self) -> tuple[str, ...]:
    """Those that are named."""
    return tuple(name for name in self.against if os.path.exists(name))

  def opened(self, outside: select_protocol.Outside) -> select_protocol.Step:
    """With the index of all items."""
    names = [name for one in self.against for name in (outside.benchmarks() if one == EVERYTHING else [one])]
    index = Index(self.size, self.gold_size, self.whole, self.common)
    for name in dict.fromkeys(names):
      index.add(name, outside.items(name))
    return _Opened(self, index)

  def apply(
    self, rows: Iterable[select_protocol.Row], notes: select_protocol.Notes
  ) -> Iterator[select_protocol.Outcome]:
    """Only what was opened knows the items."""
    del rows, notes
    raise errors.InputError("Decontaminate: open it first, so that it knows the items of its benchmarks")


class Gram(NamedTuple):
  """An n-gram of an item: of which one, in which part, and its words."""

  item: str
  part: str
  words: tuple[str, ...]


class _Part(NamedTuple):
  """What an item asks, or what is right there, as words."""

  item: str
  part: str
  words: list[str]


class _Table(NamedTuple):
  """The n-grams of one length, by hash: the part of an item that each stands in, and where."""

  keys: np.ndarray
  parts: np.ndarray
  starts: np.ndarray


class Index:
  """The n-grams of benchmarks by hash, as sorted arrays. `said` is what the manifest says of each benchmark."""

  def __init__(self, size: int, gold_size: int, whole: int, common: int):
    self._sizes, self._whole, self._common = {"prompt": size, "gold": gold_size}, whole, common
    self._parts: list[_Part] = []
    self._tables: dict[int, _Table] = {}
    self._words: set[str] = set()
    self.said: dict[str, dict[str, int]] = {}

  def add(self, name: str, items: Iterable[select_protocol.Held]) -> None:
    """Takes the items of a benchmark. Raises InputError when it has none."""
    parts = {part: [] for part in self._sizes}
    for item in items:
      for part, text in (("prompt", item.prompt), ("gold", item.gold)):
        parts[part].append(_Part(f"{name}/{item.id}", part, row_texts.words(text)))
    count = len(parts["prompt"])
    check.require(count, f"Decontaminate: {name} has no items")
    found: dict[int, list[tuple[np.ndarray, int]]] = collections.defaultdict(list)
    short = 0
    for given in (_unframed(parts["prompt"]), parts["gold"]):
      for one in given:
        n = min(self._sizes[one.part], len(one.words))
        if n < min(self._whole, self._sizes[one.part]):
          short += bool(one.words)
          continue
        found[n].append((ngrams.hashed(one.words, n), len(self._parts)))
        self._parts.append(one)
        self._words.update(one.words)
    said = {"items": count, "ngrams": 0, "too_short": short, "template_ngrams": 0}
    for n, each in found.items():
      table, template = self._table(each)
      said["ngrams"] += len(np.unique(table.keys))
      said["template_ngrams"] += template
      known = self._tables.get(n)
      self._tables[n] = _sorted(
        table if known is None else _Table(*map(np.concatenate, zip(known, table, strict=True)))
      )
    self.said[name] = said

  def _table(self, grams: Sequence[tuple[np.ndarray, int]]) -> tuple[_Table, int]:
    """The n-grams of a benchmark, without those of its template; and how many those were."""
    keys = np.concatenate([hashes for hashes, _ in grams])
    parts = np.concatenate([np.full(len(hashes), part, np.int32) for hashes, part in grams])
    starts = np.concatenate([np.arange(len(hashes), dtype=np.int32) for hashes, _ in grams])
    once = np.lexsort((parts, keys))
    again = (np.diff(keys[once]) == 0) & (np.diff(parts[once]) == 0)
    once = once[np.concatenate([np.ones(1, bool), ~again])]
    _, back, counts = np.unique(keys[once], return_inverse=True, return_counts=True)
    fine = counts[back] <= (self._common or len(grams))
    once = once[fine]
    return _Table(keys[once], parts[once], starts[once]), int((counts > (self._common or len(grams))).sum())

  def found(self, texts: Sequence[list[str]]) -> list[list[Gram]]:
    """For each text, as words, the n-grams of items that stand in it."""
    hits: list[list[Gram]] = [[] for _ in texts]
    words = [word for text in texts for word in (*text, "")]  # "" stands between two texts, and in no n-gram
    known = np.asarray([word in self._words for word in words])
    hashes = np.zeros(len(words), np.uint64)
    at = np.flatnonzero(known)
    hashes[at] = [ngrams.of_word(words[i]) for i in at.tolist()]
    ends = np.cumsum([len(text) + 1 for text in texts])
    through = np.concatenate([np.zeros(1, np.int64), np.cumsum(known)])
    for n, table in self._tables.items():
      if len(words) < n:
        continue
      whole = np.flatnonzero(through[n:] - through[:-n] == n)  # windows of words that items have, and none else
      window = ngrams.windows(hashes, n)[whole]
      low, high = np.searchsorted(table.keys, window, "left"), np.searchsorted(table.keys, window, "right")
      hit = np.flatnonzero(high > low)
      for start, a, b in zip(whole[hit].tolist(), low[hit].tolist(), high[hit].tolist(), strict=True):
        given = words[start : start + n]
        for part, place in zip(table.parts[a:b].tolist(), table.starts[a:b].tolist(), strict=True):
          one = self._parts[part]
          if one.words[place : place + n] == given:
            hits[int(np.searchsorted(ends, start, "right"))].append(Gram(one.item, one.part, tuple(given)))
    return hits

  @property
  def items(self) -> frozenset[str]:
    """Those of which something is looked for, as BENCHMARK/ID: others have too few words, or a template's alone."""
    found = [np.unique(table.parts) for table in self._tables.values()]
    return frozenset(self._parts[part].item for parts in found for part in parts.tolist())

  def grams(self) -> Iterator[Gram]:
    """All n-grams that are looked for."""
    for n, table in self._tables.items():
      for part, place in zip(table.parts.tolist(), table.starts.tolist(), strict=True):
        one = self._parts[part]
        yield Gram(one.item, one.part, tuple(one.words[place : place + n]))


def _sorted(table: _Table) -> _Table:
  order = np.argsort(table.keys, kind="stable")
  return _Table(*(one[order] for one in table))


def _unframed(parts: Sequence[_Part]) -> list[_Part]:
  """Prompts without the words that all of them begin and end with ("Q: … A:"): a row has what is asked without them."""
  if len(parts) < FRAMED:
    return list(parts)
  least = min(len(one.words) for one in parts)
  same = lambda at: len({one.words[at] for one in parts}) == 1
  first = next((i for i in range(least) if not same(i)), least)
  last = next((i for i in range(least - first) if not same(-1 - i)), least - first)
  return [one._replace(words=one.words[first : len(one.words) - last]) for one in parts]


@dataclasses.dataclass(frozen=True)
class _Opened(select_protocol.Step):
  """A step that knows its items. begins: the number of the first row."""

  apart = True

  step: Decontaminate
  index: Index
  begins: int = 0

  def beginning(self, row: int) -> select_protocol.Step:
    """The same for later rows."""
    return dataclasses.replace(self, begins=row)

  def noted(self, parts: Sequence[select_protocol.Notes]) -> select_protocol.Notes:
    """The reports of all rows."""
    report: dict[str, dict] = {name: {**said, "rows": 0, "hit": {}} for name, said in self.index.said.items()}
    for name, one in ((name, one) for part in parts for name, one in part["benchmarks"].items()):
      report[name]["rows"] += one["rows"]
      for item, hit in one["hit"].items():
        known = report[name]["hit"].setdefault(item, {"parts": [], "rows": []})
        known["parts"] = sorted({*known["parts"], *hit["parts"]})
        known["rows"] += hit["rows"]
    return {"benchmarks": report}

  def apply(
    self, rows: Iterable[select_protocol.Row], notes: select_protocol.Notes
  ) -> Iterator[select_protocol.Outcome]:
    """Row by row, a block at a time."""
    report: dict[str, dict] = {name: {**said, "rows": 0, "hit": {}} for name, said in self.index.said.items()}
    notes["benchmarks"] = report
    number, stream = self.begins, iter(rows)
    while block := list(itertools.islice(stream, BLOCK)):
      texts, owner = [], []
      for i, row in enumerate(block):
        for text in row_texts.each(row, self.step.fields):
          texts.append(row_texts.words(text))
          owner.append(i)
      hits: list[list[Gram]] = [[] for _ in block]
      read = set(owner)
      for i, found in zip(owner, self.index.found(texts) if texts else (), strict=True):
        hits[i] += found
      for i, row in enumerate(block):
        outcome = self._outcome(row, stages.At(number + i), hits[i], report)
        yield outcome if i in read else outcome._replace(marks=("no text that is looked at",))
      number += len(block)

  def _outcome(
    self, row: select_protocol.Row, at: stages.At, hits: list[Gram], report: dict
  ) -> select_protocol.Outcome:
    if not hits:
      return select_protocol.Outcome(row)
    items = sorted({one.item for one in hits})
    if self.step.action == "refuse":
      first = hits[0]
      raise errors.InputError(
        f"Decontaminate: row {at + 1} of those that came so far holds {first.item} ({first.part}: "
        f"{' '.join(first.words)!r})"
      )
    names = sorted({item.partition("/")[0] if item.partition("/")[0] in report else self._name(item) for item in items})
    for name in names:
      report[name]["rows"] += 1
    for item in items:
      parts = sorted({one.part for one in hits if one.item == item})
      hit = report[self._name(item)]["hit"].setdefault(item, {"parts": parts, "rows": []})
      hit["parts"] = sorted({*hit["parts"], *parts})
      hit["rows"].append(at)
    if self.step.action == "mark":
      marked = {**row, "contaminated": sorted({*_known(row, at), *items})}
      return select_protocol.Outcome(marked, marks=tuple(f"contaminated: {name}" for name in names))
    return select_protocol.dropped(f"contaminated: {', '.join(names)}")

  def _name(self, item: str) -> str:
    """The benchmark of an item, whose name may be a path."""
    return max((name for name in self.index.said if item.startswith(f"{name}/")), key=len)


def _known(row: select_protocol.Row, at: int) -> list[str]:
  """The items that an earlier pass marked a row with."""
  known = row.get("contaminated")
  known = [] if known is None else known
  names = isinstance(known, list) and all(isinstance(one, str) for one in known)
  check.require(
    names,
    f"Decontaminate: row {at + 1} of those that came so far has a column `contaminated` that is no list of names "
    f"({jsontext.shown(known)}): give it another name",
  )
  return known
