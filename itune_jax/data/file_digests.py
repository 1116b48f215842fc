"""What data files hold, as a number: a digest of their bytes, kept by their names, sizes and times.

So a file of 5 GB is read for its digest once. A file that was written less than two seconds ago may be written again
without its time telling so: of such a one nothing is kept.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Sequence

from itune_jax.core import digests
from itune_jax.core import errors
from itune_jax.core import files as files_lib
from itune_jax.core import log
from itune_jax.data.readers import readers
from itune_jax.data.readers import streams

_BLOCK = 1 << 20
_SETTLED = 2.0  # seconds since a file's last change, below which its time does not tell it from another one


def digest(about: bytes, files: Sequence[str]) -> str:
  """SHA-256 of what is said about files, and of their bytes behind it."""
  kept = _kept(about, files)
  if kept and not digests.verifies() and os.path.exists(kept):
    with contextlib.suppress(OSError), open(kept, encoding="utf-8") as f:
      return f.read()
  found = _hashed(about, files)
  if kept:
    _keep(kept, found, files)
  return found


def of_begin(about: bytes, file: str, size: int) -> str:
  """The digest that a file had when it was so many bytes, "" where these do not end with a line."""
  sha, left, last = hashlib.sha256(about), size, b""
  with readers.content(file) as f:
    while left and (block := f.read(min(_BLOCK, left))):
      sha.update(block)
      left, last = left - len(block), block[-1:]
  return sha.hexdigest() if last == b"\n" and not left else ""


def _hashed(about: bytes, files: Sequence[str]) -> str:
  sha = hashlib.sha256(about)
  for file in files:
    with readers.content(file) as f:
      while block := f.read(_BLOCK):
        sha.update(block)
  return sha.hexdigest()


def _kept(about: bytes, files: Sequence[str]) -> str:
  """Where the digest of these files is kept; "" where it cannot be."""
  folder = digests.kept_in()
  if not folder or any(file == streams.STDIN or files_lib.is_remote(file) for file in files):
    return ""
  try:
    stats = [(os.path.abspath(file), os.stat(file)) for file in files]
  except OSError:
    return ""  # it is said where the file is read
  if any(time.time() - s.st_mtime < _SETTLED for _, s in stats):
    return ""
  key = [about.decode(), [(path, s.st_size, s.st_mtime_ns, s.st_ino) for path, s in stats]]
  return os.path.join(folder, f"data-{hashlib.sha256(json.dumps(key).encode()).hexdigest()}")


def _keep(kept: str, found: str, files: Sequence[str]) -> None:
  if os.path.exists(kept):
    with open(kept, encoding="utf-8") as f:
      if f.read() != found:
        log.info(f"{', '.join(files)}: the bytes have changed, and size and time have not: they are other data now")
  with contextlib.suppress(errors.RunError, OSError):  # a full disk costs time, not the work
    files_lib.write_text(kept, found)
