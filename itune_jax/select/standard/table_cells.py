"""Dates and units in the tables of a text in one form: only what the whole column makes certain is changed."""

from collections.abc import Callable, Sequence
import dataclasses
import datetime
import re
from typing import ClassVar

from itune_jax.select.cleaning import text_step

_LINE = re.compile(r"^[ \t]*\|.*\|[ \t]*$|^[^|\n]+(?:\|[^|\n]*)+$")
_RULE = re.compile(r"^[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
_CELLS = re.compile(r"(?<!\\)\|")
_MONTHS = ("january", "february", "march", "april", "may", "june", "july")
_MONTHS += ("august", "september", "october", "november", "december")
_NUMBERS = {name[:n]: i for i, name in enumerate(_MONTHS, 1) for n in (3, len(name))} | {"sept": 9}
_NAMED = (  # whole cells, by the places of day, month and year
  (re.compile(r"(\d{1,2})(?:st|nd|rd|th)?\.? ([A-Za-z]{3,9})\.?,? (\d{4})"), (0, 1, 2)),
  (re.compile(r"([A-Za-z]{3,9})\.? (\d{1,2})(?:st|nd|rd|th)?,? (\d{4})"), (1, 0, 2)),
)
_YEAR_FIRST = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})")
_YEAR_LAST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4})")
# How units are written in full or otherwise: a value is never converted from one into another.
_UNITS = {
  "mm": "millimetre millimeter",
  "cm": "centimetre centimeter",
  "m": "metre meter",
  "km": "kilometre kilometer",
  "mg": "milligram milligramme mgs",
  "g": "gram gramme gr",
  "kg": "kilogram kilogramme kilo kgs",
  "ml": "millilitre milliliter",
  "l": "litre liter ltr",
  "s": "second sec",
  "min": "minute mins",
  "h": "hour hr hrs",
  "km/h": "kph kmh",
  "°C": "celsius degc",
  "°F": "fahrenheit degf",
  "%": "percent pct",
}
_SPELLED = {
  spelling: unit
  for unit, names in _UNITS.items()
  for name in (unit.lower(), *names.split())
  for spelling in (name, f"{name}s" if len(name) > 3 else name)
}
_MEASURED = re.compile(r"([+-]?\d[\d.,]*)[ \t]*([A-Za-z°%/]+)\.?")
Reading = Callable[[str], str | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableCells(text_step.TextStep):
  """Markdown tables with dates as 2024-03-09, and units by their symbols behind a space (5 kg).

  A column is changed where every cell of it that says something can be read so. 03/04/2024 stays where no cell of its
  column tells whether days or months stand first.

  dates, units: which of both is done.
  """

  dates: bool = True
  units: bool = True
  mark: ClassVar[str] = "table cells"

  def changed(self, text: str) -> str:
    """Nothing outside of tables changes, and nothing in fences; a cell of code is one that cannot be read."""
    if "|" not in text:
      return text
    parts, at = [], 0
    for code in text_step.CODE.finditer(text):
      if code["fence"]:
        parts += [self._tables(text[at : code.start()]), code[0]]
        at = code.end()
    return "".join([*parts, self._tables(text[at:])])

  def _tables(self, text: str) -> str:
    lines, at = text.split("\n"), 1
    while at < len(lines):
      if not (_RULE.match(lines[at]) and "|" in lines[at] and _LINE.match(lines[at - 1])):
        at += 1
        continue
      end = at + 1
      while end < len(lines) and _LINE.match(lines[end]):
        end += 1
      lines[at + 1 : end] = self._body(lines[at + 1 : end])
      at = end
    return "\n".join(lines)

  def _body(self, lines: Sequence[str]) -> list[str]:
    """The rows of a table below its head."""
    rows = [_CELLS.split(line) for line in lines]
    for column in range(max(map(len, rows), default=0)):
      places = [row for row in rows if column < len(row) and row[column].strip()]
      said = [row[column].strip() for row in places]
      for row, old, new in zip(places, said, self._column(said), strict=True):
        row[column] = row[column].replace(old, new, 1)
    return ["|".join(row) for row in rows]

  def _column(self, said: Sequence[str]) -> Sequence[str]:
    readings = [reading for reading in (*_date_readings(said),) if self.dates]
    readings += [_with_symbol] if self.units else []
    for reading in readings:
      found = [reading(one) for one in said]
      if said and all(one is not None for one in found):
        return [one for one in found if one is not None]
    return said


def _date_readings(said: Sequence[str]) -> list[Reading]:
  """One reading of dates, where these cells leave only one."""
  numbers = [(int(found[1]), int(found[3])) for one in said if (found := _YEAR_LAST.fullmatch(one))]
  first, second = (max((pair[k] for pair in numbers), default=0) for k in (0, 1))
  if numbers and (first > 12) == (second > 12):
    return []  # nothing tells which is the month, or the column has both
  return [lambda one: _as_date(one, day_first=first > 12)]


def _as_date(said: str, day_first: bool) -> str | None:
  """The day in ISO 8601, None for what is none."""
  if found := _YEAR_FIRST.fullmatch(said):
    return _iso(int(found[1]), int(found[2]), int(found[3]))
  if found := _YEAR_LAST.fullmatch(said):
    day, month = (found[1], found[3]) if day_first else (found[3], found[1])
    return _iso(int(found[4]), int(month), int(day))
  for pattern, (day, month, year) in _NAMED:
    if found := pattern.fullmatch(said):
      parts = found.groups()
      number = _NUMBERS.get(parts[month].lower())
      return None if number is None else _iso(int(parts[year]), number, int(parts[day]))
  return None


def _iso(year: int, month: int, day: int) -> str | None:
  try:
    return datetime.date(year, month, day).isoformat()
  except ValueError:
    return None


def _with_symbol(said: str) -> str | None:
  """A number and the symbol of its unit, None for what is none."""
  found = _MEASURED.fullmatch(said)
  unit = _SPELLED.get(found[2].lower()) if found else None
  # One capital letter may be another unit: M is mega or a million, G is giga, S is siemens.
  if found is None or unit is None or (len(found[2]) == 1 and found[2].isupper() and found[2] != "L"):
    return None
  return f"{found[1]} {unit}" if unit != "%" else f"{found[1]}%"
