"""A pass over rows in ranges, each looked at by itself: by any process of any machine that sees the work folder.

Steps that look at one row at a time (`Step.apart`) say of the rows of a range what `stages.chained` says. Steps that
look for duplicates (`Duplicates.looks`) say what is to be known of each row; rows of one name are of one cluster, those
that share a key are compared, and all pairs together are the clusters (`clusters.joined`). So both are the functions of
one process, and what comes out is the same.
"""

import functools
import itertools
import os
import pickle
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from itune_jax.core import files
from itune_jax.core import kept_faults
from itune_jax.core import log
from itune_jax.select import rows_file
from itune_jax.select import select_protocol
from itune_jax.select import stages
from itune_jax.select.duplicates import clusters

RANGE = 8192  # rows that are looked at together
_PARTS = 64  # files of pairs
# What holds something that is open in this process, such as a model of languages, raises one of these.
_UNFIT = (pickle.PicklingError, TypeError, AttributeError)
_STEPS = "steps.pickle"


class Job(NamedTuple):
  """A pass. folder: where what is found is put. rows: the file of rows. ranges: all of it."""

  folder: str
  rows: str
  ranges: tuple[rows_file.Range, ...]


class Runs(NamedTuple):
  """Who does it: has `looked`, or what finds pairs, done for a whole job."""

  apart: Callable[[Job], None]
  duplicates: Callable[[Job], None]


def spread(
  runs: Runs,
  folder: str,
  steps: Sequence[select_protocol.Step],
  rows: rows_file.Rows,
  notes: Sequence[select_protocol.Notes],
  size: int = RANGE,
) -> Iterator[list[select_protocol.Outcome]] | None:
  """What the steps of a pass make of each row (`stages.Spread`); None, and a word, for steps that cannot be spread."""
  (first, *others), names = steps, ", ".join(type(step).__name__ for step in steps)
  apart = all(step.apart for step in steps)
  finds = not others and isinstance(first, clusters.Duplicates) and first.looks(()) is not None
  if not (apart or finds) or not _written(folder, steps):
    log.info(f"{names}: done in this process: rows are looked at in their order, or the step cannot be sent to another")
    return None
  job = Job(folder, rows.path, tuple(rows.ranges(size)))
  if apart:
    return _apart(runs, job, steps, rows, notes)
  assert isinstance(first, clusters.Duplicates)
  return _clustered(runs, job, first, rows, notes[0])


def _written(folder: str, steps: Sequence[select_protocol.Step]) -> bool:
  """Writes the steps where other processes find them; whether it could."""
  files.make_folder(folder)
  try:
    pickle.dumps(tuple(steps))
  except _UNFIT:
    return False
  _put(os.path.join(folder, _STEPS), tuple(steps))
  return True


@functools.lru_cache(maxsize=1)
def _steps(folder: str, changed: int) -> tuple[Any, ...]:
  del changed
  with open(os.path.join(folder, _STEPS), "rb") as f:
    return pickle.load(f)


def steps_of(job: Job) -> tuple[Any, ...]:
  """The steps of a pass; one process reads those of a job once."""
  return _steps(job.folder, os.stat(os.path.join(job.folder, _STEPS)).st_mtime_ns)


# Steps that look at one row at a time.


def looked(job: Job, range_: rows_file.Range) -> int:
  """Looks at the rows of a range, unless that is done; returns how many there are."""
  path = _piece(job, range_)
  if os.path.exists(path):
    return 0
  steps = [step.beginning(range_.first) for step in steps_of(job)]
  notes: list[select_protocol.Notes] = [{} for _ in steps]
  found = []
  with kept_faults.kept(job.folder, range_.number):
    given, seen = itertools.tee(rows_file.read(job.rows, range_))
    for row, outcomes in zip(seen, stages.chained(steps, given, notes), strict=True):
      last = outcomes[-1].row
      # A row that stays as it is need not be written a second time.
      found.append((True if last is row else last, [one[1:] for one in outcomes]))
    _put(path, (found, notes))
  return len(found)


