"""Writing so that nothing half-written is ever found, and JSON in one style. Paths may be gs:// (etils.epath).

On a disk a file or folder appears by a rename. A bucket knows none, but an object there appears whole: folders count by
their marker, which is written last.
"""

import contextlib
import hashlib
import os
import re
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator
from typing import IO, Any

from etils import epath
import filelock

from itune_jax.core import errors
from itune_jax.core import jsontext


@contextlib.contextmanager
def locked(path: str):
  """Keeps other processes of this user on this machine out while something that all may want is made at `path`."""
  name = hashlib.sha256(f"{os.getuid()} {os.path.abspath(path)}".encode()).hexdigest()[:16]
  with filelock.FileLock(os.path.join(tempfile.gettempdir(), f"itune-{name}.lock")):
    yield


def is_remote(path: str) -> bool:
  """Whether a path is in a bucket."""
  return "://" in path


def absolute(path: str) -> str:
  """The path from the root; one in a bucket is that already."""
  return path if is_remote(path) else os.path.abspath(path)


def exists(path: str) -> bool:
  """Whether there is a file or folder."""
  return epath.Path(path).exists()


def is_file(path: str) -> bool:
  """Whether there is a file, and no folder."""
  return epath.Path(path).is_file()


def names(folder: str) -> list[str]:
  """What a folder holds, sorted; nothing when it is not there."""
  path = epath.Path(folder)
  return sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []


def sizes(folder: str) -> dict[str, int]:
  """The bytes of each file of a folder and of those in it, by its path from there."""
  found: dict[str, int] = {}
  for name in sorted(names(folder)):
    path = epath.Path(folder) / name
    if path.is_dir():
      found |= {f"{name}/{inner}": nbytes for inner, nbytes in sizes(str(path)).items()}
    else:
      found[name] = path.stat().length
  return found


def opened(path: str, mode: str = "r") -> IO[Any]:
  """An open file, text in UTF-8."""
  if is_remote(path):
    return epath.Path(path).open(mode)
  return open(path, mode, encoding=None if "b" in mode else "utf-8")  # noqa: SIM115  # closed by the caller


def remove(path: str) -> None:
  """Removes a file."""
  epath.Path(path).unlink()


def remove_folder(folder: str) -> None:
  """Removes a folder and what it holds, if it is there."""
  if is_remote(folder):
    if exists(folder):
      epath.Path(folder).rmtree()
  else:
    shutil.rmtree(folder, ignore_errors=True)


def make_folder(folder: str) -> None:
  """Makes a folder and those above it."""
  epath.Path(folder).mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def whole_folder(folder: str, marker: str = "", goes_on: bool = False) -> Iterator[str]:
  """Writes into a folder aside that takes this one's place at the end: it is there whole or not at all.

  In a bucket the files are copied when all are there, `marker` last. goes_on: what a process left aside that was killed
  or interrupted is kept, and found by the next one. Raises RunError in one line when the disk refuses (full,
  read-only).
  """
  remote = is_remote(folder)
  left, partial = False, tempfile.mkdtemp() if remote else _aside(folder, goes_on)
  try:
    os.makedirs(partial, exist_ok=remote or goes_on)
    yield partial
    if remote:
      _copy_up(partial, folder, marker)
    else:
      shutil.rmtree(folder, ignore_errors=True)
      os.rename(partial, folder)
  except OSError as e:
    raise errors.RunError(f"{folder}: could not be written ({e.strerror or e}); nothing was left there") from None
  except (KeyboardInterrupt, SystemExit, errors.RunError):  # such as a worker that was killed: the next run goes on
    left = goes_on and not remote
    raise
  finally:
    if not left:
      shutil.rmtree(partial, ignore_errors=True)


def _aside(folder: str, goes_on: bool) -> str:
  """The folder aside: of one that goes on the name is known, of others it is nobody else's, so that no file of a user's
  is ever taken for it. What killed processes of this machine left of theirs is removed."""
  folder = folder.rstrip("/")
  if goes_on:
    return f"{folder}.partial"
  above, name = os.path.split(os.path.abspath(folder))
  mine = hashlib.sha256(f"{socket.gethostname()} {os.getuid()}".encode()).hexdigest()[:8]
  kind = re.compile(rf"{re.escape(name)}\.{mine}-(\d+)-[0-9a-f]{{8}}\.partial")
  for found in filter(None, map(kind.fullmatch, names(above))):
    if not _lives(int(found[1])):
      shutil.rmtree(os.path.join(above, found[0]), ignore_errors=True)
  return f"{folder}.{mine}-{os.getpid()}-{uuid.uuid4().hex[:8]}.partial"


