"""The door of CSV files of benchmarks: every row with its place, and columns that must hold text."""

from collections.abc import Iterator, Mapping

from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.evals import folders


def rows(folder: folders.Folder, pattern: str) -> Iterator[tuple[str, dict[str, str]]]:
  """(file: row, columns) of the first file that a pattern matches. Raises InputError for a file without rows, and for a
  row with another number of columns than the first line."""
  path, is_empty = folder.files(pattern)[0], True
  for where, row in folders.table(path, ","):
    is_empty = False
    yield where, row
  if is_empty:
    raise errors.InputError(f"{path}: has no rows")


def filled(row: Mapping[str, str], name: str, where: str) -> str:
  """A column that must hold text. Raises InputError naming the place."""
  if not row.get(name):
    there = ", ".join(map(jsontext.shown, row))
    raise errors.InputError(f"{where}: {name!r} is empty or lacks; its columns are {there}")
  return row[name]
