"""How the judge and a program speak: values as JSON with tags, over two pipes, either side asking in turn.

Plain values of the builtin types travel as copies. Anything else stays where it is, and the other side holds its
number. Nothing that a program sends can name code to run: there is no pickle in this direction.
"""

import abc
from collections.abc import Callable, Iterable
import json
import operator
import os
from typing import Any

LARGEST = 256 * 2**20  # bytes of one message
_LENGTH = 8
_SEQUENCES: dict[str, Callable[[Iterable[Any]], Any]] = {"l": list, "t": tuple, "s": set, "z": frozenset}
_TAGS = {kind: tag for tag, kind in _SEQUENCES.items()}
MUTABLE = (list, dict, set, bytearray)

# What may be asked of an object that stayed on the other side: its operators, by the names of their methods.
BINARY = {
  **{name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge", "add", "sub", "mul", "matmul")},
  **{name: getattr(operator, name) for name in ("truediv", "floordiv", "mod", "pow", "lshift", "rshift", "xor")},
  "and": operator.and_,
  "or": operator.or_,
  "divmod": divmod,
  "getitem": operator.getitem,
  "delitem": operator.delitem,
  "contains": operator.contains,
  "instancecheck": lambda kind, value: isinstance(value, kind),
  "subclasscheck": lambda kind, value: issubclass(value, kind),
  "format": format,
}
UNARY: dict[str, Callable[[Any], Any]] = {
  **{name: getattr(operator, name) for name in ("neg", "pos", "abs", "invert", "index")},
  **{kind.__name__: kind for kind in (bool, int, float, complex, str, bytes)},
  **{one.__name__: one for one in (repr, hash, len, iter, next, reversed, round)},
}
REFLECTED = ("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift", "xor", "and", "or")


class Closed(BaseException):
  """The other side is gone. Not an `Exception`: tests that expect one do not take it for what they expect."""


def send(fd: int, message: Any) -> None:
  """Writes one message. Raises Closed when nobody can read it."""
  data = json.dumps(message).encode("ascii")
  view = memoryview(len(data).to_bytes(_LENGTH, "big") + data)
  try:
    while view:
      view = view[os.write(fd, view) :]
  except OSError as e:
    raise Closed(str(e)) from None


def receive(fd: int) -> Any:
  """Reads one message, and no byte behind it. Raises Closed at the end, and for what is no message."""
  length = int.from_bytes(_exactly(fd, _LENGTH), "big")
  if length > LARGEST:
    raise Closed(f"a message of {length} bytes")
  data = _exactly(fd, length)
  try:
    return json.loads(data)
  except (ValueError, RecursionError) as e:
    raise Closed(f"no message: {e}") from None


def _exactly(fd: int, count: int) -> bytes:
  parts = []
  while count:
    try:
      part = os.read(fd, min(count, 2**20))
    except OSError as e:
      raise Closed(str(e)) from None
    if not part:
      raise Closed("the end")
    parts.append(part)
    count -= len(part)
  return b"".join(parts)


class Peer(abc.ABC):
  """One of the two sides. While it waits for a reply it answers what it is asked, so calls may nest both ways."""

  def __init__(self, reads: int, writes: int):
    self._reads, self._writes = reads, writes
    self._kept: list[Any] = []  # objects of this side that the other one holds numbers of

  @abc.abstractmethod
  def other(self, value: Any) -> list[Any]:
    """A value that is not plain, as a message. Raises TypeError where it cannot travel."""

  @abc.abstractmethod
  def found(self, tag: str, rest: list[Any]) -> Any:
    """The value of a tag that only this side understands."""

  @abc.abstractmethod
  def handle(self, message: list[Any]) -> list[Any]:
    """The reply to a request: ["=", …] or ["!", …]."""

  def keep(self, value: Any) -> int:
    """Keeps an object of this side; returns its number."""
    self._kept.append(value)
    return len(self._kept) - 1

  def kept(self, number: int) -> Any:
    """The object of a number."""
    return self._kept[number]

  def ask(self, *message: Any) -> list[Any]:
    """Sends a request; returns the reply, and answers requests until it comes. Raises Closed."""
    send(self._writes, ["?", *message])
    while True:
      got = receive(self._reads)
      if got[0] != "?":
        return got
      send(self._writes, self.handle(got[1:]))

  def serve(self) -> None:
    """Answers requests until the other side is gone."""
    while True:
      send(self._writes, self.handle(receive(self._reads)[1:]))

  def encode(self, value: Any) -> Any:
    """A value as JSON."""
    kind = type(value)
    if value is None or kind in (bool, float):
      return value
    if kind is int:
      return value if abs(value) < 2**63 else ["i", hex(value)]
    if kind is str:
      return value if _is_text(value) else ["u", value.encode("utf-8", "surrogatepass").hex()]
    if kind in _TAGS:
      return [_TAGS[kind], *map(self.encode, value)]
    if kind is dict:
      return ["d", *([self.encode(key), self.encode(item)] for key, item in value.items())]
    if kind in (bytes, bytearray):
      return ["b" if kind is bytes else "y", value.hex()]
    if kind is complex:
      return ["c", value.real, value.imag]
    if kind in (range, slice):
      return [kind.__name__, *map(self.encode, (value.start, value.stop, value.step))]
    return self.other(value)

  def decode(self, data: Any) -> Any:
    """The value of its JSON."""
    if not isinstance(data, list):
      return data
    tag, *rest = data
    if tag in _SEQUENCES:
      return _SEQUENCES[tag](map(self.decode, rest))
    if tag == "d":
      return {self.decode(key): self.decode(item) for key, item in rest}
    if tag in _SIMPLE:
      return _SIMPLE[tag](*rest)
    if tag in ("range", "slice"):
      return (range if tag == "range" else slice)(*map(self.decode, rest))
    return self.found(tag, rest)


_SIMPLE: dict[str, Callable[..., Any]] = {
  "i": lambda text: int(text, 16),
  "u": lambda text: bytes.fromhex(text).decode("utf-8", "surrogatepass"),
  "b": bytes.fromhex,
  "y": bytearray.fromhex,
  "c": complex,
}


def _is_text(value: str) -> bool:
  try:
    value.encode()
  except UnicodeEncodeError:
    return False
  return True


def replace(old: Any, new: Any) -> None:
  """Makes a list, dict, set or bytearray hold what another one holds, in place."""
  old.clear()
  old.extend(new) if isinstance(old, (list, bytearray)) else old.update(new)