def _lives(process: int) -> bool:
  """Whether a process of this machine is there."""
  try:
    os.kill(process, 0)
  except ProcessLookupError:
    return False
  except OSError:
    return True
  return True


def _copy_up(aside: str, folder: str, marker: str) -> None:
  if marker and exists(os.path.join(folder, marker)):
    remove(os.path.join(folder, marker))  # first: a half-removed folder does not count
  remove_folder(folder)
  found = [os.path.relpath(os.path.join(at, name), aside) for at, _, each in os.walk(aside) for name in each]
  for name in sorted(found, key=lambda name: (name == marker, name)):
    make_folder(os.path.dirname(os.path.join(folder, name)))
    with open(os.path.join(aside, name), "rb") as source, opened(os.path.join(folder, name), "wb") as target:
      shutil.copyfileobj(source, target)


def require_room(folder: str, nbytes: int) -> None:
  """Raises RunError unless the disk of a folder has so many bytes left: before work that would end on a full disk."""
  free = shutil.disk_usage(folder).free
  if free < nbytes:
    raise errors.RunError(f"{folder}: {nbytes / 2**20:,.0f} MiB are needed, and {free / 2**20:,.0f} MiB are free")


def require_writable(path: str) -> None:
  """Raises InputError for a file that could not be written: before the work whose result it holds."""
  if is_remote(path):
    return
  above = os.path.dirname(os.path.abspath(path))
  while not os.path.lexists(above):
    above = os.path.dirname(above)
  wrong = "it is a folder" if os.path.isdir(path) else "" if os.path.isdir(above) else f"{above} is no folder"
  if wrong or not os.access(above, os.W_OK | os.X_OK):
    raise errors.InputError(f"{path}: cannot be written: {wrong or f'{above} may not be written into'}")


def write_text(path: str, text: str) -> None:
  """Writes a file whole or not at all."""
  if is_remote(path):
    make_folder(os.path.dirname(path))
    epath.Path(path).write_text(text)
    return
  partial = f"{path}.{os.getpid()}-{uuid.uuid4().hex[:8]}.partial"
  try:
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(partial, "w", encoding="utf-8") as f:
      f.write(text)
    os.replace(partial, path)
  except OSError as e:
    raise errors.RunError(f"{path}: could not be written ({e.strerror or e})") from None
  finally:
    with contextlib.suppress(OSError):  # it is there only where the file is not
      os.remove(partial)


def write_json(path: str, value: Any) -> None:
  """Writes indented JSON."""
  write_text(path, jsontext.dumps(value, indent=2) + "\n")


POINTER = "a Git LFS pointer, not the file itself: run `git lfs pull` in its folder, or download it anew"


def is_pointer(path: str) -> bool:
  """Whether Git LFS left its pointer here in place of a large file."""
  with opened(path, "rb") as f:
    return f.read(42) == b"version https://git-lfs.github.com/spec/v1"


def read_json(path: str) -> Any:
  """Reads JSON. Raises InputError when the file is missing, malformed, or names a key of an object twice."""
  try:
    with opened(path) as f:
      return jsontext.loads(f.read())
  except (OSError, ValueError, RecursionError) as e:
    pointer = exists(path) and not isinstance(e, OSError) and is_pointer(path)
    raise errors.InputError(f"{path}: {POINTER if pointer else f'not readable as JSON ({said(e)})'}") from None


def said(error: BaseException) -> str:
  """What an error says, without the path that the message names already."""
  return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def read_object(path: str) -> dict[str, Any]:
  """Reads a JSON object. Raises InputError when the file is missing, malformed, or holds something else."""
  found = read_json(path)
  if not isinstance(found, dict):
    raise errors.InputError(f"{path}: a JSON object is expected, this is {type(found).__name__}")
  return found


def sha256(path: str) -> str:
  """The SHA-256 of a file's bytes."""
  sha = hashlib.sha256()
  with open(path, "rb") as f:
    while block := f.read(1 << 22):
      sha.update(block)
  return sha.hexdigest()
