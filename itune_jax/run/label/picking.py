"""Which rows people are asked about: those that are least certain, and of these such as differ from each other."""

from collections.abc import Iterator, Sequence
import collections
import dataclasses
import heapq
import math
from typing import Any, NamedTuple

import numpy as np

from itune_jax.core import check
from itune_jax.core import ranges
from itune_jax.run.label import sheets
from itune_jax.run.label import shown_rows
from itune_jax.select import input_rows
from itune_jax.select import select_protocol
from itune_jax.select.diversity import features
from itune_jax.select.diversity import spread

TWICE = "its id stands twice"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pick:
  """How rows are chosen. most: so many items. score: the number of a row that says how sure something was of it (a key
  of the row or of its `scores`), "" for none; near: where it is least sure. margin: two such numbers, least sure where
  they are nearest to each other. pool: of the least certain rows, so many times `most` are looked at for such as
  differ; 1 takes the least certain ones alone. controls: items whose right value is known, mixed in at the most. seed:
  of all that is drawn.
  """

  most: int = 100
  score: str = ""
  near: ranges.Share = 0.5
  margin: tuple[str, ...] = ()
  pool: float = 4.0
  controls: ranges.NonNegativeInt = 10
  seed: ranges.Seed = 0

  def __post_init__(self):
    check.check_types(self)
    check.seed(self.seed, "--seed")
    check.require(self.most > 0 and self.controls >= 0, "--items and --controls count items, --items from 1")
    check.require(math.isfinite(self.pool) and self.pool >= 1, f"--pool={self.pool}: it is 1 or more")
    check.require(not (self.score and self.margin), "--score and --margin are two ways to say what is uncertain")
    check.require(len(self.margin) in (0, 2), f"--margin={','.join(self.margin)}: it names two numbers of a row")

  @property
  def names(self) -> tuple[str, ...]:
    """The numbers of a row that it looks at."""
    return self.margin or ((self.score,) if self.score else ())

  def doubt(self, row: shown_rows.Row) -> float:
    """How uncertain a row is, the greater the more; NaN where it lacks a number."""
    numbers = [number(row, name) for name in self.names]
    if not numbers:
      return 0.0
    return -abs(numbers[0] - (numbers[1] if self.margin else self.near))


class Found(NamedTuple):
  """The items in the order in which they are asked, how many rows there were, and how many of them were left out by
  reason."""

  items: tuple[sheets.Item, ...]
  rows: int
  left_out: dict[str, int]


class _Candidate(NamedTuple):
  doubt: float
  lot: float  # drawn: who comes first among equals
  number: int
  item: Any


def pick(path: str, how: shown_rows.How, pick_: Pick) -> Found:
  """The items of a file. The same file, values and seed give the same ones; only the pool is held in memory.

  Raises InputError for a file that cannot be read, and where no row can be asked.
  """
  reasons: collections.Counter[str] = collections.Counter()
  controls: list[sheets.Item] = []
  size = max(pick_.most, round(pick_.pool * pick_.most))
  stream = _candidates(path, how, pick_, reasons, controls)
  pool = heapq.nsmallest(size, stream, key=lambda one: (-one.doubt, one.lot))
  rows, left_out = reasons.pop("", 0), dict(reasons.most_common())
  said = "; ".join(f"{n} × {reason}" for reason, n in left_out.items())
  check.require(pool, f"{path}: no row can be asked ({said or 'it has no rows'})")
  chosen = differing([one.item for one in pool], np.asarray([one.doubt for one in pool]), pick_.most)
  mixed = _mixed(chosen, controls, pick_)
  if over := rows - len(mixed) - sum(left_out.values()):
    left_out["not chosen"] = over
  return Found(mixed, rows, left_out)


def of_items(items: Sequence[sheets.Item], pick_: Pick) -> tuple[sheets.Item, ...]:
  """Some of the items, such as differ from each other, of a pool that is drawn."""
  random = np.random.default_rng([pick_.seed, 0x1ABE1])
  size = max(pick_.most, round(pick_.pool * pick_.most))
  pool = [items[int(i)] for i in random.permutation(len(items))[:size]]
  return tuple(differing(pool, np.zeros(len(pool)), pick_.most))


def number(row: shown_rows.Row, name: str) -> float:
  """A number of a row: in its `scores`, or under a key of its own; NaN where there is none."""
  scores = row.get("scores")
  value = scores.get(name) if isinstance(scores, dict) and name in scores else row.get(name)
  if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300:
    return float(value)
  return float("nan")


def differing(items: Sequence[sheets.Item], doubts: np.ndarray, most: int) -> list[sheets.Item]:
  """At most so many items, the first the most uncertain, each of the others the farthest from those before it (k-center
  on hashed words); items without a word come last."""
  texts = ["\n".join([*(text for _, text in item.turns), item.answer, *(t for _, t in item.sides)]) for item in items]
  rows: list[select_protocol.Row] = [{"messages": [{"role": "user", "content": text}]} for text in texts]
  vectors, at = features.Words().vectors(rows, None)
  order = at[spread.k_center(vectors, doubts[at], most)].tolist() if len(at) else []
  rest = [i for i in range(len(items)) if i not in set(order)] if len(order) < most else []
  return [items[i] for i in (*order, *rest)][:most]


def _candidates(
  path: str, how: shown_rows.How, pick_: Pick, reasons: collections.Counter[str], controls: list[sheets.Item]
) -> Iterator[_Candidate]:
  """The rows that can be asked; others are counted by their reason, all of them under ""."""
  lots, seen = np.random.default_rng([pick_.seed, 0x1ABE1]), set()
  for count, given in enumerate(input_rows.rows(path)):
    reasons[""] += 1
    lot = float(lots.random())
    if given.row is None:
      reasons[given.kind] += 1
      continue
    doubt = pick_.doubt(given.row)
    try:
      if math.isnan(doubt):
        raise shown_rows.CannotAsk(f"it has no number {' or '.join(pick_.names)}")
      item = shown_rows.item(given.row, how)
      if item.id in seen:
        raise shown_rows.CannotAsk(TWICE)
    except shown_rows.CannotAsk as e:
      reasons[str(e)] += 1
      continue
    seen.add(item.id)
    if item.gold is not None:
      controls.append(item)
      continue
    yield _Candidate(doubt, lot, count, item)


def _mixed(items: Sequence[sheets.Item], controls: Sequence[sheets.Item], pick_: Pick) -> tuple[sheets.Item, ...]:
  """With controls at places that are drawn."""
  random = np.random.default_rng([pick_.seed, 0xC0])
  some = [controls[int(i)] for i in random.permutation(len(controls))[: pick_.controls]]
  found = list(items)
  for control in some:
    found.insert(int(random.integers(len(found) + 1)), control)
  return tuple(found)
