"""Files of instruction data as examples: `formats` says what a row's keys tell, `lines` what files are read, `places`
where images stand. Every fault of a row is one line with its file and number."""

import collections
from collections.abc import Iterator
import dataclasses
import os
from typing import Any

from itune_jax.core import conversation
from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.core import log
from itune_jax.data import example as example_lib
from itune_jax.data.readers import answers
from itune_jax.data.readers import formats
from itune_jax.data.readers import lines
from itune_jax.data.readers import places
from itune_jax.data.readers import preferences

PREFERENCE = "preference"  # pairs of answers: told by name alone, since their rows may be instruction data too
JUDGED = {PREFERENCE: preferences.parse, **answers.FORMATS}  # formats of answers that are compared, by name alone
FORMATS, files = {**formats.FORMATS, **JUDGED}, lines.files
_ANSWERS = {"prompt": "completion", "instruction": "output", "question": "answer"}  # what a row lacks that only asks


@dataclasses.dataclass(frozen=True)
class Row:
  """One row of a file: where it stands, and the example or the reason why it is none."""

  file: str
  line: int
  example: example_lib.Example | None
  problem: str = ""


def read(path: str, format: str = "auto", source: dict[str, Any] | None = None) -> Iterator[Row]:
  """Rows of a file, a folder, or a glob pattern, in order of file name.

  Args:
    format: "auto" (by the keys of each row) or a name of FORMATS. source: provenance for rows without any.

  Raises:
    InputError when nothing is there or the format is unknown.
  """
  if format != "auto" and format not in FORMATS:
    raise errors.InputError(f"unknown format {format!r}; formats are auto, {', '.join(FORMATS)}")
  for file in files(path):
    for line, raw in lines.rows(file):
      try:
        row = parse(raw, os.path.dirname(file), format)
      except example_lib.BadRow as e:
        yield Row(file, line, None, str(e))
        continue
      stamped = {"dataset": os.path.basename(file), "kind": "annotated"} | (source or {}) | row.source
      yield Row(file, line, dataclasses.replace(row, source=stamped))


def parse(raw: Any, folder: str, format: str = "auto") -> example_lib.Example:
  """The example of one raw row: JSON text or an object; paths of images are relative to the folder. Raises BadRow."""
  raw = object_of(raw)
  if format in JUDGED:
    return JUDGED[format](raw)
  if format != "auto" and not any(all(key in raw for key in keys) for keys in formats.KEYS[format]):
    raise example_lib.BadRow(f"it lacks the keys of the format {format}: {formats.said()}")
  return places.with_images(formats.parse(raw, format), raw, folder)


def examples(path: str, **how) -> list[example_lib.Example]:
  """All examples of a file. Raises InputError with the first bad row's line."""
  found = []
  for row in read(path, **how):
    if row.example is None:
      raise errors.InputError(f"{row.file}:{row.line}: {row.problem}")
    found.append(row.example)
  return found


def question(raw: Any, folder: str, begun: bool = False) -> conversation.Conversation:
  """What a row asks: the conversation up to its last answer, by the same formats as examples; one without an answer
  (a prompt alone, messages that end with the user's) is asked as it is. Raises BadRow.

  folder: which paths of images are relative to. begun: the last answer stays, and is to be continued.
  """
  return _asked(raw, folder, begun)[0]


def questions(path: str, begun: bool = False) -> list[conversation.Conversation]:
  """What the rows of a file ask (see `question`), which is read as data files are; says once which keys nothing reads.

  Raises InputError with file and line."""
  found, unread = [], collections.Counter()
  for line, raw in lines.rows(path):
    try:
      asked, keys = _asked(raw, os.path.dirname(path), begun)
    except example_lib.BadRow as e:
      raise errors.InputError(f"{path}:{line}: {e}") from None
    found.append(asked)
    unread.update(set(keys))
  if not found:
    raise errors.InputError(f"{path}: it has no rows; each is a prompt in one of the formats {formats.said()}")
  if unread:
    log.info(f"{path}: nothing reads {unread_said(unread)}")
  return found


def unread_said(counts: "collections.Counter[str]") -> str:
  """Keys that nothing reads and how many rows have each, the commonest first, in one line."""
  named = [f"`{key}` ({n} rows)" for key, n in counts.most_common(8)]
  return ", ".join(named) + (f" and {len(counts) - 8} more keys" if len(counts) > 8 else "")


def no_row(name: str, path: str, reasons: "collections.Counter[str]") -> errors.InputError:
  """What is said of a source of which no row is an example."""
  why = (
    "; ".join(f"{n} × {reason}" for reason, n in reasons.most_common(3))
    or f"it has no rows; formats are {formats.said()}"
  )
  return errors.InputError(f"source {name} ({path}) leaves no row to train on: {why}")


def _asked(raw, folder, begun):
  raw = object_of(raw)
  answer = next((given for asked, given in _ANSWERS.items() if asked in raw and not formats.known(raw)), None)
  given = {
    key: value for key, value in raw.items() if key not in formats.PREFERENCES
  }  # both are answers: none is asked
  example = places.with_images(formats.parse(given if answer is None else {**given, answer: "-"}), raw, folder)
  if begun and answer is None and example.messages[-1]["role"] == "assistant":
    return dataclasses.replace(example.question, messages=example.messages), example.unread
  return example.question, example.unread


def object_of(raw: Any) -> dict[str, Any]:
  """The object of a raw row: itself, or that of JSON text. Raises BadRow."""
  if isinstance(raw, str):
    try:
      raw = jsontext.loads(raw)
    except ValueError as e:
      raise example_lib.BadRow(f"not JSON ({e})") from None
  if not isinstance(raw, dict):
    raise example_lib.BadRow(f"a row is an object, this one is {jsontext.name(raw)}")
  return raw
