"""Files of instruction data as examples: `containers` says how rows stand in files, `formats` what a row's keys tell,
`places` where images stand. Every fault is one line with its file and place; every row that is no example is told."""

import collections
import contextlib
import dataclasses
import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from itune_jax.core import conversation
from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.core import log
from itune_jax.core import files as files_lib
from itune_jax.data import example as example_lib
from itune_jax.data import fields
from itune_jax.data.readers import told_answers
from itune_jax.data.readers import named_columns as columns_lib
from itune_jax.data.readers import containers
from itune_jax.data.readers import csvs
from itune_jax.data.readers import formats
from itune_jax.data.readers import lines
from itune_jax.data.readers import places
from itune_jax.data.readers import plain_text
from itune_jax.data.readers import row_ids
from itune_jax.data.readers import scored_pairs
from itune_jax.data.readers import streams
from itune_jax.data.readers import trees

# Bump when rows come to mean something else: caches of another version are not read. A golden test forces it.
VERSION = 4  # 3 left out the `system` beside pairs of whole conversations; 2 the `context` of a `question`
PREFERENCE = "preference"  # pairs of answers: told by name alone, since their rows may be instruction data too
JUDGED: dict[str, Callable[[Any], example_lib.Example]] = {
  PREFERENCE: scored_pairs.parse,
  **told_answers.FORMATS,
}  # answers that are compared
BY_NAME = {**JUDGED, "chosen": scored_pairs.preferred, "text": plain_text.parse}
_MANY: dict[str, Callable[[Any], Iterator[example_lib.Example]]] = {
  "oasst_all": trees.paths,
  "oasst_pairs": trees.pairs,
}
FORMATS, files, content = {**formats.FORMATS, **BY_NAME, **_MANY}, containers.files, containers.content
COMPARED = (*JUDGED, "oasst_pairs")  # formats whose examples are answers that are compared


@dataclasses.dataclass(frozen=True)
class Row:
  """One row of a file: where it stands, and the example or the reason why it is none.

  line: its line, or in words where a container has none ("row group 0, row 7"). schema: what it was read as. group:
  what stands in the column that a split goes by."""

  file: str
  line: int | str
  example: example_lib.Example | None
  problem: str = ""
  schema: str = ""
  group: str | None = None


@dataclasses.dataclass(frozen=True)
class How:
  """How rows are read. columns: the column of each field that has another name. group: a column whose value each row
  keeps, "" for none."""

  format: str = "auto"
  columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
  group: str = ""


def read(
  path: str,
  format: str = "auto",
  source: dict[str, Any] | None = None,
  columns: Mapping[str, str] | None = None,
  group: str = "",
) -> Iterator[Row]:
  """Rows of a file, a folder, a glob pattern, or of standard input ("-"), in order of file name.

  Args:
    format: "auto" (by the keys of each row) or a name of FORMATS. source: provenance for rows without any. columns,
      group: see `How`.

  Raises:
    InputError when nothing is there, the format is unknown, or the only file cannot be read from its first row on.
  """
  require(format)
  how, ids = How(format, columns or {}, group), row_ids.Ids()
  for raw in raws(path):
    found = rows_of(raw, how, source or {})
    twice = ids.twice(raw.file, found.named)
    yield from found.rows if not twice else rows_of(raw._replace(value=fields.BadRow(twice)), how, {}).rows


def require(format: str) -> None:
  """Raises InputError for a format that is not known."""
  if format != "auto" and format not in FORMATS:
    raise errors.InputError(f"unknown format {format!r}; formats are auto, {', '.join(FORMATS)}")


class Raw(NamedTuple):
  """A row as its file has it. place: see `Row.line`. value: JSON text, an object, or the BadRow that says why it is
  none."""

  file: str
  place: int | str
  value: Any


class Read(NamedTuple):
  """The rows that a raw one is. named: its id and the id's type, "" for none; of two with one id the second is none."""

  named: str
  rows: list[Row]


def raws(path: str) -> Iterator[Raw]:
  """The rows of a file, a folder, a glob pattern or of standard input as they stand there, in order of file name.

  Raises InputError when nothing is there, or the only file cannot be read from its first row on."""
  known, found = _Columns(), files(path)
  for file in found:
    yield from _of_file(file, known, alone=len(found) == 1)


