"""Which system calls a program may make: a filter in the kernel's own small language (seccomp, BPF).

What is not allowed fails with EPERM, so a program sees a PermissionError and goes on, as under any lack of rights. Some
calls are allowed by their arguments: signals to oneself, threads but no processes, sockets in pairs but none that leads
anywhere.
"""

import ctypes
import errno
import os
import struct

from itune_jax.grading.sandbox import syscalls

_LOAD, _EQUAL, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x45, 0x54, 0x06
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_KNOWN = 470  # numbers above are of later kernels: the C library must see that they are not there
_GREATER = 0x25
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16

_CLONE_THREAD, _CLONE_NEW = 0x10000, 0x7E020000
_READ_MODE_TRUNCATE, _TRUNCATE = 0x203, 0x200
_WRITES = 0x243  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC
_PR_GET_SECCOMP, _PR_SET_SECCOMP, _FILTER = 21, 22, 2
_PR_NAMES = (15, 16)  # the name of a thread
_IOCTLS = (0x5450, 0x5451, 0x541B, 0x5421, 0x5401, 0x5413)  # close on exec, bytes to read, blocking, is it a terminal
_FCNTLS = (0, 1, 2, 3, 4, 5, 6, 7, 9, 36, 37, 38, 1030, 1032)  # not F_SETOWN, F_SETSIG: those send signals to others
_UNIX, _STREAM = 1, 1

Code = list[tuple[int, int, int, int]]


def available() -> bool:
  """Whether this machine's kernel has filters, and its calls are known here."""
  known = os.uname().machine in syscalls.MACHINES and os.uname().sysname == "Linux"
  return known and ctypes.CDLL(None).prctl(_PR_GET_SECCOMP, 0, 0, 0, 0) >= 0


def install(*, processes: bool, signals: bool, changes: bool) -> None:
  """Installs the filter for this process and what it starts; there is no way back. `no_new_privs` must be set.

  processes: it may make some. signals: it may send them to others, which something else keeps from those outside.
  changes: it may change files and folders, where something else says which. Raises OSError.
  """
  code = _code(os.uname().machine, os.getpid(), processes, signals, changes)
  data = b"".join(struct.pack("HBBI", *one) for one in code)
  buffer = ctypes.create_string_buffer(data, len(data))
  program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code), ctypes.addressof(buffer)), 16)
  libc = ctypes.CDLL(None, use_errno=True)
  zero = ctypes.c_ulong(0)
  if libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_FILTER), program, zero, zero):
    raise OSError(ctypes.get_errno(), f"seccomp: {os.strerror(ctypes.get_errno())}")


def _code(machine: str, own: int, processes: bool, signals: bool, changes: bool) -> Code:
  code: Code = [(_LOAD, 0, 0, _ARCHITECTURE_AT), (_EQUAL, 1, 0, _ARCHITECTURE[machine]), _end(errno.EPERM)]
  code += [(_LOAD, 0, 0, _NUMBER_AT), (_GREATER, 0, 1, _KNOWN), _end(errno.ENOSYS)]
  plain = [syscalls.PLAIN, *([syscalls.CHANGES] if changes else []), *([syscalls.PROCESSES] if processes else [])]
  looked = syscalls.numbers(syscalls.LOOKED_AT, machine)
  rules = {
    **{number: [_end()] for table in plain for number in syscalls.numbers(table, machine).values()},
    **{number: _look(name, own, processes, signals, changes) for name, number in looked.items()},
    **{number: [_end(errno.ENOSYS)] for number in syscalls.numbers(syscalls.ABSENT, machine).values()},
  }
  for number, rule in rules.items():
    code += [(_EQUAL, 0, len(rule), number), *rule]
  return [*code, _end(errno.EPERM)]


def _look(name: str, own: int, processes: bool, signals: bool, changes: bool) -> Code:
  """The rule of a call that is judged by its arguments; each ends by itself."""
  if name == "clone":
    none_new = [_argument(0), (_ANY_BIT, 0, 1, _CLONE_NEW), _end(errno.EPERM)]
    return [*none_new, _end()] if processes else [*none_new, (_ANY_BIT, 0, 1, _CLONE_THREAD), _end(), _end(errno.EPERM)]
  if name in ("open", "openat"):
    flags, bits, wrong = _argument(2 if name == "openat" else 1), _READ_MODE_TRUNCATE, _TRUNCATE
    if changes:  # Landlock looks at the mode; a file opened for reading can be cut all the same
      return [flags, (_AND, 0, 0, bits), (_EQUAL, 0, 1, wrong), _end(errno.EPERM), _end()]
    return [flags, (_ANY_BIT, 0, 1, _WRITES), _end(errno.EPERM), _end()]
  if name in ("kill", "tgkill"):
    return [_end()] if signals else _one_of(0, (own,), errno.EPERM)
  if name == "prlimit64":
    return _zero(2)
  if name == "sendto":
    return _zero(4)
  if name == "socketpair":
    stream = [_argument(1), (_AND, 0, 0, 0xF), (_EQUAL, 0, 1, _STREAM), _end(), _end(errno.EPERM)]
    return [_argument(0), (_EQUAL, 1, 0, _UNIX), _end(errno.EPERM), *stream]
  which, allowed, otherwise = {
    "prctl": (0, _PR_NAMES, errno.EPERM),
    "ioctl": (1, _IOCTLS, errno.ENOTTY),
    "fcntl": (1, _FCNTLS, errno.EPERM),
  }[name]
  return _one_of(which, allowed, otherwise)


def _one_of(which: int, allowed: tuple[int, ...], otherwise: int) -> Code:
  tests = [step for value in allowed for step in ((_EQUAL, 0, 1, value), _end())]
  return [_argument(which), *tests, _end(otherwise)]


def _zero(which: int) -> Code:
  """An argument, a pointer, is none."""
  low, high = _argument(which), (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * which + 4)
  return [low, (_EQUAL, 1, 0, 0), _end(errno.EPERM), high, (_EQUAL, 1, 0, 0), _end(errno.EPERM), _end()]


def _argument(which: int) -> tuple[int, int, int, int]:
  return (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * which)  # its low half: both machines are little-endian


def _end(error: int = 0) -> tuple[int, int, int, int]:
  return (_RETURN, 0, 0, _ERROR | error if error else _ALLOW)
