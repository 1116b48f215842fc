"""The rows of files as they stand there, in whatever container, each an object of JSON or the reason why it is none."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from itune_jax.core import check
from itune_jax.core import files as files_lib
from itune_jax.core import jsontext
from itune_jax.data import fields
from itune_jax.data.readers import containers
from itune_jax.data.readers import lines
from itune_jax.data.readers import readers
from itune_jax.data.readers import streams


class Given(NamedTuple):
  """A row: its file and place, and the object; or None and the problem, whose `kind` has no particulars."""

  file: str
  place: int | str
  row: dict[str, Any] | None
  problem: str = ""
  kind: str = ""


def files(path: str) -> list[str]:
  """The data files behind a path. Raises InputError where there are none, and for what has no digest."""
  check.require(path != streams.STDIN, "standard input cannot be read twice: write the rows into a file first")
  found = containers.files(path)
  far = [file for file in found if files_lib.is_remote(file)]
  check.require(not far, f"{path}: rows are selected from files on this machine; copy {', '.join(far[:1])} here first")
  return found


def rows(path: str) -> Iterator[Given]:
  """Every row of the files; where a file cannot be read on, that is a row of its own."""
  for file in files(path):
    place: int | str = 0
    try:
      for place, raw in containers.rows(file):
        yield _given(file, place, raw)
    except streams.Broken as e:
      yield Given(
        file, f"behind {place}", None, f"the file {e.reason}: what follows is not read", "file cannot be read on"
      )


def _given(file: str, place: int | str, raw: Any) -> Given:
  if isinstance(raw, str):
    try:
      raw = jsontext.loads(raw, finite=True)
    except ValueError as e:
      return Given(file, place, None, f"not JSON ({e})", "not JSON")
  if isinstance(raw, lines.Bad):
    return Given(file, place, None, raw.reason, "no row")
  try:
    row = readers.object_of(raw)
  except fields.BadRow as e:
    return Given(file, place, None, str(e), str(e))
  try:
    return Given(file, place, fields.value_of(row, "the row"))
  except fields.BadRow as e:
    return Given(file, place, None, str(e), "no JSON")