def raws_of(found: Sequence[str], number: int) -> Iterator[Raw]:
  """Those of one of several files, as `raws` gives them: the columns of a table are told by the first one."""
  known = _Columns()
  for file in found[:number]:
    table = containers.of(file)
    if table is not None and table.is_table:
      with contextlib.suppress(streams.Broken):  # that is said where this file has its turn
        known.lacking(file, next((raw for _, raw in trees.grouped(_objects(file)) if isinstance(raw, dict)), None))
  yield from _of_file(found[number], known, alone=len(found) == 1)


def _of_file(file: str, known: "_Columns", alone: bool) -> Iterator[Raw]:
  """The rows of a file; where it cannot be read on, that is a row of its own, and bad."""
  last: int | str | None = None
  table = containers.of(file)
  try:
    for place, raw in trees.grouped(_objects(file)):
      last = place
      lacking = known.lacking(file, raw) if table is not None and table.is_table else ""
      yield Raw(file, place, fields.BadRow(lacking) if lacking else raw)
  except streams.Broken as e:
    if alone and last is None:
      raise
    reason = fields.BadRow(f"the file {e.reason}: what follows is not read")
    yield Raw(file, 1 if last is None else f"behind {last}", reason)


# What the text of a message of a tree holds in any case, since its keys do: in plain letters, or as escapes of them.
_OF_TREE = re.compile(r"message_tree_id|\\u00[567]")


def _objects(file: str) -> Iterator[tuple[int | str, Any]]:
  """(place, row) of a file. Text stays text, to be understood where rows are converted, unless it may be a message of a
  tree, whose rows belong together."""
  for place, raw in containers.rows(file):
    if not isinstance(raw, str) or _OF_TREE.search(raw):
      try:
        raw = object_of(raw)
      except fields.BadRow as e:
        raw = e
    yield place, raw


def rows_of(raw: Raw, how: How, source: Mapping[str, Any]) -> Read:
  """The rows that a raw one is: one, several where it holds several examples, and a bad one behind them where reading
  goes wrong. source: provenance of rows without any."""
  found, seen = [], _Named()
  folder = raw.file.rpartition("/")[0] if files_lib.is_remote(raw.file) else os.path.dirname(raw.file)
  provenance = {"dataset": os.path.basename(raw.file), "kind": "annotated", **source}
  for example, schema, group in _examples(raw.value, folder, how, seen, _is_text(raw.file) if how.columns else False):
    if isinstance(example, fields.BadRow):
      found.append(Row(raw.file, raw.place, None, str(example), schema, group))
    else:
      object.__setattr__(example, "source", {**provenance, **example.source})  # made for this row, read once already
      found.append(Row(raw.file, raw.place, example, "", schema, group))
  return Read(seen.named, found)


@functools.lru_cache(64)
def _is_text(file: str) -> bool:
  """Whether all cells of a file are text."""
  found = None if file == streams.STDIN else containers.of(file)
  return found is not None and found.is_text


def _examples(
  raw: Any, folder: str, how: How, seen: "_Named", is_text: bool = False
) -> Iterator[tuple[Any, str, str | None]]:
  """(example or BadRow, schema, what stands in the column of the split) of what a row holds. is_text: whether its
  values are cells of text, which mean what their field says once it is known."""
  schema, group = "", None
  try:
    if isinstance(raw, fields.BadRow):
      raise raw
    raw = object_of(raw)
    group = _group(raw, how.group)
    raw, displaced = columns_lib.renamed(raw, how.columns) if how.columns else (raw, ())
    if is_text:
      raw = {k: csvs.value(k, v) if k in how.columns and isinstance(v, str) else v for k, v in raw.items()}
    schema = how.format if how.format != "auto" else formats.known(raw) or ""
    seen.see(raw)
    for example in parse_all(raw, folder, how.format):
      if displaced:
        object.__setattr__(example, "unread", (*example.unread, *displaced))
      yield example, schema, group
  except fields.BadRow as e:
    yield e, schema, group


