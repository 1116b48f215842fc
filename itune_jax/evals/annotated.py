"""Preferences that a judge gave elsewhere: AlpacaEval's `annotations.json`, as raw and length-controlled win rates.

An annotation is {instruction, output_1, output_2, generator_1, generator_2, preference, annotator}; 1 is the baseline,
2 the model. Releases leave some of it out: the outputs, which then come from files of `model_outputs.json`'s form
({instruction, output, generator}), or the generators. What does not fit together is left out, counted and named.
"""

from collections.abc import Iterator, Mapping, Sequence
import csv
import dataclasses
import math
from typing import Any

import numpy as np

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.data.readers import containers
from itune_jax.data.readers import lines
from itune_jax.grading import length_controlled
from itune_jax.grading import win_rate

NAMED = 5  # instructions that are shown of what does not fit together


@dataclasses.dataclass(frozen=True)
class Pair:
  """One preference. place: of its instruction, in the file of the baseline where that is known."""

  instruction: str
  preference: float | None
  outputs: tuple[str | None, str | None]
  place: int


@dataclasses.dataclass(frozen=True)
class Annotations:
  """What was read. of: how many instructions there should be. problems: what did not fit together, by kind."""

  pairs: tuple[Pair, ...]
  of: int
  baseline: str
  model: str
  judge: str
  problems: Mapping[str, tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class Hub:
  """What AlpacaEval's hub files say. difficulty: of each instruction, by its place. gamed: None where the file is that
  of difficulties alone."""

  difficulty: np.ndarray
  gamed: length_controlled.Gamed | None = None


def read(path: str, *, responses: str = "", baseline: str = "") -> Annotations:
  """Annotations of one model by one judge.

  Args:
    path, responses, baseline: annotations; the model's outputs and the baseline's, where annotations lack them. Each
      JSON or JSON lines, with or without `.gz`. The baseline's file also says which instructions there are, in order.

  Raises:
    InputError, naming file and row, for rows of another form, and for annotations of several models or judges.
  """
  problems: dict[str, list[str]] = {}
  told = lambda kind, text: problems.setdefault(kind, []).append(text)
  ours = _outputs(responses, told) if responses else {}
  theirs = _outputs(baseline, told) if baseline else {}
  places = {instruction: place for place, instruction in enumerate(theirs)}
  found: dict[str, Pair] = {}
  placed: dict[int, str] = {}
  names: dict[str, dict[str, None]] = {"generator_1": {}, "generator_2": {}, "annotator": {}}
  for number, (where, row) in enumerate(_rows(path)):
    instruction = _text(row, "instruction", where)
    for name, seen in names.items():
      if row.get(name) is not None:
        seen[_text(row, name, where)] = None
    if instruction in found:
      told("annotated twice (the first stands)", instruction)
      continue
    if theirs and instruction not in theirs:
      told("not among the baseline's instructions", instruction)
      continue
    own = tuple(_text(row, name, where) if row.get(name) is not None else None for name in ("output_1", "output_2"))
    given = theirs.get(instruction), ours.get(instruction)
    for side, there, other in zip(("the baseline's", "the model's"), own, given, strict=True):
      if there is not None and other is not None and there != other:
        told(f"annotated for another output than {side} file has (the annotation's stands)", instruction)
    outputs = tuple(there if there is not None else other for there, other in zip(own, given, strict=True))
    place = row.get("index", places.get(instruction, number))
    check.require(type(place) is int and place >= 0, f"{where}: `index` is {jsontext.shown(place)}, no whole number")
    if placed.setdefault(place, instruction) != instruction:
      told("with an index that another instruction has (the first stands)", instruction)
      continue
    found[instruction] = Pair(instruction, _preference(row, where), (outputs[0], outputs[1]), place)
  check.require(found, f"{path}: no annotation in it fits" + _said(problems))
  for instruction in theirs:
    if instruction not in found:
      told("without an annotation", instruction)
  for instruction in ours:
    if instruction not in found:
      told("answered, but without an annotation", instruction)
  (one, two, judge) = (_only(path, name, seen) for name, seen in names.items())
  kept = {kind: tuple(texts) for kind, texts in problems.items()}
  return Annotations(tuple(found.values()), len(theirs) or len(found), one, two, judge, kept)


def hub(path: str) -> Hub:
  """AlpacaEval's `df_gamed.csv` (difficulties and the gamed baseline), or `instruction_difficulty.csv` (the former).

  Raises InputError for another form, or when difficulties are not in the order of instructions.
  """
  try:
    with open(path, encoding="utf-8", newline="") as f:
      rows = list(csv.DictReader(f))
  except (OSError, UnicodeDecodeError, csv.Error) as e:
    raise errors.InputError(f"{path}: cannot be read as CSV ({e})") from None
  check.require(rows and "instruction_difficulty" in rows[0], f"{path}: it has no column `instruction_difficulty`")
  difficulty = _numbers(path, rows, "instruction_difficulty")
  if "not_gamed_baseline" not in rows[0]:
    return Hub(difficulty)
  index = _numbers(path, rows, "index")
  first = sorted({int(i) for i in index})
  in_order = first == list(range(len(first))) and [int(i) for i in index[: len(first)]] == first
  check.require(in_order, f"{path}: its first rows must be those of instructions 0, 1, 2, … in order")
  truth = {"True": True, "False": False}
  is_model = [truth.get(row["not_gamed_baseline"]) for row in rows]
  check.require(None not in is_model, f"{path}: `not_gamed_baseline` is True or False")
  preference = _numbers(path, rows, "preference", missing=True)
  check.require(not ((preference < 0) | (preference > 1)).any(), f"{path}: `preference` is from 0 to 1 in this file")
  gamed = length_controlled.Gamed(preference, _numbers(path, rows, "std_delta_len"), difficulty, np.asarray(is_model))
  return Hub(difficulty[: len(first)], gamed)


def measure(annotations: Annotations, difficulty: Hub | None = None) -> dict[str, Any]:
  """Figures in percent, what they are of, and what did not fit together.

  The length-controlled one bears the leaderboard's name (`length_controlled_winrate`) only where it is made as the
  leaderboard's is; otherwise it bears that of its formula. It is made of the pairs whose outputs are both known.
  """
  raw = win_rate.of_preferences([pair.preference for pair in annotations.pairs])
  problems = dict(annotations.problems)
  if unknown := [pair.instruction for pair in annotations.pairs if pair.preference is None]:
    problems["without a preference"] = tuple(unknown)
  if unusable := [pair.instruction for pair in annotations.pairs if _off_scale(pair.preference)]:
    problems["with a preference outside 1 to 2"] = tuple(unusable)
  figures: dict[str, Any] = {"win_rate": raw.win_rate, "standard_error": raw.standard_error}
  figures |= {"n": raw.n_total, "of": annotations.of}
  figures |= {name: getattr(raw, name) for name in ("n_wins", "n_wins_base", "n_draws", "discrete_win_rate")}
  whole = [pair for pair in annotations.pairs if None not in pair.outputs]
  if lacking := [pair.instruction for pair in annotations.pairs if None in pair.outputs]:
    problems["without both outputs (not in the length-controlled figure)"] = tuple(lacking)
  if whole:
    figures["avg_length"] = float(np.mean([len(str(pair.outputs[1])) for pair in whole]))
    figures |= _controlled(annotations, whole, difficulty, raw.win_rate)
  names = {"model": annotations.model, "baseline": annotations.baseline, "judge": annotations.judge}
  figures = {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in figures.items()}
  shown = {kind: {"count": len(texts), "first": list(texts[:NAMED])} for kind, texts in problems.items()}
  return {**figures, **names, **({"problems": shown} if shown else {})}


def rows(annotations: Annotations) -> list[dict[str, Any]]:
  """A row for each pair, as those of benchmarks are."""
  scaled = win_rate.scaled([pair.preference for pair in annotations.pairs])
  found = []
  for pair, value in zip(annotations.pairs, scaled, strict=True):
    values = {"win_rate": None if math.isnan(value) else float(value)}
    own = {"id": str(pair.place), "cluster": str(pair.place), "tags": {}, "values": values, "prompt": pair.instruction}
    found.append({**own, "output": pair.outputs[1], "baseline": pair.outputs[0], "judge": annotations.judge})
  return found


def result(annotations: Annotations, figures: Mapping[str, Any]) -> contracts.EvalResult:
  """The raw win rate as a share with its normal interval, as results of benchmarks are."""
  value, error = figures["win_rate"], figures["standard_error"]
  low, high = (None, None) if error is None else ((value - 1.96 * error) / 100, (value + 1.96 * error) / 100)
  share = math.nan if value is None else value / 100
  one = contracts.Result("alpaca_eval", "win_rate", share, "", low, high, figures["n"], figures["of"])
  return contracts.EvalResult([one], rows(annotations))


def _controlled(
  annotations: Annotations, pairs: Sequence[Pair], difficulty: Hub | None, raw: float
) -> dict[str, float | int | str | bool]:
  """The length-controlled figure, by the best formula that there are files for."""
  formula = "length_controlled_minimal"
  if difficulty is not None:
    formula = "length_controlled_noreg" if difficulty.gamed is None else "length_controlled_v1"
    outside = [pair for pair in pairs if pair.place >= len(difficulty.difficulty)]
    check.require(
      not outside,
      f"{len(outside)} annotations are of instructions beyond the {len(difficulty.difficulty)} difficulties",
    )
  name = "length_controlled_winrate" if formula == "length_controlled_v1" else formula
  if annotations.model and annotations.model == annotations.baseline:  # by construction, as AlpacaEval has it
    return {name: 50.0, "lc_standard_error": 0.0, "lc_n": len(pairs)}
  try:
    found = length_controlled.control(
      formula,
      win_rate.scaled([pair.preference for pair in pairs]),
      np.asarray([len(str(pair.outputs[0])) - len(str(pair.outputs[1])) for pair in pairs], float),
      None if difficulty is None else difficulty.difficulty[[pair.place for pair in pairs]],
      None if difficulty is None else difficulty.gamed,
    )
  except errors.InputError as e:
    return {"length_control": f"none: {e}"}
  said: dict[str, Any] = {name: found.value, "lc_standard_error": found.standard_error, "lc_n": len(pairs)}
  return said | ({"lc_extreme": True} if win_rate.is_extreme(raw, found.value) else {})


def _rows(path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
  """(file and row, row) of a file of objects."""
  for file in containers.files(path):
    for number, raw in containers.rows(file):
      where = f"{file}:{number}"
      if isinstance(raw, lines.Bad):
        raise errors.InputError(f"{where}: {raw.reason}")
      try:
        row = jsontext.loads(raw) if isinstance(raw, str) else raw
      except ValueError as e:
        raise errors.InputError(f"{where}: is not JSON ({e})") from None
      check.require(isinstance(row, dict), f"{where}: an object is expected, this is {jsontext.name(row)}")
      yield where, row


def _outputs(path: str, told) -> dict[str, str]:
  """Outputs by instruction, in the file's order."""
  found: dict[str, str] = {}
  for where, row in _rows(path):
    instruction, output = _text(row, "instruction", where), _text(row, "output", where)
    if instruction in found:
      told(f"twice in {path} (the first stands)", instruction)
    found.setdefault(instruction, output)
  check.require(found, f"{path}: it holds no outputs")
  return found


def _text(row: Mapping[str, Any], name: str, where: str) -> str:
  value = row.get(name)
  if not isinstance(value, str):
    raise errors.InputError(f"{where}: `{name}` is {jsontext.name(value) if name in row else 'missing'}, not text")
  return value


def _preference(row: Mapping[str, Any], where: str) -> float | None:
  check.require("preference" in row, f"{where}: it has no `preference`: this is no annotation")
  value = row["preference"]
  is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and not abs(value) > 1e300
  check.require(
    value is None or is_number, f"{where}: `preference` is {jsontext.shown(value)}, neither number nor null"
  )
  return None if value is None or math.isnan(value) else float(value)


def _off_scale(preference: float | None) -> bool:
  return preference is not None and preference != 0 and not 1 <= preference <= 2


def _only(path: str, name: str, seen: Mapping[str, None]) -> str:
  listed = ", ".join(list(seen)[:NAMED])
  check.require(len(seen) < 2, f"{path}: annotations of {len(seen)} values of `{name}` ({listed}): give those of one")
  return next(iter(seen), "")


def _said(problems: Mapping[str, Sequence[str]]) -> str:
  return "".join(f"; {len(texts)} {kind}" for kind, texts in problems.items())


def _numbers(path: str, rows: Sequence[Mapping[str, str]], name: str, missing: bool = False) -> np.ndarray:
  try:
    found = [math.nan if missing and not row[name] else float(row[name]) for row in rows]
  except (KeyError, ValueError, TypeError) as e:
    raise errors.InputError(f"{path}: column `{name}` is missing or holds what is no number ({e})") from None
  check.require(missing or all(map(math.isfinite, found)), f"{path}: column `{name}` holds what is not finite")
  return np.asarray(found)
