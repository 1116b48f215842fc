"""Windows of a log as control charts, and the rows of it that are worth a person's look."""

import collections
import contextlib
from collections.abc import Callable, Mapping, Sequence
import dataclasses
import datetime
import itertools
import math
import re
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.data import example as example_lib
from itune_jax.data.readers import readers
from itune_jax.grading.safety import refusals
from itune_jax.grading.statistics import control_charts

_WORD = re.compile(r"\w+")


@dataclasses.dataclass(frozen=True)
class Entry:
  """A row of a log. order: by which rows follow one another. score: a judge's, None without."""

  example: example_lib.Example
  order: float
  score: float | None

  @property
  def prompt(self) -> str:
    """What the last turn of a person says."""
    return next((_text(m) for m in reversed(self.example.messages) if m["role"] == "user"), "")

  @property
  def answer(self) -> str:
    """What the model said last."""
    return next((_text(m) for m in reversed(self.example.messages) if m["role"] == "assistant"), "")


@dataclasses.dataclass(frozen=True)
class Found:
  """What a log holds. dropped: rows that are none, by reason. odd: rows worth labelling, with why, the oddest first."""

  charts: tuple[control_charts.Chart, ...]
  starts: tuple[int, ...]
  rows: int
  dropped: Mapping[str, int]
  odd: tuple[tuple[Entry, str], ...]


def read(path: str, time: str, score: str) -> tuple[list[Entry], dict[str, int]]:
  """The rows of a log by time, or in its order without a column `time`, and what was left out.

  Raises InputError where nothing can be read, and for a time or score that is none.
  """
  scores = _column(path, score) if score else {}
  kept, dropped = [], collections.Counter()
  for row in readers.read(path, group=time):
    if row.example is None:
      dropped[row.problem] += 1
    else:
      kept.append((f"{row.file}:{row.line}", row.group, row.example))
  check.require(kept, f"{path}: no row can be read ({'; '.join(dropped) or 'it has none'})")
  orders = _times([(where, group) for where, group, _ in kept], time) if time else map(float, range(len(kept)))
  found = [
    Entry(example, order, _number(given, where, score) if (given := scores.get(where)) not in (None, "") else None)
    for (where, _, example), order in zip(kept, orders, strict=True)
  ]
  check.require(
    not score or any(one.score is not None for one in found), f"{path}: no row has a number in its column `{score}`"
  )
  return sorted(found, key=lambda one: one.order), dict(dropped)


def watch(entries: Sequence[Entry], window: int, baseline: int, label: int) -> list[Any]:
  """(charts, the first row of each window, rows worth labelling). Raises InputError for too few rows.

  window: rows of one. baseline: how many windows are what is expected. label: how many rows at most.
  """
  starts = range(0, len(entries) - window + 1, window)
  parts = [entries[at : at + window] for at in starts]
  check.require(
    len(parts) > baseline >= 1,
    f"{len(entries)} rows make {len(parts)} windows of {window}; more than the {baseline} of the baseline are needed "
    "(--window=N of fewer rows, --baseline=N of fewer windows)",
  )
  charts = _charts(parts, baseline)
  return [charts, tuple(starts), _odd(parts, charts, baseline, label)]


def uncharted(charts: Sequence[control_charts.Chart]) -> list[str]:
  """What a log has no chart of, since its baseline says nothing of it, and why."""
  there = {chart.name for chart in charts}
  return [
    f"{name}: fewer than two rows of the baseline have some, so there is no chart of them"
    for name in _OF_WORDS
    if name not in there
  ]


_OF_WORDS = ("words of prompts", "words of answers")


