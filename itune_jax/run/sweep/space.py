"""What a sweep varies, read from a TOML file: factors, their values, and how the values go together."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import itertools
import math
import re
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import qmc

from itune_jax.core import check
from itune_jax.core import files
from itune_jax.core import jsontext
from itune_jax.core import log
from itune_jax.core import nearest
from itune_jax.core import tomltext

Value = str | int | float | bool | tuple
Point = Mapping[str, Value]

_NAME = re.compile(r"[A-Za-z_][\w./]*")
_MOST = 100_000  # points of a sweep
_TABLES = ("question", "seeds", "metric", "grid", "paired", "draws", "halving")
_WAYS = ("random", "sobol", "halton")
_SCALES = ("linear", "log")
_RANGE = ("low", "high", "scale", "choices", "whole")


class Halving(NamedTuple):
  """Successive halving (Jamieson & Talwalkar 2016): after each rung only the best share trains on, for more steps.

  steps: of each rung, rising. keep: the share that goes on. metric: the figure of a run that ranks it. better: which
  way it counts.
  """

  steps: tuple[int, ...]
  keep: float
  metric: str
  better: str

  def survivors(self, figures: Mapping[int, float]) -> list[int]:
    """The best share of these runs, one at least, best first; a figure that is no number is the worst."""
    sign = 1 if self.better == "lower" else -1
    ranked = sorted(figures, key=lambda k: (not math.isfinite(figures[k]), sign * figures[k], k))
    return ranked[: max(1, math.ceil(len(ranked) * self.keep))]


@dataclasses.dataclass(frozen=True)
class Space:
  """All points of a sweep.

  path: the file. question: what the sweep is to answer. points: the values of each point, in order. factors: the values
  of each factor as they first come. seeds: of every point. metric: the figure that the summary is about, "" for all.
  halving: None where all points run to their end.
  """

  path: str
  question: str
  points: tuple[Point, ...]
  factors: Mapping[str, tuple[Value, ...]]
  seeds: tuple[int, ...]
  metric: str
  halving: Halving | None


def read(path: str) -> Space:
  """Reads a file. Raises InputError naming file and key for what is no sweep."""
  given = _toml(path)
  for name in given:
    check.require(
      name in _TABLES, f"{path}: {jsontext.shown(name)[1:-1]} is no part of a sweep{nearest.meant(name, _TABLES)}"
    )
  axes = [*_grid(path, given.get("grid", {})), *_paired(path, given.get("paired", [])), *_draws(path, given)]
  _check_once(path, axes)
  count = math.prod(map(len, axes))
  check.require(count <= _MOST, f"{path}: it has {count:,} points; no sweep is of more than {_MOST:,}")
  points = tuple({name: value for part in parts for name, value in part.items()} for parts in itertools.product(*axes))
  check.require(axes, f"{path}: nothing varies; give values in [grid], [[paired]] or [draws]")
  seeds = given.get("seeds", [0])
  whole = isinstance(seeds, list) and seeds and all(check.fits(one, int) and one >= 0 for one in seeds)
  check.require(
    whole and len(set(seeds)) == len(seeds),
    f"{path}: seeds are different integers, 0 or more, not {jsontext.shown(seeds)}",
  )
  for name in ("question", "metric"):
    check.require(
      isinstance(given.get(name, ""), str), f"{path}: {name} is text, not {jsontext.shown(given.get(name))}"
    )
  names = dict.fromkeys(name for point in points for name in point)
  factors = {name: tuple(dict.fromkeys(point[name] for point in points)) for name in names}
  halving = _halving(path, given["halving"]) if "halving" in given else None
  clash = {"SEED", "seed"} & names.keys() or (halving and {"STEPS", "steps", "EPOCHS", "epochs"} & names.keys())
  check.require(not clash, f"{path}: seeds stand in `seeds`, and the steps of halving in its rungs, not among values")
  return Space(path, given.get("question", ""), points, factors, tuple(seeds), given.get("metric", ""), halving)


def _toml(path: str) -> dict[str, Any]:
  check.require(files.is_file(path), f"{path}: there is no such file")
  return tomltext.read(path)


def _grid(path: str, table: Any) -> Iterator[list[Point]]:
  check.require(isinstance(table, dict), f"{path}: grid is a table of lists, [grid]")
  for name, values in _named(path, table):
    yield [{name: value} for value in _values(path, f"grid.{name}", values)]


def _named(path: str, table: Mapping[str, Any]) -> list[tuple[str, Any]]:
  for name in table:
    said = f"{path}: {jsontext.shown(name)} is no name of a value, such as STEPS or lora.Lora.rank"
    check.require(_NAME.fullmatch(name) and len(name) <= 200, said)
  return list(table.items())


def _paired(path: str, tables: Any) -> Iterator[list[Point]]:
  """Each table walks its lists together: one axis."""
  tables = [tables] if isinstance(tables, dict) else tables
  check.require(isinstance(tables, list), f"{path}: paired is a table of lists, [[paired]]")
  for table in tables:
    check.require(
      isinstance(table, dict) and table, f"{path}: paired is a table of lists, [[paired]], not {jsontext.shown(table)}"
    )
    lists = {name: _values(path, f"paired.{name}", values, distinct=False) for name, values in _named(path, table)}
    lengths = {name: len(values) for name, values in lists.items()}
    check.require(
      len(set(lengths.values())) == 1,
      f"{path}: paired lists have one length, these have {', '.join(f'{k} {n}' for k, n in lengths.items())}",
    )
    rows = list(zip(*lists.values(), strict=True))
    twice = next((row for i, row in enumerate(rows) if row in rows[:i]), None)
    said = ", ".join(f"{k} = {jsontext.shown(v)}" for k, v in zip(lists, twice or (), strict=False))
    check.require(twice is None, f"{path}: paired has {said} twice")
    yield [dict(zip(lists, values, strict=True)) for values in rows]


def _values(path: str, where: str, values: Any, distinct: bool = True) -> list[Value]:
  check.require(
    isinstance(values, list) and values, f"{path}: {where} is a list of values, not {jsontext.shown(values)}"
  )
  found = [_value(path, where, value) for value in values]
  # 8 and 8.0, and 1 and true, are one value to tables of figures; so is text that gin reads as one of them.
  meant = {_number(one) if isinstance(one, str) else one for one in found}
  check.require(
    not distinct or len(meant) == len(found), f"{path}: {where} has a value twice: {jsontext.shown(values)}"
  )
  return found


def _number(text: str) -> Value:
  """The number that a text is to gin; the text where it is none."""
  try:
    return float(text)
  except ValueError:
    return text


def _value(path: str, where: str, value: Any) -> Value:
  if isinstance(value, list):
    return tuple(_value(path, where, one) for one in value)
  check.require(
    not isinstance(value, str) or value.isprintable(),
    f"{path}: {where} holds {jsontext.shown(value)}: text is one line",
  )
  plain = isinstance(value, (str, bool, int, float)) and not (isinstance(value, float) and not math.isfinite(value))
  check.require(
    plain, f"{path}: {where} holds {jsontext.shown(value)}: values are text, numbers, true, false, or lists of them"
  )
  return value


def _draws(path: str, given: Mapping[str, Any]) -> Iterator[list[Point]]:
  """Points drawn at random, or spread evenly over the ranges (a scrambled Sobol or Halton sequence)."""
  if "draws" not in given:
    return
  table = given["draws"]
  check.require(isinstance(table, dict), f"{path}: draws is a table, [draws]")
  table = dict(table)
  count, seed, how = table.pop("count", None), table.pop("seed", 0), table.pop("how", "sobol")
  good = check.fits(count, int) and 0 < count <= _MOST
  check.require(good, f"{path}: draws.count is how many, 1 to {_MOST:,}, not {jsontext.shown(count)}")
  check.require(check.fits(seed, int) and seed >= 0, f"{path}: draws.seed is an integer, not {jsontext.shown(seed)}")
  check.require(how in _WAYS, f"{path}: draws.how is one of {', '.join(_WAYS)}, not {jsontext.shown(how)}")
  check.require(table, f"{path}: draws has no range")
  at_CK = _unit(how, count, len(table), seed)
  ranges = [(name, _range(path, f"draws.{name}", given)) for name, given in _named(path, table)]
  drawn = [{name: place(float(u)) for u, (name, place) in zip(row, ranges, strict=True)} for row in at_CK]
  points: list[Point] = list({tuple(point.items()): point for point in drawn}.values())
  if len(points) < count:  # a run that stands twice would count twice in every figure
    log.info(f"note: {path}: of {count} points that are drawn {len(points)} differ; each of them is run once")
  yield points


def _unit(how: str, count: int, dimensions: int, seed: int) -> np.ndarray:
  """`count` points of the unit cube, [C, K]."""
  if how == "random":
    return np.random.default_rng(seed).random((count, dimensions))
  if how == "halton":
    return qmc.Halton(dimensions, rng=seed).random(count)
  # A Sobol sequence is balanced at powers of two; the first of the next power are drawn.
  return qmc.Sobol(dimensions, rng=seed).random_base2(math.ceil(math.log2(count)))[:count]


def _range(path: str, where: str, given: Any):
  """The function from 0 … 1 to a value. Numbers are rounded to three digits: names of runs stay readable."""
  form = "{ low = 1e-5, high = 1e-3, scale = 'log' } or { choices = [8, 16] }"
  check.require(isinstance(given, dict), f"{path}: {where} is {form}")
  for name in given:
    check.require(
      name in _RANGE, f"{path}: {where} has no {jsontext.shown(name)[1:-1]}{nearest.meant(name, _RANGE)}; it is {form}"
    )
  if "choices" in given:
    check.require(len(given) == 1, f"{path}: {where} has choices, and so nothing else")
    choices = _values(path, f"{where}.choices", given["choices"])
    return lambda u: choices[min(int(u * len(choices)), len(choices) - 1)]
  low, high, scale, whole = given.get("low"), given.get("high"), given.get("scale", "linear"), given.get("whole", False)
  numbers = all(check.fits(one, float) and math.isfinite(one) for one in (low, high)) and low < high
  check.require(
    numbers, f"{path}: {where} needs numbers low < high, not {jsontext.shown(low)} and {jsontext.shown(high)}"
  )
  check.require(scale in _SCALES, f"{path}: {where}.scale is one of {', '.join(_SCALES)}, not {jsontext.shown(scale)}")
  check.require(
    scale == "linear" or low > 0, f"{path}: {where}.low must be above 0 on a log scale, not {jsontext.shown(low)}"
  )
  check.require(isinstance(whole, bool), f"{path}: {where}.whole is true or false, not {jsontext.shown(whole)}")
  ends = all(float(one).is_integer() for one in (low, high))
  check.require(ends or not whole, f"{path}: {where} is of whole numbers, and so are its low and high")

  def place(u: float) -> Value:
    x = math.exp(math.log(low) + u * (math.log(high) - math.log(low))) if scale == "log" else low + u * (high - low)
    return int(round(x)) if whole else float(f"{x:.3g}")

  return place


def _halving(path: str, table: Any) -> Halving:
  check.require(isinstance(table, dict), f"{path}: halving is a table, [halving]")
  known = ("steps", "keep", "metric", "better")
  for name in table:
    check.require(name in known, f"{path}: halving has no {jsontext.shown(name)[1:-1]}{nearest.meant(name, known)}")
  steps, keep = table.get("steps"), table.get("keep", 0.5)
  rising = isinstance(steps, list) and all(check.fits(one, int) and one > 0 for one in steps)
  rising = rising and len(steps) > 1 and all(a < b for a, b in itertools.pairwise(steps))
  check.require(
    rising, f"{path}: halving.steps is a rising list of two numbers of steps or more, not {jsontext.shown(steps)}"
  )
  check.require(
    check.fits(keep, float) and 0 < keep < 1, f"{path}: halving.keep is a share, not {jsontext.shown(keep)}"
  )
  better, metric = table.get("better", "lower"), table.get("metric", "validation/loss")
  check.require(
    better in ("lower", "higher"), f"{path}: halving.better is lower or higher, not {jsontext.shown(better)}"
  )
  check.require(
    isinstance(metric, str) and metric, f"{path}: halving.metric is a figure's name, not {jsontext.shown(metric)}"
  )
  return Halving(tuple(steps), float(keep), metric, better)


def _check_once(path: str, axes: Sequence[Sequence[Point]]) -> None:
  seen: set[str] = set()
  for axis in axes:
    twice = seen & set(axis[0])
    check.require(not twice, f"{path}: {', '.join(sorted(twice))} stands in two tables")
    seen |= set(axis[0])
