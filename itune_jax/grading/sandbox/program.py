"""The side of a program: runs its source, then does what the judge asks of the names that it defined.

All of this lives in the process of the code that is judged, which can change it as it likes: whatever it answers is an
answer like any other, that the tests look at elsewhere.
"""

import builtins
import pickle
from typing import Any

from itune_jax.grading.sandbox import wire

_BASES = (bool, int, float, str, bytes, complex, list, tuple, dict, set, frozenset, bytearray)
_MODULE = type(builtins)


class Program(wire.Peer):
  """A program that answers its judge."""

  def __init__(self, source: str, reads: int, writes: int):
    super().__init__(reads, writes)
    self._source = source
    self._globals: dict[str, Any] = {}

  def other(self, value: Any) -> list[Any]:
    """Its number, and which builtin type it derives from; a module by its name."""
    if isinstance(value, Told):
      return ["m", value.number]
    if type(value) is _MODULE:
      return ["module", value.__name__, self.keep(value)]
    base = next((one.__name__ for one in type(value).__mro__ if one in _BASES), "")
    return ["o", self.keep(value), base]

  def found(self, tag: str, rest: list[Any]) -> Any:
    """An object of its own ("m"), a function of the tests ("o"), or a value of the standard library ("k")."""
    if tag == "m":
      return self.kept(rest[0])
    if tag == "o":
      return Told(self, rest[0])
    return pickle.loads(bytes.fromhex(rest[0]))  # the judge's, whom a program may trust

  def handle(self, message: list[Any]) -> list[Any]:
    """Does what is asked: run, get a name, an operator, a call, or an attribute."""
    what, *rest = message
    try:
      values = [self.decode(one) for one in rest]
      before = [self._seen(one) for one in _mutable(what, values)]
      result = self._do(what, values)
      changed = [
        [i, new]
        for i, (old, one) in enumerate(zip(before, _mutable(what, values), strict=True))
        if old is not None and (new := self._seen(one)) != old
      ]
      return ["=", self._result(result), changed]
    except wire.Closed:
      raise
    except BaseException as e:  # a program may raise anything, SystemExit too
      return ["!", *told(e)]

  def _do(self, what: str, values: list[Any]) -> Any:
    if what == "run":
      exec(compile(self._source, "<program>", "exec", dont_inherit=True), self._globals)
      return [name for name in self._globals if name != "__builtins__"]
    if what == "get":
      return self._globals[values[0]]
    if what == "call":
      return values[0](*values[1], **values[2])
    if what in _ATTRIBUTES:
      return _ATTRIBUTES[what](*values)
    if what in wire.BINARY:
      left, right, swapped = values
      return wire.BINARY[what](right, left) if swapped else wire.BINARY[what](left, right)
    return wire.UNARY[what](*values)

  def _result(self, value: Any) -> Any:
    try:
      return self.encode(value)
    except RecursionError:  # it holds itself, or is nested too deeply: it stays here
      return self.other(value)

  def _seen(self, value: Any) -> Any:
    try:
      return self.encode(value) if type(value) in wire.MUTABLE else None
    except RecursionError:
      return None


_ATTRIBUTES = {"getattr": getattr, "setattr": setattr, "delattr": delattr}


class Told:
  """A function of the tests: calling it runs it there."""

  def __init__(self, program: Program, number: int):
    self._program, self.number = program, number

  def __call__(self, *args: Any, **kwargs: Any) -> Any:
    """What the tests' function returns. Raises RuntimeError with the words of what it raised."""
    program = self._program
    got = program.ask("call", self.number, program.encode(list(args)), program.encode(kwargs))
    if got[0] == "=":
      return program.decode(got[1])
    raise raised(*got[1:])


def _mutable(what: str, values: list[Any]) -> list[Any]:
  """What a call may change in place: its arguments."""
  return [*values[1], *values[2].values()] if what == "call" else []


def told(error: BaseException) -> tuple[str, str, int]:
  """An exception in words: the builtin class that it derives from, its text, its error number."""
  kinds = [kind.__name__ for kind in type(error).__mro__ if vars(builtins).get(kind.__name__) is kind]
  number = error.errno if isinstance(error, OSError) and isinstance(error.errno, int) else 0
  try:
    text = str(error)[:2000].removeprefix(f"[Errno {number}] ")
  except BaseException:  # its own __str__
    text = ""
  return kinds[0], text, number


def raised(kind: Any, text: Any, number: Any) -> BaseException:
  """The exception of its words."""
  found = vars(builtins).get(kind)
  if not (isinstance(found, type) and issubclass(found, BaseException)):
    return RuntimeError(text)
  try:
    return found(number, text) if number and issubclass(found, OSError) else found(text)
  except TypeError:  # a class that wants more than a text, such as UnicodeDecodeError
    return ValueError(text) if issubclass(found, ValueError) else RuntimeError(text)
