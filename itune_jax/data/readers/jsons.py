"""JSON as rows, streamed: lines with an object each, a list, an object, or the task file of Super-NaturalInstructions.

Of a list only the element that is being read is in memory. An element that is no JSON is delimited by its brackets, so
that those behind it are read.
"""

import codecs
import io
import json
import os
import re
from collections.abc import Iterator
from typing import Any

from itune_jax.core import jsontext
from itune_jax.data.readers import lines
from itune_jax.data.readers import streams

Found = Iterator[tuple[int | str, Any]]

_SPACE = re.compile(r"[ \t\r\n]*")
_UNDECODED = re.compile("[\udc80-\udcff]")
_STRUCTURE = re.compile(r'["\\\[\]{},]')


def of_lines(file: str) -> Found:
  """(line, text) of JSON lines; a list, or one object over many lines, is read under this name too."""
  with streams.opened(file) as f:
    streams.text_start(f, file)
    first, second = _beginning(f.peek(1))
    # Behind a bracket that opens a whole file no object begins a line of its own, unless it is the first of a list.
    broken = second.startswith(b"{") and (first == b"{" or (first.startswith(b"[") and first.endswith(b"]")))
    if (first == b"{" or first.startswith(b"[")) and not broken:
      yield from _whole(file, f)
    else:
      yield from _lines(f)


def _beginning(begun: bytes) -> list[bytes]:
  """The first two lines that say something."""
  told = [line.strip() for line in begun.splitlines() if line.strip()]
  return [*told, b"", b""][:2]


def of_whole(file: str) -> Found:
  """(where, text) of the rows of a list, an object, or of objects that stand one behind the other."""
  with streams.opened(file) as f:
    streams.text_start(f, file)
    yield from _whole(file, f)


def _lines(f: io.BufferedReader, before: int = 0) -> Found:
  for number, line in lines.of(f):
    if isinstance(line, lines.Bad):
      yield number + before, line
    elif line.strip(b"\0 \t\r\n"):
      yield number + before, lines.text(line)
    elif b"\0" in line:
      yield number + before, lines.Bad("it holds NUL bytes alone: what stood here was never written, or was erased")


def _whole(file: str, f: io.BufferedReader) -> Found:
  scanner = _Scanner(f, file)
  first = scanner.peek()
  if first == "[":
    yield from _elements(scanner, lambda value: value)
    if scanner.peek():
      raise streams.Broken(file, f"is not JSON (text behind the end of the list, in line {scanner.line})")
  elif first == "{":
    yield from _objects(scanner, file)
  elif first:
    value = scanner.value()
    said = (
      "what is no JSON" if isinstance(value, lines.Bad) or not _is_json(value) else jsontext.name(json.loads(value))
    )
    raise streams.Broken(file, f"cannot be read: it holds {said}, and not a list of rows, or one row")


def _elements(scanner: "_Scanner", made) -> Found:
  """The elements of a list."""
  scanner.take("[")
  number, before = 0, 0
  while (char := scanner.peek()) != "]":
    if not char:
      raise streams.Broken(scanner.file, f"is not JSON (its list does not end; {number} whole rows stand before)")
    number, line = number + 1, scanner.line
    yield (line if line > before else f"{line} (row {number})"), made(scanner.value())
    before = line
    if scanner.peek() == ",":
      scanner.take(",")
      if scanner.peek() == "]":
        raise streams.Broken(scanner.file, f"is not JSON (a comma before the end of its list, in line {scanner.line})")
    elif scanner.peek() not in ("]", ""):
      raise streams.Broken(scanner.file, f"is not JSON (a comma is missing behind row {number}, line {scanner.line})")
  scanner.take("]")


