"""Writing so that nothing half-written is ever found, and JSON in one style."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from typing import Any

import filelock

from itune_jax.core import errors


@contextlib.contextmanager
def locked(path: str):
  """Keeps other processes of this user on this machine out while something that all may want is made at `path`."""
  name = hashlib.sha256(f"{os.getuid()} {os.path.abspath(path)}".encode()).hexdigest()[:16]
  with filelock.FileLock(os.path.join(tempfile.gettempdir(), f"itune-{name}.lock")):
    yield


@contextlib.contextmanager
def whole_folder(folder: str):
  """Writes into a sibling and renames at the end: a folder is there whole or not at all.

  Raises RunError in one line when the disk refuses (full, read-only).
  """
  partial = folder.rstrip("/") + ".partial"
  try:
    shutil.rmtree(partial, ignore_errors=True)
    os.makedirs(partial)
    yield partial
    if os.path.isdir(folder):
      shutil.rmtree(folder)
    os.rename(partial, folder)
  except BaseException as e:
    shutil.rmtree(partial, ignore_errors=True)
    if isinstance(e, OSError):
      raise errors.RunError(f"{folder}: could not be written ({e.strerror or e}); nothing was left there") from None
    raise


def write_text(path: str, text: str) -> None:
  """Writes a file whole or not at all."""
  partial = f"{path}.{os.getpid()}.partial"
  try:
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(partial, "w", encoding="utf-8") as f:
      f.write(text)
    os.replace(partial, path)
  except OSError as e:
    with contextlib.suppress(OSError):
      os.remove(partial)
    raise errors.RunError(f"{path}: could not be written ({e.strerror or e})") from None


def write_json(path: str, value: Any) -> None:
  """Writes indented JSON."""
  write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str) -> Any:
  """Reads JSON. Raises InputError when the file is missing or malformed."""
  try:
    with open(path, encoding="utf-8") as f:
      return json.load(f)
  except (OSError, ValueError) as e:
    raise errors.InputError(f"{path}: not readable as JSON ({e})") from None


def sha256(path: str) -> str:
  """The SHA-256 of a file's bytes."""
  sha = hashlib.sha256()
  with open(path, "rb") as f:
    while block := f.read(1 << 22):
      sha.update(block)
  return sha.hexdigest()
