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
from itune_jax.select import ngrams
from itune_jax.select import row_texts
from itune_jax.select import select_protocol
from itune_jax.select import stages

BLOCK = 1000  # rows that are looked up at once
EVERYTHING = "all"


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
  common: int = 10
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


class Index:
  """The n-grams of benchmarks by hash. `said` is what the manifest says of each benchmark."""

  def __init__(self, size: int, gold_size: int, whole: int, common: int):
    self._sizes, self._whole, self._common = {"prompt": size, "gold": gold_size}, whole, common
    self._grams: dict[int, dict[int, list[Gram]]] = {}
    self._sorted: dict[int, np.ndarray] = {}
    self._words: set[str] = set()
    self.said: dict[str, dict[str, int]] = {}

  def add(self, name: str, items: Iterable[select_protocol.Held]) -> None:
    """Takes the items of a benchmark. Raises InputError when it has none."""
    grams: dict[tuple[str, ...], list[Gram]] = collections.defaultdict(list)
    count = short = 0
    for item in items:
      count += 1
      for part, text in (("prompt", item.prompt), ("gold", item.gold)):
        found = self._of(row_texts.words(text), self._sizes[part])
        short += bool(text) and not found
        for words in found:
          grams[words].append(Gram(f"{name}/{item.id}", part, words))
    check.require(count, f"Decontaminate: {name} has no items")
    common = 0
    for words, owners in grams.items():
      if self._common and len({one.item for one in owners}) > self._common:
        common += 1
        continue
      (hash_,) = ngrams.hashed(words, len(words)).tolist()
      self._grams.setdefault(len(words), {}).setdefault(hash_, []).extend(owners)
      self._words.update(words)
    self._sorted = {n: np.sort(np.fromiter(known, np.uint64)) for n, known in self._grams.items()}
    said = {"items": count, "ngrams": len(grams) - common, "too_short": short, "template_ngrams": common}
    self.said[name] = said

  def _of(self, words: Sequence[str], size: int) -> set[tuple[str, ...]]:
    if len(words) < size:
      return {tuple(words)} if len(words) >= min(self._whole, size) else set()
    return set(zip(*(words[i:] for i in range(size)), strict=False))

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
    for n, table in self._sorted.items():
      if len(words) < n:
        continue
      whole = np.flatnonzero(through[n:] - through[:-n] == n)  # windows of words that items have, and none else
      window = ngrams.windows(hashes, n)[whole]
      place = np.minimum(np.searchsorted(table, window), len(table) - 1)
      for start, key in zip(
        whole[table[place] == window].tolist(), window[table[place] == window].tolist(), strict=True
      ):
        given = tuple(words[start : start + n])
        owners = [one for one in self._grams[n][key] if one.words == given]
        hits[int(np.searchsorted(ends, start, "right"))] += owners
    return hits


@dataclasses.dataclass(frozen=True)
class _Opened(select_protocol.Step):
  """A step that knows its items."""

  step: Decontaminate
  index: Index

  def apply(
    self, rows: Iterable[select_protocol.Row], notes: select_protocol.Notes
  ) -> Iterator[select_protocol.Outcome]:
    """Row by row, a block at a time."""
    report: dict[str, dict] = {name: {**said, "rows": 0, "hit": {}} for name, said in self.index.said.items()}
    notes["benchmarks"] = report
    number, stream = 0, iter(rows)
    while block := list(itertools.islice(stream, BLOCK)):
      texts, owner = [], []
      for i, row in enumerate(block):
        for text in row_texts.each(row, self.step.fields):
          texts.append(row_texts.words(text))
          owner.append(i)
      hits: list[list[Gram]] = [[] for _ in block]
      for i, found in zip(owner, self.index.found(texts) if texts else (), strict=True):
        hits[i] += found
      for i, row in enumerate(block):
        yield self._outcome(row, stages.At(number + i), hits[i], report)
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
      marked = {**row, "contaminated": sorted({*row.get("contaminated", ()), *items})}
      return select_protocol.Outcome(marked, marks=tuple(f"contaminated: {name}" for name in names))
    return select_protocol.dropped(f"contaminated: {', '.join(names)}")

  def _name(self, item: str) -> str:
    """The benchmark of an item, whose name may be a path."""
    return max((name for name in self.index.said if item.startswith(f"{name}/")), key=len)
