"""The bytes of data files: on disk, on standard input, or behind fsspec; unpacked where they are compressed.

How a file is compressed is told by its first bytes (gzip, zstd, bzip2, xz), never by its name. A file that unpacks to
far more than it weighs is refused where that is seen: no disk and no memory is filled by it.
"""

import atexit
import bz2
import contextlib
import functools
import gzip
import io
import lzma
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.core import lazy
from itune_jax.core import files as files_lib

fsspec_core = lazy.module("fsspec.core")
zstandard = lazy.module("zstandard")

STDIN = "-"
MAX_ROW = 64 << 20  # bytes of one row: what is larger is no conversation, and is left out by name
RATIO, FREE = 250, 64 << 20  # so many times its weight a file may unpack to, and this much in any case
_BLOCK = 1 << 18
_MAGIC = {b"\x1f\x8b\x08": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}
_ARCHIVES = {b"PK\x03\x04": "zip", b"PK\x05\x06": "zip", b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!\x1a\x07": "rar"}
_MARKS = {b"\xff\xfe\x00\x00": "UTF-32", b"\x00\x00\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
# The same without a mark: which of the first four bytes are not zero, where the text begins as JSON and tables do.
_UNMARKED = {(0, 2): "UTF-16LE", (1, 3): "UTF-16BE", (0,): "UTF-32LE", (3,): "UTF-32BE"}
_TABLES = {b"PAR1": "Parquet", b"ARROW1": "Arrow"}
_PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "s3": "s3fs", "s3a": "s3fs", "hf": "huggingface_hub"}


_reading: dict[str, Callable[[], int]] = {}  # of files that are open, how far they are read


def position(file: str) -> int | None:
  """How many bytes of a file that is open have been read, as they lie there; None of one that is not."""
  return _reading[file]() if file in _reading else None


class Broken(errors.InputError):
  """A file that cannot be read on. `reason` says why; rows that were read before it are whole."""

  def __init__(self, file: str, reason: str):
    super().__init__(f"{file}: {reason}")
    self.file, self.reason = file, reason


def remote(path: str) -> tuple[Any, str]:
  """The file system of fsspec behind a path, and the path in it. Raises InputError in one line where it is missing."""
  protocol = path.partition("://")[0]
  if "::" in path:
    raise errors.InputError(f"{path}: chained protocols are not read; name the file itself")
  try:
    return fsspec_core.url_to_fs(path)
  except ImportError:
    package = _PACKAGES.get(protocol, f"the package of fsspec for {protocol}://")
    raise errors.InputError(f"{path}: {protocol}:// needs {package}: pip install {package}") from None
  except Exception as e:  # file systems of others raise what they like: an unknown protocol, missing credentials
    raise errors.InputError(f"{path}: cannot be reached ({jsontext.said(e)})") from None


def raw(file: str) -> IO[bytes]:
  """The bytes of a file as they lie there. Raises InputError."""
  if files_lib.is_remote(file):
    system, inside = remote(file)
    try:
      return system.open(inside, "rb")
    except Exception as e:  # see `remote`
      raise Broken(file, f"cannot be read ({jsontext.said(e)})") from None
  try:
    return open(file, "rb")  # noqa: SIM115  # closed by the caller
  except OSError as e:
    raise Broken(file, f"cannot be read ({files_lib.said(e)})") from None


@functools.cache
def standard_input() -> str:
  """A file with what stands on standard input, which can be read once: it is there until the process ends."""
  if sys.stdin is None or sys.stdin.closed:
    raise Broken(STDIN, "standard input is closed: pipe the rows into the command")
  handle, path = tempfile.mkstemp(prefix="itune-stdin-")
  atexit.register(_removed, path)
  with open(handle, "wb") as f:
    shutil.copyfileobj(sys.stdin.buffer, f, _BLOCK)
  return path


def _removed(path: str) -> None:
  with contextlib.suppress(OSError):
    os.remove(path)


@contextlib.contextmanager
def opened(file: str, is_plain: Callable[[bytes], bool] = lambda start: False) -> Iterator[io.BufferedReader]:
  """The unpacked bytes of a file. Raises Broken, also from within: for a compressed file that ends too early, one that
  unpacks to more than it may, an archive, and a pointer of Git LFS.

  is_plain: whether the first bytes are of a container whose own begin may look like a compressed file's.
  """
  try:
    with contextlib.closing(raw(file)) as f:
      start = f.read(64)
      f.seek(0)
      _reading[file] = f.tell
      _require_data(file, start)
      kind = None if is_plain(start) else compression(start)
      stream: Any = _Unpacked(_OPENED[kind](f), f.tell) if kind else f
      with contextlib.closing(io.BufferedReader(stream, _BLOCK)) as buffered:
        yield buffered
  except Broken:
    raise
  except _TooMuch:
    raise Broken(
      file,
      f"unpacks to more than {RATIO} times its weight, which no text of people does: unpack it, look at it, and name "
      "what it holds",
    ) from None
  except (OSError, EOFError, zlib.error, lzma.LZMAError) as e:
    raise Broken(file, f"cannot be read ({jsontext.said(e)})") from None
  finally:
    _reading.pop(file, None)


@contextlib.contextmanager
def seekable(file: str) -> Iterator[IO[bytes]]:
  """The same for containers that are read from their end: what is compressed is unpacked into a temporary file."""
  with opened(file) as f:
    if not isinstance(f.raw, _Unpacked):
      yield f
      return
    with tempfile.TemporaryFile() as whole:
      shutil.copyfileobj(f, whole, _BLOCK)
      whole.seek(0)
      yield whole


def compression(start: bytes) -> str | None:
  """How a file that begins so is compressed."""
  return next((name for magic, name in _MAGIC.items() if start.startswith(magic)), None)


def text_start(f: io.BufferedReader, file: str) -> None:
  """Goes behind the mark that some editors write in front of UTF-8. Raises Broken for those of other encodings, and for
  what is no text: tables that have the name of one, and what was compressed twice."""
  start = f.peek(8)[:8]
  encoding = next((name for mark, name in _MARKS.items() if start.startswith(mark)), "")
  encoding = encoding or _UNMARKED.get(tuple(i for i, byte in enumerate(start[:4]) if byte), "")
  if encoding and len(start) >= 4:
    raise Broken(file, f"is {encoding} text: save it as UTF-8 (iconv -f {encoding} -t UTF-8)")
  if table := next((name for magic, name in _TABLES.items() if start.startswith(magic)), ""):
    raise Broken(file, f"holds {table}, and no text: give it the ending of that")
  if twice := compression(start):
    raise Broken(file, f"is compressed twice: unpack the {twice} data within it")
  if start.startswith(b"\xef\xbb\xbf"):
    f.read(3)


def _require_data(file: str, start: bytes) -> None:
  for magic, name in _ARCHIVES.items():
    if start.startswith(magic):
      raise Broken(file, f"is a {name} archive: unpack it, and name what it holds")
  if start.startswith(b"version https://git-lfs.github.com/spec/v1"):
    raise Broken(file, f"is {files_lib.POINTER}")


class _TooMuch(Exception):
  """More was unpacked than a file of this weight may hold."""


class _Unpacked(io.RawIOBase):
  """The unpacked bytes, weighed against what was read for them."""

  def __init__(self, inner: Any, weight: Callable[[], int]):
    super().__init__()
    self._inner, self._weight, self._count = inner, weight, 0

  def readable(self) -> bool:
    return True

  def readinto(self, buffer) -> int:
    data = self._inner.read1(len(buffer))  # no more than is there: what stands before a break is whole
    self._count += len(data)
    if self._count > FREE and self._count > RATIO * self._weight():
      raise _TooMuch
    buffer[: len(data)] = data
    return len(data)


class _Zstd(io.RawIOBase):
  """Frames of zstd, one behind the other; a frame that does not end is an error, which zstandard's reader lets pass."""

  def __init__(self, f: IO[bytes]):
    super().__init__()
    self._f, self._frame, self._left, self._ready = f, None, b"", b""

  def readable(self) -> bool:
    return True

  def read1(self, size: int) -> bytes:
    """Up to so many bytes, b"" at the end."""
    return self.read(size) or b""

  def readinto(self, buffer) -> int:
    while not self._ready:
      data = self._left or self._f.read(1024)  # a block of 128 KiB weighs four bytes at least: 32 MiB at most at once
      self._left = b""
      if not data:
        if self._frame is not None:
          raise EOFError("it ended within a frame of zstd")
        return 0
      if self._frame is None:
        self._frame = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
      try:
        self._ready = self._frame.decompress(data)
      except zstandard.ZstdError as e:
        raise OSError(f"no zstd: {e}") from None
      if self._frame.eof:
        self._left, self._frame = self._frame.unused_data, None
    count = min(len(buffer), len(self._ready))
    buffer[:count], self._ready = self._ready[:count], self._ready[count:]
    return count


_OPENED: dict[str, Callable[[Any], Any]] = {
  "gzip": lambda f: gzip.GzipFile(fileobj=f, mode="rb"),
  "bzip2": bz2.BZ2File,
  "xz": lzma.LZMAFile,
  "zstd": _Zstd,
}