def _group(raw: Mapping[str, Any], column: str) -> str | None:
  if not column:
    return None
  value = raw.get(column)
  if fields.is_null(value) or isinstance(value, (dict, list, bytes)):
    raise fields.BadRow(f"its column `{column}`, by which rows are split, is {jsontext.shown(value)}")
  return str(value)


class _Named:
  """The id that a row names, with its type, "" for none."""

  def __init__(self):
    self.named = ""

  def see(self, raw: Mapping[str, Any]) -> None:
    """Takes the id of a row."""
    named = next((raw[key] for key in ("id", "message_tree_id") if not fields.is_null(raw.get(key))), "")
    if isinstance(named, float) and named.is_integer():
      named = int(named)
    if isinstance(named, (str, int)) and not isinstance(named, bool) and named != "":
      self.named = f"{type(named).__name__} {named}"


class _Columns:
  """The columns of tables: a shard without a column that the first has, and that is read, would mean something else."""

  def __init__(self):
    self._first: tuple[str, frozenset[str]] | None = None

  def lacking(self, file: str, raw: Any) -> str:
    """Why the rows of this file are none, "" where it has the columns of the first."""
    if not isinstance(raw, dict):
      return ""
    if self._first is None:
      self._first = file, frozenset(key for key in raw if key in columns_lib.FIELDS)
    name, expected = self._first
    gone = sorted(expected - raw.keys())
    if file == name or not gone:
      return ""
    return f"its file has no column {', '.join(f'`{key}`' for key in gone)}, which {os.path.basename(name)} has"


def parse(raw: Any, folder: str, format: str = "auto") -> example_lib.Example:
  """The example of one raw row, of several the first: JSON text or an object; paths of images are relative to the
  folder. Raises BadRow."""
  return next(parse_all(object_of(raw), folder, format))


def parse_all(raw: dict[str, Any], folder: str, format: str = "auto") -> Iterator[example_lib.Example]:
  """The examples of one row. Raises BadRow."""
  if format in BY_NAME:
    yield BY_NAME[format](raw)
    return
  if format in _MANY:
    yield from _MANY[format](raw)
    return
  if format != "auto" and not any(all(key in raw for key in keys) for keys in formats.KEYS[format]):
    raise fields.BadRow(f"it lacks the keys of the format {format}: {formats.said()}")
  for example in formats.parse_all(raw, format):
    yield places.with_images(example, raw, folder)


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


def questions(path: str, begun: bool = False) -> dict[str, conversation.Conversation]:
  """What the rows of a file ask (see `question`), which is read as data files are, by file and line; says once which
  keys nothing reads.

  Raises InputError with file and line."""
  found: dict[str, conversation.Conversation] = {}
  unread: collections.Counter[str] = collections.Counter()
  (file, *more) = files(path)
  if more:
    raise errors.InputError(f"{path}: it is {len(more) + 1} files; prompts are one")
  for line, raw in containers.rows(file):
    try:
      asked, keys = _asked(raw, os.path.dirname(path), begun)
    except fields.BadRow as e:
      raise errors.InputError(f"{path}:{line}: {e}") from None
    found[f"{path}:{line}"] = asked
    unread.update(set(map(jsontext.line, keys)))
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
  answer = next((given for asked, given in formats.ASKS.items() if asked in raw and not formats.known(raw)), None)
  given = {
    key: value for key, value in raw.items() if key not in formats.PREFERENCES
  }  # both are answers: none is asked
  example = places.with_images(formats.parse(given if answer is None else {**given, answer: "-"}), raw, folder)
  if begun and answer is None and example.messages[-1]["role"] == "assistant":
    return dataclasses.replace(example.question, messages=example.messages), example.unread
  return example.question, example.unread


def object_of(raw: Any) -> dict[str, Any]:
  """The object of a raw row: itself, or that of JSON text. Raises BadRow."""
  if isinstance(raw, lines.Bad):
    raise fields.BadRow(raw.reason)
  if isinstance(raw, str):
    try:
      raw = jsontext.loads(raw)
    except ValueError as e:
      raise fields.BadRow(f"not JSON ({e})") from None
  if not isinstance(raw, dict):
    raise fields.BadRow(f"a row is an object, this one is {jsontext.name(raw)}")
  return raw
