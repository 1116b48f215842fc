"""The door of CSV files of benchmarks: every row with its place, and columns that must hold text."""

from collections.abc import Iterator, Mapping
import csv
import io

from itune_jax.core import errors
from itune_jax.evals import folders


def rows(folder: folders.Folder, pattern: str) -> Iterator[tuple[str, dict[str, str]]]:
  """(file: row, columns) of the first file that a pattern matches. Raises InputError for a file without rows, and for a
  row with another number of columns than the first line."""
  path = folder.files(pattern)[0]
  reader = csv.DictReader(io.StringIO(folders.text_of(path), newline=""))
  number = 0
  for number, row in enumerate(reader, 1):
    if None in row or None in row.values():
      raise errors.InputError(f"{path}: row {number} has another number of columns than the first line")
    yield f"{path}: row {number}", row
  if not number:
    raise errors.InputError(f"{path}: has no rows")


def filled(row: Mapping[str, str], name: str, where: str) -> str:
  """A column that must hold text. Raises InputError naming the place."""
  if not row.get(name):
    raise errors.InputError(f"{where}: {name!r} is empty or lacks; its columns are {', '.join(map(repr, row))}")
  return row[name]
