"""Which files a program may open: Landlock, a part of the kernel since Linux 5.13, by its three system calls."""

from collections.abc import Iterable
import ctypes
import os
import struct

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # on every architecture
_READ, _EXECUTE, _IN_FOLDER = 0b1100, 0b1, 0b11111111110000
# What a file, rather than a folder, can be given: to run, to write, to read, to cut, to control a device.
_OF_FILES = 0b1100000000000111
_NETWORK, _SCOPES = 0b11, 0b11  # TCP both ways; abstract sockets and signals
_SCOPED_ABI, _NETWORK_ABI = 6, 4


def abi() -> int:
  """The version of Landlock here; 0 where there is none."""
  return max(0, ctypes.CDLL(None, use_errno=True).syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(1)))


def scopes_signals() -> bool:
  """Whether Landlock keeps signals inside."""
  return abi() >= _SCOPED_ABI


def restrict(reads: Iterable[str], writes: Iterable[str], runs: bool) -> None:
  """Leaves this process, and what it starts, the right to read some paths and to do all in others; to run what may be
  read, where `runs`. Paths that are not there are passed over: a machine need not have /usr/local/lib.

  Raises OSError. `no_new_privs` must be set.
  """
  version, libc = abi(), ctypes.CDLL(None, use_errno=True)
  handled = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
  attributes = struct.pack("<Q", handled)
  attributes += struct.pack("<Q", _NETWORK) if version >= _NETWORK_ABI else b""
  attributes += struct.pack("<Q", _SCOPES) if version >= _SCOPED_ABI else b""
  rules = _called(libc, _CREATE, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0))
  for path, rights in (
    *((path, _READ | (_EXECUTE if runs else 0)) for path in reads),
    *((path, 0b10 | _READ | _IN_FOLDER | 1 << 14 | (_EXECUTE if runs else 0)) for path in writes),
  ):
    _allow(libc, rules, path, rights & handled)
  _called(libc, _RESTRICT, ctypes.c_int(rules), ctypes.c_uint(0))
  os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: str, rights: int) -> None:
  try:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
  except FileNotFoundError:
    return
  rights = rights if os.path.isdir(path) else rights & _OF_FILES
  _called(libc, _ADD, ctypes.c_int(rules), ctypes.c_int(1), struct.pack("<Qi", rights, fd), ctypes.c_uint(0))
  os.close(fd)


def _called(libc: ctypes.CDLL, *arguments: object) -> int:
  result = libc.syscall(*arguments)
  if result < 0:
    raise OSError(ctypes.get_errno(), f"Landlock: {os.strerror(ctypes.get_errno())}")
  return result
