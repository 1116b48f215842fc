"""Lines of a file as bytes, each with its number; one that is too long to be a row is told, and not held in memory."""

import codecs
import io
from collections.abc import Iterator
from typing import NamedTuple

from itune_jax.data.readers import streams


class Bad(NamedTuple):
  """Stands for a row that is none; the reason says why."""

  reason: str


def too_large(size: int) -> Bad:
  """What is said of a row of so many bytes."""
  return Bad(f"a row of {size / 2**20:,.0f} MiB; rows of up to {streams.MAX_ROW >> 20} MiB are read")


def of(f: io.BufferedReader) -> Iterator[tuple[int, bytes | Bad]]:
  """(number, line without its end) of every line. Ends of lines are \\n, \\r\\n, and a \\r alone."""
  number = 0
  while line := f.readline(streams.MAX_ROW + 1):
    if len(line) > streams.MAX_ROW and not line.endswith(b"\n"):
      number += 1
      yield number, too_large(_skip(f, len(line)))
      continue
    line = line[:-1] if line.endswith(b"\n") else line
    line = line[:-1] if line.endswith(b"\r") else line
    for piece in line.split(b"\r") if b"\r" in line else (line,):
      number += 1
      yield number, piece


def _skip(f: io.BufferedReader, size: int) -> int:
  """Goes behind the end of this line; returns its whole length."""
  while more := f.readline(streams.MAX_ROW):
    size += len(more)
    if more.endswith(b"\n"):
      break
  return size


def text(line: bytes) -> str | Bad:
  """A line as text, without the mark that files begin with where these were put one behind the other; or what is wrong
  with its bytes."""
  line = line.removeprefix(codecs.BOM_UTF8)
  if b"\0" in line:  # which no text of JSON holds
    return Bad("it holds NUL bytes: it is no UTF-8 text, or was not written to its end")
  try:
    return line.decode()
  except UnicodeDecodeError as e:
    return Bad(
      f"it is not UTF-8 (byte 0x{line[e.start]:02x} at column {e.start + 1}): save the file as UTF-8 (iconv -t UTF-8)"
    )