def _apart(
  runs: Runs,
  job: Job,
  steps: Sequence[select_protocol.Step],
  rows: rows_file.Rows,
  notes: Sequence[select_protocol.Notes],
) -> Iterator[list[select_protocol.Outcome]]:
  runs.apart(job)
  kept_faults.raise_first(job.folder)
  said: list[list[select_protocol.Notes]] = []
  given = iter(rows)
  for range_ in job.ranges:
    found, told = _got(_piece(job, range_))
    said.append(told)
    for last, outcomes in found:
      row = next(given)
      row = row if last is True else last
      *before, own = outcomes
      # Rows between two steps are looked at by nobody any more.
      yield [*(select_protocol.Outcome({}, *one) for one in before), select_protocol.Outcome(row, *own)]
  for n, (step, note) in enumerate(zip(steps, notes, strict=True)):
    note |= step.noted([own[n] for own in said])
  shutil.rmtree(job.folder)


# Steps that look for duplicates.

Known = tuple[bytes, tuple[int, tuple[bytes, ...], bytes]]  # the name of a row, and its number, keys and shape
Pair = tuple[int, int]


def known(job: Job, range_: rows_file.Range) -> Iterator[Known]:
  """What is to be known of each row of a range that is like another perhaps; what it is worth is put aside."""
  (step,) = steps_of(job)
  with kept_faults.kept(job.folder, range_.number):
    seen, empty = step.seeing(rows_file.read(job.rows, range_)), 0
    for i, look in enumerate(step.looks(seen.texts()), range_.first):
      empty += not look.same
      if look.same:
        yield look.same, (i, tuple(look.keys), look.shape)
    _put(_piece(job, range_), (seen.worths, seen.present, empty))


def first_of(rows: Iterable[tuple[int, tuple[bytes, ...], bytes]]) -> tuple[tuple[int, tuple, bytes], list[Pair]]:
  """Of the rows of one name the first, which stands for all, and the pairs that say so."""
  first, *others = sorted(rows)
  return first, [(first[0], one[0]) for one in others]


def pairs_of(rows: Iterable[int]) -> Iterator[Pair]:
  """The pairs of rows that share a key, the earlier one in front."""
  return itertools.combinations(sorted(rows), 2)


def alike(job: Job, a: bytes, b: bytes) -> bool:
  """Whether two rows are of one cluster, by their shapes."""
  (step,) = steps_of(job)
  return step.alike(a, b)


def part_of(pair: Pair) -> int:
  """The file that a pair is written to."""
  return pair[0] % _PARTS


def write_pairs(job: Job, part: int, pairs: Iterable[Pair]) -> int:
  """Writes the pairs of a file; returns how many there are."""
  found = np.asarray(sorted(pairs), np.int64).reshape(-1, 2)
  _put(os.path.join(job.folder, f"pairs-{part:03}"), found)
  return len(found)


def write_candidates(job: Job, count: int) -> int:
  """Writes how many pairs share a key."""
  _put(os.path.join(job.folder, "candidates"), count)
  return count


def _clustered(
  runs: Runs, job: Job, step: clusters.Duplicates, rows: rows_file.Rows, notes: select_protocol.Notes
) -> Iterator[list[select_protocol.Outcome]]:
  runs.duplicates(job)
  kept_faults.raise_first(job.folder)
  total, worths, empty = step.seeing(()), [], 0
  for range_ in job.ranges:
    own, present, without = _got(_piece(job, range_))
    worths += own
    total.present.take(present)
    empty += without
  total.present.require()
  candidates = os.path.join(job.folder, "candidates")
  notes |= step.said(empty, _got(candidates) if os.path.exists(candidates) else 0)
  found = [_got(os.path.join(job.folder, name)) for name in files.names(job.folder) if name.startswith("pairs-")]
  edges = np.concatenate(found).tolist() if found else []
  roots = clusters.joined(len(rows), edges)
  for outcome in step.chosen(rows, roots, np.asarray(worths), notes):
    yield [outcome]
  shutil.rmtree(job.folder)


def _piece(job: Job, range_: rows_file.Range) -> str:
  return os.path.join(job.folder, f"{range_.number:08}.piece")


def _put(path: str, value: Any) -> None:
  partial = f"{path}.{os.getpid()}.partial"
  with open(partial, "wb") as f:
    pickle.dump(value, f, pickle.HIGHEST_PROTOCOL)
  os.replace(partial, path)


def _got(path: str) -> Any:
  with open(path, "rb") as f:
    return pickle.load(f)