def _charts(parts: Sequence[Sequence[Entry]], baseline: int) -> tuple[control_charts.Chart, ...]:
  of = lambda function: [[function(one) for one in part] for part in parts]
  size: Callable[[str], float] = lambda text: float(len(_WORD.findall(text)))
  said = dict(zip(_OF_WORDS, (of(lambda one: _words(one.prompt)), of(lambda one: _words(one.answer))), strict=True))
  known = {name: words for name, words in said.items() if sum(map(bool, itertools.chain(*words[:baseline]))) > 1}
  made = [
    *(control_charts.words(name, words, baseline) for name, words in known.items()),
    control_charts.means("words in a prompt", of(lambda one: size(one.prompt)), baseline),
    control_charts.means("words in an answer", of(lambda one: size(one.answer)), baseline),
    control_charts.shares("refusals", of(lambda one: refusals.opens_with_refusal(one.answer)), baseline),
    control_charts.shares("empty answers", of(lambda one: not one.answer.strip()), baseline),
  ]
  scores = [[one.score for one in part if one.score is not None] for part in parts]
  if any(scores[:baseline]):
    made.append(control_charts.means("score", scores, baseline))
  return tuple(made)


def _odd(parts, charts, baseline: int, label: int) -> tuple[tuple[Entry, str], ...]:
  """Rows of windows that stand out, those whose prompts surprise the baseline's words most; equal prompts once."""
  counts = collections.Counter()
  for part in parts[:baseline]:
    for one in part:
      counts.update(_words(one.prompt))
  total, kinds = sum(counts.values()), len(counts) + 1
  told = [sorted({chart.name for chart in charts if chart.points[k].signal}) for k in range(len(parts))]
  ranked, seen = [], set()
  for k, part in enumerate(parts):
    for one in part if told[k] and k >= baseline else ():
      words = _words(one.prompt)
      if one.prompt not in seen and words:
        seen.add(one.prompt)
        nats = -sum(n * math.log((counts[w] + 1) / (total + kinds)) for w, n in words.items()) / sum(words.values())
        ranked.append((nats, one, f"window {k + 1}: {', '.join(told[k])}"))
  ranked.sort(key=lambda found: -found[0])
  return tuple((one, why) for _, one, why in ranked[:label])


def _words(text: str) -> Mapping[str, int]:
  return collections.Counter(word.lower() for word in _WORD.findall(text))


def _text(message: Mapping[str, Any]) -> str:
  content = message.get("content") or ""
  return content if isinstance(content, str) else " ".join(str(part.get("text", "")) for part in content)


def _column(path: str, name: str) -> dict[str, str | None]:
  found = {}
  for row in readers.read(path, group=name):
    found[f"{row.file}:{row.line}"] = row.group
  return found


def _number(value: str | None, where: str, column: str) -> float:
  """A number, or a time in ISO 8601. Raises InputError."""
  with contextlib.suppress(ValueError, TypeError):
    if math.isfinite(number := float(value or "")):
      return number
  raise errors.InputError(f"{where}: {column} is {jsontext.shown(value)}: it must be a number")


def _times(given: Sequence[tuple[str, str | None]], column: str) -> list[float]:
  """When rows were written, as numbers that order them: all are numbers, or all are times in ISO 8601, and all or none
  of these say their zone. given: (where, what stands there). Raises InputError."""
  found: list[tuple[str, float]] = []
  for where, value in given:
    found.append(_time(where, value or "", column))
    if found[-1][0] != found[0][0]:
      raise errors.InputError(
        f"{where}: {column} is {jsontext.shown(value)}, {found[-1][0]}, and {given[0][0]} has {found[0][0]}: rows of "
        "both kinds have no order"
      )
  return [number for _, number in found]


def _time(where: str, value: str, column: str) -> tuple[str, float]:
  with contextlib.suppress(ValueError):
    if math.isfinite(number := float(value)):
      return "a number", number
  try:
    at = datetime.datetime.fromisoformat(value)
  except ValueError:
    said = f"{where}: {column} is {jsontext.shown(value)}: it must be a number, or a time such as 2026-01-31T09:00:00"
    raise errors.InputError(said) from None
  if at.tzinfo is None:
    return "a time without a zone", at.replace(tzinfo=datetime.UTC).timestamp()
  return "a time with its zone", at.timestamp()
