"""The work folder of a selection: each finished pass is a file of rows, so that a killed selection goes on.

claim.json          what the selection is: inputs by digest, values, versions
N.jsonl             the rows behind pass N;   N.npy their numbers in the input;   N.json its counts, written last
score.NAME.f64      numbers of rows that are scored already, in their order
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import collections
import dataclasses
import json
import os
from typing import Any, NamedTuple

import numpy as np

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import jsontext
from itune_jax.core import log
from itune_jax.select import rows_file
from itune_jax.select import select_protocol

Advance = Callable[[int], None]
Begin = Callable[[str, int | None], Advance]  # what is done and of how many rows -> called with rows as they are done
SHOWN = 100  # dropped rows that the manifest names, of each pass
SHOWN_BAD = 1000  # and of those that could not be read, as the manifest of a preparation does
EVERY = 1000  # rows between two words about progress


class At(int):
  """The number of a row in a pass, as notes give it: the manifest says the row of the input that it stands for."""


class Passed(NamedTuple):
  """Rows behind a pass, and the number that each had in the input."""

  rows: rows_file.Rows
  origin: np.ndarray


@dataclasses.dataclass
class Counts:
  """What a pass did."""

  step: str
  given: int = 0
  kept: int = 0
  dropped: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
  marked: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
  shown: list[dict[str, Any]] = dataclasses.field(default_factory=list)
  most: int = SHOWN

  def took(self, number: int, outcome: select_protocol.Outcome) -> None:
    """Books a row by its number in the input."""
    self.given += 1
    self.marked.update(outcome.marks)
    if outcome.row is not None:
      self.kept += 1
      return
    self.dropped[outcome.reason] += 1
    if len(self.shown) < self.most:
      self.shown.append({"row": number, "reason": outcome.reason} | ({"told": outcome.told} if outcome.told else {}))

  def to_json(self, notes: Mapping[str, Any]) -> dict[str, Any]:
    """As the manifest has it."""
    found = {"step": self.step, "given": self.given, "kept": self.kept, "dropped": dict(self.dropped.most_common())}
    found |= {"marked": dict(self.marked.most_common())} if self.marked else {}
    found |= {"dropped_rows": self.shown} if self.shown else {}
    return found | dict(notes)


def grouped(steps: Sequence[select_protocol.Step]) -> list[tuple[select_protocol.Step, ...]]:
  """Steps as passes: neighbours that look at one row at a time go together."""
  found: list[tuple[select_protocol.Step, ...]] = []
  for step in steps:
    alone = isinstance(step, select_protocol.RowStep)
    if alone and found and isinstance(found[-1][-1], select_protocol.RowStep):
      found[-1] = (*found[-1], step)
    else:
      found.append((step,))
  return found


def run_pass(
  folder: str,
  n: int,
  steps: Sequence[select_protocol.Step],
  before: Passed,
  begin: Begin,
  outside: select_protocol.Outside,
  spread: "Spread | None" = None,
) -> tuple[Passed, list[dict[str, Any]]]:
  """The rows behind pass n and its counts, made now or found finished. spread: has the rows looked at elsewhere."""
  if not os.path.exists(_at(folder, n, "json")):
    counts = [Counts(type(step).__name__) for step in steps]
    notes: list[select_protocol.Notes] = [{} for _ in steps]
    advance = begin(", ".join(type(step).__name__ for step in steps), len(before.rows))
    opened, outcomes = [step.opened(outside) for step in steps], None
    if spread is not None and any(step.needs == "model" for step in steps):
      log.info(f"{', '.join(type(step).__name__ for step in steps)}: done in this process: a model is asked")
    elif spread is not None:
      outcomes = spread(os.path.join(folder, f"{n}.spread"), opened, before.rows, notes)
    outcomes = chained(opened, before.rows, notes) if outcomes is None else outcomes
    _write(folder, n, _kept(outcomes, before, counts, advance))
    said = [one.to_json(_placed(note, before.origin)) for one, note in zip(counts, notes, strict=True)]
    files.write_json(_at(folder, n, "json"), said)
  for ending in ("jsonl", "npy"):
    if n and os.path.exists(_at(folder, n - 1, ending)):
      os.remove(_at(folder, n - 1, ending))
  return found(folder, n)


def read(folder: str, outcomes: Iterable[select_protocol.Outcome], begin: Begin) -> tuple[Passed, list[dict[str, Any]]]:
  """Pass 0: the rows of the input."""
  if not os.path.exists(_at(folder, 0, "json")):
    counts, advance = Counts("read", most=SHOWN_BAD), begin("read", None)

    def kept() -> Iterator[tuple[int, select_protocol.Row]]:
      for number, outcome in enumerate(outcomes):
        counts.took(number, outcome)
        if (number + 1) % EVERY == 0:
          advance(EVERY)
        if outcome.row is not None:
          yield number, outcome.row

    _write(folder, 0, kept())
    files.write_json(_at(folder, 0, "json"), [counts.to_json({})])
  return found(folder, 0)


def found(folder: str, n: int) -> tuple[Passed, list[dict[str, Any]]]:
  """What a finished pass left; rows that a later pass took the place of are gone, and are not looked for."""
  said = files.read_json(_at(folder, n, "json"))
  path = _at(folder, n, "jsonl")
  origin = np.load(_at(folder, n, "npy")) if os.path.exists(path) else np.zeros(0, np.int64)
  return Passed(rows_file.Rows(path), origin), said


# Where it may keep what it finds, the steps of a pass, its rows, and what takes their notes: what `chained` gives, or
# None where the steps cannot be done elsewhere.
Spread = Callable[
  [str, Sequence[select_protocol.Step], rows_file.Rows, Sequence[select_protocol.Notes]],
  Iterator[list[select_protocol.Outcome]] | None,
]


def chained(
  steps: Sequence[select_protocol.Step], rows: Iterable[select_protocol.Row], notes: Sequence[select_protocol.Notes]
) -> Iterator[list[select_protocol.Outcome]]:
  """What the steps of a pass make of each row, up to the one that drops it."""
  first, *others = steps
  for outcome in first.apply(rows, notes[0]):
    found = [outcome]
    for step in others:
      if outcome.row is None:
        break
      assert isinstance(step, select_protocol.RowStep)
      outcome = step.outcome(outcome.row)
      found.append(outcome)
    yield found


def _kept(
  outcomes: Iterable[Sequence[select_protocol.Outcome]], before: Passed, counts: Sequence[Counts], advance: Advance
) -> Iterator[tuple[int, select_protocol.Row]]:
  """(number in the input, row) of the rows that come through all steps of a pass."""
  for done, (number, found) in enumerate(zip(before.origin.tolist(), outcomes, strict=True), 1):
    for count, outcome in zip(counts, found, strict=False):
      count.took(number, outcome)
    if done % EVERY == 0:
      advance(EVERY)
    if found[-1].row is not None:
      yield number, found[-1].row


def _write(folder: str, n: int, kept: Iterable[tuple[int, select_protocol.Row]]) -> None:
  """Writes the rows of a pass aside, then to their place."""
  path, origin = _at(folder, n, "jsonl"), []
  try:
    with open(f"{path}.partial", "w", encoding="utf-8") as f:
      for number, row in kept:
        f.write(json.dumps(row, ensure_ascii=False) + "\n")
        origin.append(number)
    np.save(f"{path}.npy", np.asarray(origin, np.int64))
    os.replace(f"{path}.npy", _at(folder, n, "npy"))
    os.replace(f"{path}.partial", path)
  except UnicodeEncodeError as e:
    raise errors.InputError(f"a row holds half of a surrogate pair ({jsontext.said(e)}): clean it first") from None
  except OSError as e:
    raise errors.RunError(f"{path}: could not be written ({e.strerror or e})") from None


def _placed(value: Any, origin: np.ndarray) -> Any:
  """Notes, with numbers of rows in the pass as their numbers in the input."""
  if isinstance(value, At):
    return int(origin[value])
  if isinstance(value, dict):
    return {key: _placed(one, origin) for key, one in value.items()}
  return [_placed(one, origin) for one in value] if isinstance(value, (list, tuple)) else value


def _at(folder: str, n: int, ending: str) -> str:
  return os.path.join(folder, f"{n}.{ending}")