def _objects(scanner: "_Scanner", file: str) -> Found:
  """The rows of one object, or of several one behind the other; where the first is a line, lines follow."""
  while char := scanner.peek():
    if char != "{":
      raise streams.Broken(file, f"is not JSON (text behind an object, in line {scanner.line})")
    begun = scanner.line
    yield from _object(scanner, file, begun)
    ended = scanner.line
    if scanner.peek() and begun == ended < scanner.line:
      yield from _lines(scanner.remaining(), scanner.line - 1)
      return


def _object(scanner: "_Scanner", file: str, line: int) -> Found:
  """An object as a row, or the instances of a task file as rows. Raises Broken where it is no object."""
  scanner.take("{")
  pairs: list[str] = []
  size = 0
  streamed = False
  while (char := scanner.peek()) != "}":
    if pairs or streamed:
      if char != ",":
        raise streams.Broken(file, f"is not JSON (a comma or the end of an object is missing in line {scanner.line})")
      scanner.take(",")
    key = scanner.value() if scanner.peek() == '"' else lines.Bad("no key")
    if isinstance(key, lines.Bad) or not _is_json(key) or scanner.peek() != ":":
      raise streams.Broken(file, f"is not JSON (a key is missing in line {scanner.line})")
    scanner.take(":")
    if key == '"Instances"' and scanner.peek() == "[":
      streamed = True
      yield from _instances(scanner, pairs, file)
      continue
    value = scanner.value()
    if isinstance(value, lines.Bad):
      raise streams.Broken(file, value.reason)
    if not _is_json(value):
      raise streams.Broken(file, f"is not JSON ({_fault(value)}, before the end of line {scanner.line})")
    pairs.append(f"{key}: {value}")
    size += len(value)
    if size > streams.MAX_ROW:
      raise streams.Broken(file, lines.too_large(size).reason)
  scanner.take("}")
  if not streamed:
    yield line, "{" + ", ".join(pairs) + "}"


def _instances(scanner: "_Scanner", pairs: list[str], file: str) -> Found:
  """The instances of a task of Super-NaturalInstructions, each with the definition, which may stand behind them."""
  task = jsontext.loads("{" + ", ".join(pairs) + "}")
  if "Definition" not in task:
    task["Definition"] = _definition(file)
  name = os.path.basename(file).split(".")[0]

  def made(value):
    if isinstance(value, lines.Bad):
      return value
    try:
      instance = jsontext.loads(value)
    except ValueError as e:
      return lines.Bad(f"not JSON ({e})")
    own = instance if isinstance(instance, dict) else {"instance": instance}
    return {"Definition": task["Definition"] or "", **own, "task": name}

  yield from _elements(scanner, made)


def _definition(file: str) -> Any:
  """The definition of a task file that has it behind its instances, which are passed over."""
  with streams.opened(file) as f:
    streams.text_start(f, file)
    scanner = _Scanner(f, file)
    scanner.peek()
    scanner.take("{")
    while scanner.peek() not in ("}", ""):
      key, char = scanner.value(), scanner.peek()
      if char != ":":
        return None
      scanner.take(":")
      if key == '"Instances"' and scanner.peek() == "[":
        for _ in _elements(scanner, lambda value: None):
          pass
        if scanner.peek() == ",":
          scanner.take(",")
        continue
      scanner.peek()
      value = scanner.value()
      if scanner.peek() == ",":
        scanner.take(",")
      if key == '"Definition"' and isinstance(value, str) and _is_json(value):
        return jsontext.loads(value)
  return None


def _is_json(text: str) -> bool:
  return not _fault(text)


def _fault(text: str) -> str:
  try:
    jsontext.loads(text)
  except ValueError as e:
    return str(e)
  return ""


