"""The rows of files as they stand there, in whatever container, each an object of JSON or the reason why it is none."""

from collections.abc import Iterator, Mapping
import datetime
import decimal
import math
from typing import Any, NamedTuple
import uuid

from itune_jax.core import check
from itune_jax.core import files as files_lib
from itune_jax.core import jsontext
from itune_jax.data import example as example_lib
from itune_jax.data import fields
from itune_jax.data.readers import building
from itune_jax.data.readers import containers
from itune_jax.data.readers import formats
from itune_jax.data.readers import lines
from itune_jax.data.readers import readers
from itune_jax.data.readers import streams


class Given(NamedTuple):
  """A row: its file and place, and the object; or None and the problem, whose `kind` has no particulars. marks: what of
  it no JSON can hold, and stands there otherwise."""

  file: str
  place: int | str
  row: dict[str, Any] | None
  problem: str = ""
  kind: str = ""
  marks: tuple[str, ...] = ()


def files(path: str) -> list[str]:
  """The data files behind a path. Raises InputError where there are none, and for what has no digest."""
  check.require(path != streams.STDIN, "standard input cannot be read twice: write the rows into a file first")
  found = containers.files(path)
  far = [file for file in found if files_lib.is_remote(file)]
  check.require(not far, f"{path}: rows are selected from files on this machine; copy {', '.join(far[:1])} here first")
  return found


def rows(path: str) -> Iterator[Given]:
  """Every row of the files, and of a task with several instances one for each; where a file cannot be read on, that is
  a row of its own."""
  for file in files(path):
    place: int | str = 0
    try:
      for place, raw in containers.rows(file):
        yield from _instances(_given(file, place, raw))
    except streams.Broken as e:
      yield Given(
        file, f"behind {place}", None, f"the file {e.reason}: what follows is not read", "file cannot be read on"
      )


def _instances(given: Given) -> Iterator[Given]:
  """A task of Self-Instruct as one row for each of its instances, with the ids that `readers` give their examples: what
  looks at rows looks at the first example of each, and would lose the others."""
  row = given.row
  if row is None or "instances" not in row or formats.known(row) != "seed_tasks":
    yield given
    return
  found = row["instances"]
  if not isinstance(found, list) or len(found) < 2:
    yield given
    return
  for number, one in enumerate(found):
    named = {"id": f"{row['id']}/{number}"} if number and building.holds(row, "id") else {}
    yield given._replace(row={**row, "instances": [one], **named})


def _given(file: str, place: int | str, raw: Any) -> Given:
  if isinstance(raw, str):
    try:
      raw = jsontext.loads(raw)
    except ValueError as e:
      return Given(file, place, None, f"not JSON ({e})", "not JSON")
  if isinstance(raw, lines.Bad):
    return Given(file, place, None, raw.reason, "no row")
  try:
    row = readers.object_of(raw)
  except fields.BadRow as e:
    return Given(file, place, None, str(e), str(e))
  marks: dict[str, None] = {}
  try:
    row = {key: found for key, value in row.items() if (found := _plain(value, key, marks)) is not _LEFT_OUT}
    return Given(file, place, fields.value_of(row, "the row"), marks=tuple(marks))
  except fields.BadRow as e:
    return Given(file, place, None, str(e), "no JSON")


_LEFT_OUT = object()


def _plain(value: Any, key: str, marks: dict[str, None]) -> Any:
  """A value as JSON has it: a time as ISO 8601 writes it, an exact number as text, null for the NaN of an empty cell;
  bytes are left out, but for an image's, without which a row means something else."""
  if value is None or isinstance(value, (str, bool, int)):
    return value
  if isinstance(value, Mapping):
    parts = {name: _plain(one, key, marks) for name, one in value.items()}
    return {name: one for name, one in parts.items() if one is not _LEFT_OUT}
  if isinstance(value, (list, tuple)):
    return [one for one in (_plain(part, key, marks) for part in value) if one is not _LEFT_OUT]
  if isinstance(value, float) and not math.isfinite(value):
    marks[f"no number in {jsontext.shown(key)}: null"] = None
    return None
  if isinstance(value, (datetime.date, datetime.time)):
    marks[f"a time in {jsontext.shown(key)}: text"] = None
    return value.isoformat()
  if isinstance(value, (datetime.timedelta, uuid.UUID)):
    marks[f"{'a duration' if isinstance(value, datetime.timedelta) else 'a UUID'} in {jsontext.shown(key)}: text"] = (
      None
    )
    return str(value)
  if isinstance(value, decimal.Decimal):
    marks[f"an exact number in {jsontext.shown(key)}: text"] = None
    return str(value)
  if isinstance(value, bytes) and key not in example_lib.IMAGE_KEYS:
    marks[f"bytes in {jsontext.shown(key)}: left out"] = None
    return _LEFT_OUT
  return value
