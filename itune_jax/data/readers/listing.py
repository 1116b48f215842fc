"""The data files behind a path: a file, a folder, a glob pattern, a folder of Hugging Face's `datasets`, or "-"."""

import glob
import os
import posixpath
import re
from collections.abc import Callable, Collection
from typing import Any

from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.core import files as files_lib
from itune_jax.data.readers import streams

_SHARD = re.compile(r"^(.+?)-\d{5}-of-\d{5}(?=[.-]|$)")  # the hub puts a digest behind
# What `datasets` and the hub write beside rows: JSON files that hold none.
_ABOUT = frozenset(["dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "croissant.json"])
_SPLIT = re.compile(r"^(train|training|test|testing|valid|validation|val|dev|eval)(?=\.)", re.IGNORECASE)


def files(path: str, is_data: Callable[[str], bool], says: str) -> list[str]:
  """The data files behind a path, in order of name. is_data: whether a file's name is that of one; says: which are.

  Raises InputError when there are none, one is of a kind that is not read, or a folder holds several splits."""
  if path == streams.STDIN:
    return [path]
  if files_lib.is_remote(path):
    return _remote(path, is_data, says)
  if os.path.isdir(path):
    names = os.listdir(path)
    return [os.path.join(path, name) for name in _of_folder(path, names, is_data, says)]
  # `**` finds folders beside the files in them
  found = (
    [path]
    if os.path.exists(path)
    else [one for one in sorted(glob.glob(path, recursive=True)) if not os.path.isdir(one)]
  )
  return _require(path, found, is_data, says)


def _remote(path: str, is_data, says: str) -> list[str]:
  system, inside = streams.remote(path)
  try:
    if system.isdir(inside):
      names = [posixpath.basename(name.rstrip("/")) for name in system.ls(inside, detail=False)]
      return [posixpath.join(path, name) for name in _of_folder(path, names, is_data, says)]
    found = [path] if system.exists(inside) else [system.unstrip_protocol(name) for name in sorted(system.glob(inside))]
  except errors.InputError:
    raise
  except Exception as e:  # file systems of others raise what they like
    raise errors.InputError(f"{path}: cannot be reached ({jsontext.said(e)})") from None
  return _require(path, found, is_data, says)


def _require(path: str, found: list[str], is_data, says: str) -> list[str]:
  if not found:
    raise errors.InputError(f"{path}: no such file, and no data files ({says}) behind it")
  for file in found:
    if not is_data(file):
      raise errors.InputError(f"{file}: data files are {says}; write its rows as JSON lines, one object a line")
  return found


def _of_folder(folder: str, names: Collection[str], is_data, says: str) -> list[str]:
  """The names of the data files of a folder, relative to it."""
  if "dataset_dict.json" in names:
    return _one_split(folder, sorted(_splits(folder)), is_data, says)
  if "state.json" in names and "dataset_info.json" in names:
    return _saved(folder)
  holds_rows = lambda name: is_data(name) and not name.startswith(".") and name not in _ABOUT
  found = sorted(filter(holds_rows, names))
  if not found and "data" in names and _isdir(folder, "data"):  # as the hub has it
    inner = sorted(filter(holds_rows, _names(folder, "data")))
    _require_one_split(f"{folder.rstrip('/')}/data", inner)
    found = [posixpath.join("data", name) for name in inner]
  _require_one_split(folder, found)
  if not found:
    others = sorted({os.path.splitext(name)[1] or name for name in names})[:5]
    raise errors.InputError(
      f"{folder}: no data files ({says}) in this folder; it holds {', '.join(others) or 'nothing'}"
    )
  return found


def _require_one_split(folder: str, names: Collection[str]) -> None:
  """Shards of several names are several splits, and so are files that are called as splits are: one of them is for
  training, and another may be for testing."""
  for kind, behind, what in ((_SHARD, "-*", "shards of "), (_SPLIT, ".*", "the splits ")):
    splits = sorted({found[1] for name in names if (found := kind.match(posixpath.basename(name)))})
    if len(splits) > 1:
      raise errors.InputError(
        f"{folder} holds {what}{', '.join(splits[:6])}: name one of them, as {folder.rstrip('/')}/{splits[0]}{behind}"
      )


def _splits(folder: str) -> list[str]:
  splits = _json(folder, "dataset_dict.json").get("splits")
  if not isinstance(splits, list) or not splits or not all(isinstance(one, str) for one in splits):
    raise errors.InputError(f"{folder}/dataset_dict.json: it names no `splits`")
  return splits


def _one_split(folder: str, splits: list[str], is_data, says: str) -> list[str]:
  if len(splits) > 1:
    raise errors.InputError(
      f"{folder} holds the splits {', '.join(splits)}: name one of them, as {folder.rstrip('/')}/{splits[0]}"
    )
  inside(folder, splits[0])
  names = _names(folder, splits[0])
  found = _of_folder(f"{folder.rstrip('/')}/{splits[0]}", names, is_data, says)
  return [posixpath.join(splits[0], name) for name in found]


def _saved(folder: str) -> list[str]:
  """The files of a data set that `save_to_disk` wrote, in the order of its state."""
  given = _json(folder, "state.json").get("_data_files")
  names = [one.get("filename") if isinstance(one, dict) else None for one in given] if isinstance(given, list) else []
  if not names or not all(isinstance(name, str) and name for name in names):
    raise errors.InputError(f"{folder}/state.json: it names no `_data_files`")
  for name in names:
    inside(folder, str(name))
    if not _exists(f"{folder.rstrip('/')}/{name}"):
      raise errors.InputError(f"{folder}/state.json: it names {name}, which is not there")
  return [str(name) for name in names]


def inside(folder: str, name: str) -> None:
  """Raises InputError for a path that leads out of the folder that names it."""
  if os.path.isabs(name) or posixpath.normpath(name).startswith(".."):
    raise errors.InputError(f"{folder}: it names {jsontext.shown(name)}, which lies outside of it")


def _json(folder: str, name: str) -> dict[str, Any]:
  path = f"{folder.rstrip('/')}/{name}"
  if not files_lib.is_remote(path):
    return files_lib.read_object(path)
  with streams.raw(path) as f:
    try:
      found = jsontext.loads(f.read().decode())
    except ValueError as e:
      raise errors.InputError(f"{path}: not readable as JSON ({jsontext.said(e)})") from None
  if not isinstance(found, dict):
    raise errors.InputError(f"{path}: a JSON object is expected, this is {jsontext.name(found)}")
  return found


def _exists(path: str) -> bool:
  if not files_lib.is_remote(path):
    return os.path.exists(path)
  system, there = streams.remote(path)
  return system.exists(there)


def _names(folder: str, name: str) -> list[str]:
  path = f"{folder.rstrip('/')}/{name}"
  try:
    if not files_lib.is_remote(path):
      return os.listdir(path)
    system, there = streams.remote(path)
    return [posixpath.basename(one.rstrip("/")) for one in system.ls(there, detail=False)]
  except OSError as e:
    raise errors.InputError(f"{path}: cannot be read ({files_lib.said(e)})") from None


def _isdir(folder: str, name: str) -> bool:
  path = f"{folder.rstrip('/')}/{name}"
  if not files_lib.is_remote(path):
    return os.path.isdir(path)
  system, there = streams.remote(path)
  return system.isdir(there)
