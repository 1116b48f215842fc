"""The side of the tests: runs them with names that stand for what a program defined, in another process.

No line of the program runs here, and no line of the tests is there. So what the tests compare, what they expect, and
the token that says that they ended are out of the program's reach, whatever it does to its own interpreter.
"""

import errno
import pickle
from typing import Any, NamedTuple

from itune_jax.grading.sandbox import program
from itune_jax.grading.sandbox import wire

# Modules that tests may find in a program's names: the judge's own are used.
MODULES = (
  "bisect", "cmath", "collections", "copy", "datetime", "decimal", "fractions", "functools", "hashlib", "heapq",
  "itertools", "json", "math", "operator", "random", "re", "statistics", "string", "time", "typing",
)  # fmt: skip
_REFUSED = {errno.EPERM, errno.EACCES, errno.EAGAIN, errno.EFBIG, errno.ENOSYS, errno.EROFS}
_BUILTIN = {
  kind.__name__: kind for kind in (bool, int, float, str, bytes, complex, list, tuple, dict, set, frozenset, bytearray)
}


class Verdict(NamedTuple):
  """passed, or one of wrong, memory, refused; and a line that says why."""

  verdict: str
  detail: str = ""


class Judge(wire.Peer):
  """Tests that ask a program."""

  def __init__(self, reads: int, writes: int):
    super().__init__(reads, writes)
    self.last_error: tuple[str, int] = ("", 0)  # of the program: class and error number
    self.gone = ""

  def wants(self, *message: Any, changes: tuple[Any, ...] = ()) -> Any:
    """What the program answers; arguments that it changed are changed here too. Raises what it raised, and Closed."""
    try:
      got = self.ask(*message)
    except wire.Closed as e:
      self.gone = str(e) or "the end"
      raise
    if got[0] != "=":
      kind, text, number = (*got[1:], "", "", 0)[:3]
      self.last_error = (str(kind), number if isinstance(number, int) else 0)
      raise program.raised(kind, text, self.last_error[1])
    for i, new in got[2]:
      wire.replace(changes[i], self.decode(new))
    return self.decode(got[1])

  def other(self, value: Any) -> list[Any]:
    """A stand-in goes home, a function gets a number, a value of the standard library is pickled."""
    if type(value) is Proxy:
      return ["m", object.__getattribute__(value, "_number")]
    if callable(value) and not isinstance(value, type):
      return ["o", self.keep(value)]
    return ["k", pickle.dumps(value).hex()]

  def found(self, tag: str, rest: list[Any]) -> Any:
    """A stand-in for an object of the program ("o"), a function of the tests ("m"), or a module."""
    if tag == "m":
      return self.kept(rest[0])
    if tag == "module":
      return __import__(rest[0]) if rest[0] in MODULES else Proxy(self, rest[1], "")
    if tag == "o":
      return Proxy(self, *rest)
    raise wire.Closed(f"unknown tag {tag!r}")

  def handle(self, message: list[Any]) -> list[Any]:
    """Calls a function of the tests; nothing else may be asked."""
    what, number, args, kwargs = message
    try:
      function = self.kept(number)
      if what != "call" or not callable(function):
        raise TypeError(f"tests take no {what!r}")
      return ["=", self.encode(function(*self.decode(args), **self.decode(kwargs))), []]
    except wire.Closed:
      raise
    except BaseException as e:  # goes to the program, whose business it is
      return ["!", *program.told(e)]


class Proxy:
  """Stands for an object of the program: operators, calls and attributes are done there."""

  def __init__(self, judge: Judge, number: int, base: str):
    for name, value in (("_judge", judge), ("_number", number), ("_base", base)):
      object.__setattr__(self, name, value)

  @property
  def __class__(self):
    """The builtin type that it derives from, for `isinstance`."""
    return _BUILTIN.get(object.__getattribute__(self, "_base"), Proxy)

  def __call__(self, *args: Any, **kwargs: Any) -> Any:
    judge = object.__getattribute__(self, "_judge")
    message = judge.encode(self), judge.encode(list(args)), judge.encode(kwargs)
    return judge.wants("call", *message, changes=(*args, *kwargs.values()))

  def __getattr__(self, name: str) -> Any:
    return _ask(self, "getattr", name)

  def __setattr__(self, name: str, value: Any) -> None:
    _ask(self, "setattr", name, value)

  def __delattr__(self, name: str) -> None:
    _ask(self, "delattr", name)

  def __setitem__(self, key: Any, value: Any) -> None:
    _ask(self, "getattr", "__setitem__")(key, value)

  def __format__(self, spec: str) -> str:
    return _ask(self, "format", spec, False)

  def __round__(self, *digits: Any) -> Any:
    return _ask(self, "round", *digits)


def _ask(proxy: Proxy, what: str, *values: Any) -> Any:
  judge = object.__getattribute__(proxy, "_judge")
  return judge.wants(what, *map(judge.encode, (proxy, *values)))


def _unary(name: str) -> Any:
  return lambda self: _ask(self, name)


def _binary(name: str, swapped: bool) -> Any:
  return lambda self, other: _ask(self, name, other, swapped)


for _name in wire.UNARY.keys() - {"round"}:
  setattr(Proxy, f"__{_name}__", _unary(_name))
for _name in wire.BINARY.keys() - {"format"}:
  setattr(Proxy, f"__{_name}__", _binary(_name, False))
for _name in wire.REFLECTED:
  setattr(Proxy, f"__r{_name}__", _binary(_name, True))


class Names(dict):
  """The names of the tests; what they do not define themselves, and the program does, is asked of it."""

  def __init__(self, judge: Judge, known: list[str]):
    super().__init__()
    self._judge, self._known = judge, frozenset(known)

  def __missing__(self, name: str) -> Any:
    if name not in self._known:
      raise KeyError(name)
    return self._judge.wants("get", name)


def judged(judge: Judge, tests: str) -> Verdict:
  """Runs the program, then its tests."""
  try:
    code = compile(tests, "<tests>", "exec", dont_inherit=True)
    exec(code, Names(judge, judge.wants("run")))
  except BaseException as e:  # SystemExit of a program too: it is no pass
    return _failed(judge, tests, e)
  return Verdict("wrong", f"it ended before its tests: {judge.gone}") if judge.gone else Verdict("passed")


def _failed(judge: Judge, tests: str, error: BaseException) -> Verdict:
  if isinstance(error, MemoryError):
    return Verdict("memory", "MemoryError")
  if isinstance(error, OSError) and judge.last_error[1] in _REFUSED:
    return Verdict("refused", f"{type(error).__name__}: {error}")
  line, trace = 0, error.__traceback__
  while trace:
    line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == "<tests>" else line
    trace = trace.tb_next
  lines = tests.splitlines()
  where = f", at {lines[line - 1].strip()[:200]}" if 0 < line <= len(lines) else ""
  return Verdict("wrong", f"{type(error).__name__}: {str(error)[:300]}{where}".replace("\n", " "))
