"""Published figures to compare with: rows of name, benchmark, metric, value and n, as CSV or JSON."""

import csv
import io
import math
from typing import Any

from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.evals import folders
from itune_jax.run.comparison import evaluated

_NEEDED = ("name", "benchmark", "metric", "value")


def read(path: str) -> list[evaluated.Row]:
  """The rows of a file: JSON (a list, or lines) or CSV with a header, by its first character.

  A value is in the unit of the figures that it is compared with; "57.3%" is 0.573. Raises InputError with the line of
  what cannot be read, and for a file without rows.
  """
  text = folders.text_of(path)
  if text.lstrip()[:1] in ("[", "{"):
    rows = list(folders.objects(path))
  else:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
      rows = [(f"{path}:{reader.line_num}", dict(row)) for row in reader]
    except csv.Error as e:
      raise errors.InputError(f"{path}:{reader.line_num}: is no CSV ({e})") from None
  found = [_row(row, where) for where, row in rows]
  if not found:
    raise errors.InputError(f"{path}: holds no row; a row has {', '.join(_NEEDED)} and may have n")
  return found


def _row(row: dict[str, Any], where: str) -> evaluated.Row:
  unknown = [repr(name) for name in row if name not in (*_NEEDED, "n")]
  missing = [name for name in _NEEDED if row.get(name) in (None, "")]
  if unknown or missing:
    said = f"has no {missing[0]}" if missing else f"{unknown[0]} is none of its columns"
    raise errors.InputError(f"{where}: {said}; a row has {', '.join(_NEEDED)} and may have n")
  texts = {name: str(row[name]).strip() for name in ("name", "benchmark", "metric")}
  return evaluated.Row(**texts, value=_number(row["value"], where), n=_count(row.get("n"), where))


def _number(value: Any, where: str) -> float:
  text, percent = str(value).strip(), str(value).strip().endswith("%")
  try:
    found = math.nan if isinstance(value, bool) else float(text.removesuffix("%"))
  except ValueError:
    found = math.nan
  if not math.isfinite(found):
    raise errors.InputError(f"{where}: the value {jsontext.shown(value)} is no number (0.573, or 57.3%)")
  return found / 100 if percent else found


def _count(value: Any, where: str) -> int:
  if value in (None, ""):
    return 0
  if not str(value).strip().isdecimal() or int(str(value)) == 0:
    raise errors.InputError(f"{where}: n is {jsontext.shown(value)}; it counts items")
  return int(str(value))
