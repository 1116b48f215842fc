"""What a run has booked so far: its rows, its dropped candidates, a line an item; and how it is found again."""

import collections
from collections.abc import Mapping, Sequence
import json
import os
from typing import Any, NamedTuple

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import jsontext
from itune_jax.core import log
from itune_jax.parallel import hosts
from itune_jax.sampling import requests as requests_lib

Row = dict[str, Any]
_FILES = ("rows.jsonl", "dropped.jsonl", "journal.jsonl")


class Cost(NamedTuple):
  """Requests, the tokens of their prompts and answers, and requests of which nobody said how many those are."""

  requests: int = 0
  prompt: int = 0
  answer: int = 0
  untold: int = 0

  def plus(self, responses: Sequence[requests_lib.Response]) -> "Cost":
    """With some responses."""
    told = [response.usage for response in responses if response.usage is not None]
    return Cost(
      self.requests + len(responses),
      self.prompt + sum(usage.prompt for usage in told),
      self.answer + sum(usage.answer for usage in told),
      self.untold + len(responses) - len(told),
    )


NO_COST = Cost()


class Ledger:
  """The files of a run in a folder and what they hold; entered, it may be written to. The lead process writes."""

  def __init__(self, folder: str, lines: Sequence[Mapping[str, Any]], rows: Sequence[Row]):
    self._paths = [os.path.join(folder, name) for name in _FILES]
    self._open: list[Any] = []
    self.folder = folder
    self.rows: list[Row] = list(rows)
    self.dropped: collections.Counter[str] = collections.Counter()
    self.cost = NO_COST
    self.next, self.taken = 0, 0
    for line in lines:
      self._count(line)

  @property
  def candidates(self) -> int:
    """All that were looked at."""
    return len(self.rows) + self.dropped.total()

  @property
  def tokens(self) -> int:
    """Of prompts and answers. Raises RunError where a responder does not say, since no budget could be kept."""
    if self.cost.untold:
      raise errors.RunError("the responder does not say what answers cost (`usage`): bound accepted rows or candidates")
    return self.cost.prompt + self.cost.answer

  def before(self, item: int) -> list[Row]:
    """The rows of earlier items."""
    return [row for row in self.rows if row["source"]["item"] < item]

  def __enter__(self) -> "Ledger":
    if log.is_lead():
      self._open = [open(path, "a", encoding="utf-8") for path in self._paths]  # noqa: SIM115  # closed in __exit__
    return self

  def __exit__(self, *raised: object) -> None:
    for f in self._open:
      f.close()

  def book(
    self, item: int, kept: Sequence[Row], dropped: Sequence[Mapping[str, Any]], taken: int, whole: bool, cost: Cost
  ) -> None:
    """Writes an item: rows and dropped candidates first, then the line that says so.

    taken: how many of its candidates are booked by now; whole: whether that is all of them.
    """
    reasons = collections.Counter(one["reason"] for one in dropped)
    line: dict[str, Any] = {"item": item, "kept": len(kept), "dropped": dict(reasons), "taken": taken, "whole": whole}
    line["cost"] = list(cost)
    self.rows += kept
    self._count(line)
    if not self._open:
      return
    try:
      for f, written in zip(self._open, (kept, dropped), strict=False):
        f.write("".join(jsontext.dumps(row) + "\n" for row in written))
        f.flush()
      line["bytes"] = [f.tell() for f in self._open[:2]]
      self._open[2].write(json.dumps(line) + "\n")
      self._open[2].flush()
    except OSError as e:
      raise errors.RunError(f"{self.folder}: could not be written ({e.strerror or e})") from None

  def _count(self, line: Mapping[str, Any]) -> None:
    self.dropped.update(line["dropped"])
    self.cost = Cost(*(a + b for a, b in zip(self.cost, line["cost"], strict=True)))
    self.next = line["item"] + (1 if line["whole"] else 0)
    self.taken = 0 if line["whole"] else line["taken"]


def opened(folder: str, identity: Mapping[str, Any], resume: str) -> Ledger:
  """The ledger of a folder, new or as it was left; rows that the journal does not know are cut off.

  Raises InputError for a folder that holds something else, a run of another identity, damaged files, or that `resume`
  does not allow.
  """
  lines: list[Any] = []
  rows: list[Any] = []
  if log.is_lead():
    _claim(folder, json.loads(json.dumps(identity)), resume)
    lines, rows = _read(folder)
  lines, rows = json.loads(hosts.text_of_lead(json.dumps([lines, rows])))
  return Ledger(folder, lines, rows)


def _claim(folder: str, identity: dict[str, Any], resume: str) -> None:
  path = os.path.join(folder, "run.json")
  for name in os.listdir(folder):
    if name.startswith(("run.json.", "manifest.json.")) and name.endswith(".partial"):  # a kill left it half-written
      os.remove(os.path.join(folder, name))
  if not files.exists(path):
    check.require(resume != "always", f"{folder} holds no run to go on with, and resume is `always`")
    check.require(not os.listdir(folder), f"{folder} is not empty and holds no run of a generator: give a new folder")
    files.write_json(path, identity)
    return
  before = files.read_object(path)
  check.require(resume != "never", f"{folder} holds a run already, and resume is `never`: give a new folder")
  differ = sorted(k for k in {*before, *identity} if before.get(k) != identity.get(k))
  check.require(
    not differ, f"{folder} holds a run that differs in {', '.join(differ)}: give a new folder, or the same values"
  )


def _read(folder: str) -> tuple[list[Any], list[Any]]:
  paths = [os.path.join(folder, name) for name in _FILES]
  lines, whole = whole_lines(paths[2])
  cut(paths[2], whole)
  damaged = lambda path: errors.InputError(f"{path}: not what {paths[2]} says: the folder is damaged; give a new one")
  try:
    sizes = lines[-1]["bytes"] if lines else [0, 0]
    counts = [sum(line["kept"] for line in lines), sum(sum(line["dropped"].values()) for line in lines)]
  except (KeyError, TypeError, AttributeError):
    raise errors.InputError(f"{paths[2]}: is no journal of a run: the folder is damaged; give a new one") from None
  found = []
  for path, size, count in zip(paths, sizes, counts, strict=False):
    if os.path.exists(path) and os.path.getsize(path) > size:
      cut(path, size)
    rows, whole = whole_lines(path)
    if whole != size or len(rows) != count:
      raise damaged(path)
    found.append(rows)
  return lines, found[0]


def whole_lines(path: str) -> tuple[list[Any], int]:
  """The lines of a file as JSON, up to one that a kill has cut off, and their bytes."""
  found: list[Any] = []
  size = 0
  if os.path.exists(path):
    with open(path, "rb") as f:
      for line in f:
        if not line.endswith(b"\n"):
          break
        try:
          found.append(json.loads(line))
        except ValueError:
          raise errors.InputError(f"{path}: line {len(found) + 1} is not JSON: the folder is damaged") from None
        size += len(line)
  return found, size


def cut(path: str, size: int) -> None:
  """Leaves the first bytes of a file, if it is there."""
  if os.path.exists(path):
    with open(path, "ab") as f:
      f.truncate(size)
