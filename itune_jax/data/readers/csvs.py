"""Tables of text as rows: CSV, and the same with tabs. Quoted as RFC 4180 has it; the first line names the columns.

A cell is text. In the columns that hold lists, objects, numbers or truth values in the other containers it is JSON, and
is read as such; an empty cell says nothing.
"""

import csv
import re
from collections.abc import Iterator
from typing import Any

from itune_jax.core import jsontext
from itune_jax.data.readers import jsons
from itune_jax.data.readers import lines
from itune_jax.data.readers import streams

# Columns whose values are no text in the other containers.
STRUCTURED = {
  *("messages", "conversations", "conversation", "tools", "scores", "check", "template_kwargs", "history", "instances"),
  *("label", "labels", "kto_tag", "margin", "completions", "responses"),
  *("score", "score_chosen", "score_rejected", "chosen_score", "rejected_score"),
  *("chosen_rating", "rejected_rating", "chosen-rating", "rejected-rating"),
  *("rewards_armorm", "rewards", "ratings"),
}
_EITHER = {"source", "prompt", "completion", "chosen", "rejected", "reference", "output"}  # text, a list or an object
_UNDECODED = re.compile("[\udc80-\udcff]")


def commas(file: str) -> jsons.Found:
  """(line, row) of a CSV file. Raises Broken."""
  return _rows(file, ",")


def tabs(file: str) -> jsons.Found:
  """(line, row) of a TSV file. Raises Broken."""
  return _rows(file, "\t")


def _rows(file: str, delimiter: str) -> jsons.Found:
  csv.field_size_limit(streams.MAX_ROW)  # the interpreter's own limit is 128 KiB, which a long answer is beyond
  with streams.opened(file) as f:
    streams.text_start(f, file)
    if f.peek(1).lstrip()[:1] in (b"{", b"["):
      raise streams.Broken(file, "holds JSON, and no table: give it the ending .jsonl, or .json")
    given: Any = csv.reader(_decoded(f), delimiter=delimiter, strict=True)
    header, before = None, 0
    while True:
      try:
        cells = next(given)
      except StopIteration:
        return
      except csv.Error as e:
        if header is None:
          raise streams.Broken(file, f"its first line names no columns ({_reason(e)})") from None
        where, before = before + 1, given.line_num
        last = f" to {before}" if before > where else ""
        yield where, lines.Bad(f"lines {where}{last} are no row ({_reason(e)})" if last else _said(e))
        continue
      where, before = before + 1, given.line_num
      if header is None:
        header = _header(file, cells, delimiter) if cells else None
      elif cells:
        yield where, _row(header, cells)


def _said(error: csv.Error) -> str:
  return f"it is no row of the table ({_reason(error)})"


def _reason(error: csv.Error) -> str:
  return jsontext.said(error)


def _header(file: str, cells: list[str], delimiter: str) -> list[str]:
  """The names of the columns; one without a name, such as a table's index has, goes by its number."""
  names = [cell.strip() or f"column {i + 1}" for i, cell in enumerate(cells)]
  twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
  if twice is not None:
    raise streams.Broken(file, f"its first line names the column {jsontext.shown(twice)} twice")
  if _UNDECODED.search("".join(names)) or "\0" in "".join(names):
    raise streams.Broken(file, "its first line is not UTF-8: save it as UTF-8")
  other = "\t" if delimiter == "," else ","
  if len(names) == 1 and any(char in names[0] for char in (other, ";")):
    raise streams.Broken(file, f"its columns are not parted by {delimiter!r}: {jsontext.shown(names[0])}")
  return names


def _row(header: list[str], cells: list[str]) -> dict[str, Any] | lines.Bad:
  if len(cells) != len(header):
    return lines.Bad(f"it has {len(cells)} cells, and the first line names {len(header)} columns")
  row: dict[str, Any] = {}
  for name, cell in zip(header, cells, strict=True):
    if not cell.isascii() and _UNDECODED.search(cell):
      return lines.Bad(f"the cell of `{name}` is not UTF-8: save the file as UTF-8")
    if "\0" in cell:
      return lines.Bad(f"the cell of `{name}` holds NUL bytes")
    row[name] = _value(name, cell)
  return row


def _value(name: str, cell: str) -> Any:
  if name in STRUCTURED or (name in _EITHER and cell[:1] in ("[", "{")):
    if not cell.strip():
      return None
    if name in ("label", "kto_tag") and cell.strip().lower() in ("true", "false"):
      return cell.strip().lower() == "true"
    try:
      return jsontext.loads(cell)
    except ValueError:
      return cell  # text, which the schema refuses by name where it must be something else
  return cell


def _decoded(f: Any) -> Iterator[str]:
  """Lines with their ends (also a carriage return alone) as text for the reader of tables; bytes that are no UTF-8 are
  kept, so that their row can be named."""
  begun = b""  # of a line that may go on, where carriage returns end lines
  while line := f.readline(streams.MAX_ROW + 1):
    line = begun + line
    if line.find(b"\r") in (-1, len(line) - 2 if line.endswith(b"\r\n") else -1):
      begun = b""
      yield line.decode("utf-8", "surrogateescape")
      continue
    pieces = line.splitlines(keepends=True)
    begun = b"" if line.endswith(b"\n") else pieces.pop()
    for piece in pieces:
      yield piece.decode("utf-8", "surrogateescape")
  if begun:
    yield begun.decode("utf-8", "surrogateescape")