class _Scanner:
  """Walks over values of a JSON text of which a window is in memory."""

  def __init__(self, f: io.BufferedReader, file: str):
    self.file, self._f = file, f
    self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    self._json = json.JSONDecoder()
    self._text, self._at, self._ended = "", 0, False
    self.line = 1

  def peek(self) -> str:
    """The next character behind white space, "" at the end."""
    while True:
      match = _SPACE.match(self._text, self._at)
      end = match.end() if match else self._at
      self._go(end)
      if end < len(self._text):
        return self._text[end]
      if not self._more(1 << 16):
        return ""

  def take(self, char: str) -> None:
    """Goes behind a character that `peek` found."""
    assert self._text[self._at] == char
    self._at += 1

  def value(self) -> "str | lines.Bad":
    """The text of the value that begins here; to the end of its brackets where it is no JSON."""
    while True:
      try:
        _, end = self._json.raw_decode(self._text, self._at)
        if end < len(self._text) or self._ended:
          return self._as_text(self._taken(end))
      except json.JSONDecodeError as e:
        cut = e.pos >= len(self._text) - 16 or e.msg.startswith("Unterminated")
        if self._ended or not cut:
          return self._balanced()
      except (RecursionError, ValueError):  # too deep, or a whole number of too many digits
        return self._balanced()
      if len(self._text) - self._at > streams.MAX_ROW:
        return self._balanced()
      self._more(max(1 << 16, len(self._text) - self._at))

  def remaining(self) -> io.BufferedReader:
    """What follows, as bytes."""
    head = self._text[self._at :].encode("utf-8", "surrogateescape") + self._decoder.getstate()[0]
    return io.BufferedReader(_Behind(head, self._f), 1 << 18)

  def _balanced(self) -> "str | lines.Bad":
    """The text up to where the brackets that open here are closed."""
    pieces, size, depth, quoted = [], 0, 0, False
    at = self._at
    while True:
      match = _STRUCTURE.search(self._text, at)
      if match is None or (match[0] == "\\" and match.end() == len(self._text) and not self._ended):
        end = len(self._text) if match is None else match.start()
        piece = self._taken(end)
        size += len(piece)
        pieces = [*pieces, piece] if size <= streams.MAX_ROW else []
        if not self._more(1 << 16):
          break
        at = self._at
        continue
      at, char = match.end(), match[0]
      if quoted:
        at += char == "\\"
        quoted = char != '"'
      elif char == '"':
        quoted = True
      elif char in "[{":
        depth += 1
      elif char in "]}" and depth:
        depth -= 1
        if not depth:
          pieces.append(self._taken(at))
          break
      elif char in "],}" and not depth:
        pieces.append(self._taken(match.start()))
        break
    size = size + len(pieces[-1]) if pieces else size
    return lines.too_large(size) if size > streams.MAX_ROW else self._as_text("".join(pieces))

  def _as_text(self, text: str) -> "str | lines.Bad":
    """The text, unless it holds bytes that are no UTF-8, which stand in the window as halves of surrogate pairs."""
    if len(text) > streams.MAX_ROW:
      return lines.too_large(len(text))
    if text.isascii() or not _UNDECODED.search(text):
      return text
    return lines.text(text.encode("utf-8", "surrogateescape"))

  def _taken(self, end: int) -> str:
    start = self._at
    self._go(end)
    return self._text[start:end]

  def _go(self, end: int) -> None:
    self.line += self._text.count("\n", self._at, end)
    self._at = end

  def _more(self, size: int) -> bool:
    """Reads on; the window forgets what lies behind."""
    if self._ended:
      return False
    data = self._f.read(size)
    self._ended = len(data) < size
    self._text, self._at = self._text[self._at :] + self._decoder.decode(data, self._ended), 0
    return bool(data)


class _Behind(io.RawIOBase):
  """Bytes, and a file behind them."""

  def __init__(self, head: bytes, f: io.BufferedReader):
    super().__init__()
    self._head, self._f = head, f

  def readable(self) -> bool:
    return True

  def readinto(self, buffer) -> int:
    data = self._head[: len(buffer)] or self._f.read1(len(buffer))
    self._head = self._head[len(data) :] if self._head else b""
    buffer[: len(data)] = data
    return len(data)
