"""What a checkpoint says of itself (meta.json), read through one door: half of it, or of another kind, is refused."""

from collections.abc import Callable, Mapping, Sequence
import os
from typing import Any

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import jsontext

FILE, ARRAYS = "meta.json", "arrays"


def _is_list(kind: type) -> Callable[[Any], bool]:
  return lambda value: isinstance(value, list) and all(isinstance(one, kind) for one in value)


def _is_number(value: Any) -> bool:
  return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_table(of: Callable[[Any], bool]) -> Callable[[Any], bool]:
  return lambda value: isinstance(value, Mapping) and all(map(of, value.values()))


def _is_log(value: Any) -> bool:
  """[[step, {name: figure}], …], as sources of batches keep it."""
  pair = lambda one: isinstance(one, list) and len(one) == 2 and type(one[0]) is int and _is_table(_is_number)(one[1])
  return isinstance(value, list) and all(map(pair, value))


def _is_source(value: Any) -> bool:
  if not isinstance(value, Mapping) or not all(_is_log(value[key]) for key in ("rates", "figures") if key in value):
    return False
  return "grain" not in value or isinstance(value["grain"], Mapping)


def _are_modules(value: Any) -> bool:
  """What the user's own modules are remembered by."""
  is_text = lambda one, key: isinstance(one.get(key), str)
  whole = lambda one: isinstance(one, Mapping) and all(is_text(one, key) for key in ("module", "path", "role"))
  return isinstance(value, list) and all(map(whole, value))


_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
  "step": (lambda value: type(value) is int and value >= 0, "a number of steps"),
  "names": (_is_list(str), "a list of names"),
  "files": (_is_table(lambda value: type(value) is int), "sizes by file"),
  "sums": (_is_table(lambda value: type(value) is int), "checksums by name"),
  "metrics": (_is_table(_is_number), "figures by name"),
  "source": (_is_source, "where its source of batches was"),
  "run": (lambda value: isinstance(value, str), "text"),
  "base": (lambda value: isinstance(value, str), "text"),
  "base_digest": (lambda value: isinstance(value, str), "text"),
  "model": (lambda value: isinstance(value, Mapping), "an object"),
  "rendering": (lambda value: isinstance(value, Mapping), "an object"),
  "methods": (_is_list(dict), "a list of methods"),
  "imports": (_are_modules, "a list of modules, each with name, file and role"),
}


def read(folder: str, needed: Sequence[str] = ()) -> dict[str, Any]:
  """The meta.json of a checkpoint. needed: keys that must be there.

  Raises InputError, naming the key, for a file that is missing or damaged, and for one of another checkpoint.
  """
  path = os.path.join(folder, FILE)
  meta = files.read_object(path)
  for key in needed:
    if key not in meta:
      raise errors.InputError(f"{path}: {key} is missing: the checkpoint is damaged, or none of this project")
  for key, (fits, say) in _KINDS.items():
    if key in meta and not fits(meta[key]):
      raise errors.InputError(f"{path}: {key} is {jsontext.shown(meta[key])}, not {say}: the checkpoint is damaged")
  name = os.path.basename(folder.rstrip("/"))
  if is_step(name) and int(name) != meta.get("step", int(name)):
    raise errors.InputError(f"{path}: is of step {meta['step']}: the folder holds files of another checkpoint")
  return meta


def require_files(folder: str, meta: Mapping[str, Any]) -> None:
  """Raises InputError where a file of its arrays is missing or cut: a store that is read half would say so in the words
  of all its threads. Earlier versions did not say which files there are."""
  there = files.sizes(os.path.join(folder, ARRAYS)) if meta.get("files") else {}
  for name, nbytes in meta.get("files", {}).items():
    if there.get(name) != nbytes:
      what = f"has {there[name]:,} bytes, not {nbytes:,}" if name in there else "is missing"
      raise errors.InputError(
        f"{folder}: {ARRAYS}/{name} {what}: files are damaged or not all there; copy it anew, or remove this folder to "
        "go on from the checkpoint before"
      )


def is_step(name: str) -> bool:
  """Whether a folder of checkpoints has this name for one of them."""
  return name.isascii() and name.isdecimal() and f"{int(name):06d}" == name
