"""The rows of a user's own table (JSON lines, JSON, CSV, TSV, parquet), and texts that their columns fill."""

from collections.abc import Iterator, Mapping
import csv
import dataclasses
import io
import os
import string
from typing import Any

from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.core import lazy
from itune_jax.evals import folders

_parquet: Any = lazy.module("pyarrow.parquet")

Row = Mapping[str, Any]
_JSON = (".jsonl", ".ndjson", ".json")
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
READ = (*_JSON, *_SEPARATORS, ".parquet")


def rows(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
  """(file:line, row) of a table; all but parquet may be compressed (`.gz`).

  Raises InputError, naming the place, for a file of another kind, one that cannot be read, and a row that is none.
  """
  ending = os.path.splitext(path.removesuffix(".gz"))[1].lower()
  if not os.path.isfile(path):
    raise errors.InputError(f"{path}: there is no such file")
  if ending in _JSON:
    yield from folders.objects(path)
  elif ending in _SEPARATORS:
    yield from _separated(path, _SEPARATORS[ending])
  elif ending == ".parquet" and not path.endswith(".gz"):
    yield from _columns(path)
  else:
    raise errors.InputError(f"{path}: tables are {', '.join(READ)}")


def _separated(path: str, separator: str) -> Iterator[tuple[str, dict[str, Any]]]:
  csv.field_size_limit(1 << 26)  # a long text may stand in one cell
  lines = csv.reader(io.StringIO(folders.text_of(path), newline=""), delimiter=separator, strict=True)
  try:
    names = next(lines, [])
    if not names or len(set(names)) < len(names) or not all(names):
      raise errors.InputError(f"{path}:1: the names of columns must be there, and must differ: {', '.join(names)}")
    for values in lines:
      if not values:
        continue
      where = f"{path}:{lines.line_num}"
      if len(values) != len(names):
        raise errors.InputError(f"{where}: has {len(values)} values, and there are {len(names)} columns")
      yield where, dict(zip(names, values, strict=True))
  except csv.Error as e:
    raise errors.InputError(f"{path}:{lines.line_num}: cannot be read as a table ({jsontext.said(e)})") from None


def _columns(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
  try:
    table = _parquet.ParquetFile(path)
    number = 0
    for batch in table.iter_batches(1024):
      for row in batch.to_pylist():
        number += 1
        yield f"{path}: row {number}", row
  except ImportError as e:
    raise errors.InputError(f"{path}: parquet needs the package pyarrow ({jsontext.said(e)})") from None
  except (OSError, ValueError) as e:  # pyarrow's own errors are ValueErrors
    raise errors.InputError(f"{path}: cannot be read as parquet ({jsontext.said(e)})") from None


def column(row: Row, name: str, where: str) -> Any:
  """The value of a column. Raises InputError naming the columns that there are, and for one that is empty (null)."""
  if name not in row:
    raise errors.InputError(f"{where}: has no column {name!r}; it has {', '.join(map(str, row)) or 'none'}")
  if row[name] is None or row[name] != row[name]:  # NaN, which is how tables write an empty cell
    raise errors.InputError(f"{where}: column {name!r} is null")
  return row[name]


def text(row: Row, name: str, where: str) -> str:
  """The text of a column; a number as it is written. Raises InputError for what is neither."""
  value = column(row, name, where)
  if isinstance(value, (int, float)) and not isinstance(value, bool):
    return str(value)
  if not isinstance(value, str):
    raise errors.InputError(
      f"{where}: column {name!r} is {jsontext.name(value)} ({jsontext.shown(value)}); it must be text or a number"
    )
  return value


@dataclasses.dataclass(frozen=True)
class Template:
  """A text with the names of columns between braces: `Q: {question}`; `{{` and `}}` stand for braces.

  source: the text. where: what it is called in messages.
  """

  source: str
  where: str

  def __post_init__(self):
    list(self._parts())

  def _parts(self) -> Iterator[tuple[str, str | None]]:
    try:
      for plain, name, form, conversion in string.Formatter().parse(self.source):
        if name is not None and (not name or form or conversion):
          raise ValueError("between braces stands the name of a column, and nothing else")
        yield plain, name
    except ValueError as e:
      raise errors.InputError(f"{self.where} = {jsontext.shown(self.source)}: {e}; {{{{ is a brace itself") from None

  @property
  def columns(self) -> tuple[str, ...]:
    """The names between the braces."""
    return tuple(name for _, name in self._parts() if name is not None)

  def fill(self, row: Row, where: str) -> str:
    """The text with the columns of a row. Raises InputError, naming the place, for a column that is not there."""
    return "".join(plain + ("" if name is None else text(row, name, where)) for plain, name in self._parts())
