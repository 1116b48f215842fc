"""Numbers of rows, and the choice that follows from them: scores in blocks that outlive a kill, then a budget."""

from collections.abc import Sequence
import os

import numpy as np

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.select import select_protocol
from itune_jax.select import stages

BLOCK = 512  # rows between two writes


def numbers(
  folder: str,
  score: select_protocol.Score,
  rows: Sequence[select_protocol.Row],
  ask: select_protocol.Ask | None,
  begin: stages.Begin,
) -> np.ndarray:
  """One number a row [N], of which a killed selection left some; NaN where there is none, or one that is not finite,
  which no file of rows can hold. Raises InputError when a score gives another count."""
  path = os.path.join(folder, f"score.{score.name}.f64")
  done = os.path.getsize(path) // (8 * BLOCK) * BLOCK if os.path.exists(path) and score.apart else 0
  advance = begin(f"score {score.name}", len(rows))
  advance(done)
  with open(path, "r+b" if os.path.exists(path) else "w+b") as f:
    f.truncate(8 * done)
    f.seek(8 * done)
    step = BLOCK if score.apart else max(len(rows), 1)
    for start in range(done, len(rows), step):
      block = rows[start : start + step] if score.apart else rows
      found = np.asarray(score.score(block, ask if score.needs == "model" else None), np.float64)
      if found.shape != (len(block),):
        raise errors.InputError(f"score {score.name} gave {found.shape} numbers for {len(block)} rows")
      f.write(np.where(np.isfinite(found), found, np.nan).tobytes())
      f.flush()
      advance(len(block))
  return np.fromfile(path, np.float64)


def worth(selection: select_protocol.Selection, found: dict[str, np.ndarray], rows: int) -> np.ndarray:
  """What each row is worth [N], the more the better; NaN where a score has no number for it."""
  if not selection.scores:
    return np.zeros(rows)
  signed = [found[s.name] if s.best == "high" else -found[s.name] for s in selection.scores]
  if selection.combine == "sum" or len(signed) == 1:
    return np.sum(signed, axis=0)
  if selection.combine == "product":
    low = [score.name for score in selection.scores if score.best == "low"]
    check.require(not low, f"Selection.combine = 'product': of {', '.join(low)} low numbers are wanted; use ranks")
    return np.prod(signed, axis=0)
  return np.mean([ranks(one) for one in signed], axis=0)


def ranks(values: np.ndarray) -> np.ndarray:
  """Ranks from 0 to 1, equals sharing the mean of theirs; NaN stays NaN."""
  fine = ~np.isnan(values)
  _, back, count = np.unique(values[fine], return_inverse=True, return_counts=True)
  mean = np.cumsum(count) - (count + 1) / 2
  found = np.full(len(values), np.nan)
  found[fine] = mean[back] / max(fine.sum() - 1, 1)
  return found


def chosen(
  selection: select_protocol.Selection,
  rows: Sequence[select_protocol.Row],
  worths: np.ndarray,
  ask: select_protocol.Ask | None,
) -> np.ndarray:
  """The numbers of the rows that are kept, ascending. Raises InputError when diversity names one twice, and
  for a budget that holds no row."""
  fine = np.flatnonzero(~np.isnan(worths))
  budget = selection.budget
  if budget == select_protocol.Budget() and selection.diversity == select_protocol.Best():
    return fine
  some = rows if len(fine) == len(rows) else [rows[int(i)] for i in fine]
  most = budget.most(len(rows))
  check.require(
    most or not len(rows),
    f"Budget.share = {budget.share:g} of {len(rows)} rows is less than half a row: keep a larger share, or a number of "
    "rows (--keep=1)",
  )
  random = np.random.Generator(np.random.PCG64([selection.seed, 0x5E1EC7]))
  order = np.asarray(selection.diversity.order(some, worths[fine], most, random, ask), np.int64)
  if len(np.unique(order)) != len(order):
    raise errors.InputError(f"{type(selection.diversity).__name__} names a row twice")
  if budget.tokens:
    if ask is None:
      raise errors.InputError("a budget in tokens needs a model's tokenizer: give --base")
    lengths = np.cumsum(ask.tokens([some[int(i)] for i in order]))
    most = int(np.searchsorted(lengths, budget.tokens, side="right"))
    check.require(
      most or not len(order),
      f"Budget.tokens = {budget.tokens}: the first row that would be kept has {int(lengths[0]) if len(order) else 0} "
      "tokens; keep more of them",
    )
  return np.sort(fine[order[:most]])
