"""Checkpoints of the trainable tree: written aside, committed last, found only when whole.

    checkpoints/000040/arrays/    Orbax: trainable parameters, optimizer state, step, key, constants of adapters
    checkpoints/000040/meta.json  names and checksums of the arrays, feed position, base, methods, metrics
    checkpoints/000040/COMMITTED  written last; a folder without it does not exist for readers

The base is not saved again: an adapter's checkpoint is megabytes.
"""

from collections.abc import Mapping, Sequence
import contextlib
import dataclasses
import functools
import os
import re
import threading
import types
from typing import Any, Literal

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import jsontext
from itune_jax.core import log
from itune_jax.core import ranges
from itune_jax.parallel import hosts
from itune_jax.train import checkpoint_meta
from itune_jax.train import state as state_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Keep:
  """Which checkpoints stay: the last so many, and the best by a metric of the evaluators.

  mode: which of its values are best; what the metric itself says unless given.

  every: steps between two checkpoints, 0 for one at the end alone. last: how many of the newest stay. best: how many
  of the best by `metric` stay beside them. metric: a figure of the evaluators, "" for none.
  """

  every: ranges.NonNegativeInt = 100
  last: ranges.PositiveInt = 2
  best: ranges.NonNegativeInt = 1
  metric: str = ""
  mode: Literal["", "min", "max"] = ""

  def __post_init__(self):
    check.check_types(self)
    check.require(
      self.every >= 0 and self.last >= 1, f"Keep(every={self.every}, last={self.last}): every >= 0, last >= 1"
    )


@functools.partial(jax.tree_util.register_dataclass, data_fields=("state", "constants", "used"), meta_fields=())
@dataclasses.dataclass(frozen=True)
class _Saved:
  state: state_lib.State
  constants: dict[str, Any]
  used: dict[str, Any] = dataclasses.field(default_factory=dict)  # the result, where it is another than what trains


class Checkpointer:
  """Saves, finds and restores checkpoints of one run directory.

  Saving goes on behind training: arrays are copied to the host at once and written by threads of Orbax, and a thread
  of the lead process commits when they are whole. In several processes every one calls the same methods.
  """

  def __init__(self, run_dir: str, keep: Keep, identity: Mapping[str, Any], constants: Mapping[str, Any] | None = None):
    """constants: arrays that do not train, and that no one could draw again (frozen random bases, say)."""
    self.folder, self._keep, self._identity = os.path.join(run_dir, "checkpoints"), keep, dict(identity)
    self._constants = dict(constants or {})
    self._orbax = ocp.StandardCheckpointer()
    self._writing: threading.Thread | None = None
    self._failed: BaseException | None = None

  def belong_to(self, run: str) -> None:
    """Names the run: its checkpoints say so, and `restore` refuses those of another."""
    self._identity["run"] = run

  def save(
    self,
    step: int,
    state: state_lib.State,
    metrics: Mapping[str, float],
    source: Mapping[str, Any] = types.MappingProxyType({}),
    used: Mapping[str, Any] = types.MappingProxyType({}),
  ) -> str:
    """Begins one checkpoint; when it is whole, old ones are pruned. Raises RunError in one line if the disk refuses.

    source: what the source of batches needs to go on, beside their number. used: what those who read the adapter get in
    place of what trains.
    """
    self.finish()
    folder = os.path.join(files.absolute(self.folder), f"{step:06d}")
    names, leaves = _flatten(_Saved(state, self._constants, dict(used)))
    if jax.default_backend() == "cpu":  # the host's copy would be the state's own memory, and the next step takes that
      leaves = jax.tree.map(jnp.copy, leaves)
    meta = {"step": step, "batches_consumed": step, "source": dict(source), "names": names, "metrics": dict(metrics)}
    meta |= self._identity
    with _one_line(folder):
      meta["sums"] = {name: int(value) for name, value in zip(names, _sums(leaves).values(), strict=True)}
      if log.is_lead():
        files.remove_folder(folder)
        files.make_folder(folder)
      hosts.barrier(f"save {step}")
      self._orbax.save(os.path.join(folder, checkpoint_meta.ARRAYS), leaves)
    self._writing = threading.Thread(target=self._commit, args=(folder, meta), name="checkpoint")
    self._writing.start()
    return folder

  def finish(self) -> None:
    """Waits for the checkpoint that is being written. Raises RunError if it could not be."""
    if self._writing is not None:
      self._writing.join()
      self._writing = None
    if self._failed is not None:
      failed, self._failed = self._failed, None
      raise failed

  def _commit(self, folder: str, meta: Mapping[str, Any]) -> None:
    try:
      with _one_line(folder):
        self._orbax.wait_until_finished()
        if log.is_lead():
          sizes = files.sizes(os.path.join(folder, checkpoint_meta.ARRAYS))
          files.write_json(os.path.join(folder, checkpoint_meta.FILE), {**meta, "files": sizes})
          files.write_text(os.path.join(folder, "COMMITTED"), "")
      if log.is_lead():
        self._prune()
    except BaseException as e:  # raised again by finish()
      self._failed = e

  def latest(self) -> str | None:
    """The newest committed checkpoint, the same for every process, or None."""
    found = committed(self.folder)
    step = hosts.agreed(int(os.path.basename(found[-1])) if found else -1)
    return os.path.join(self.folder, f"{step:06d}") if step >= 0 else None

  def restore(self, folder: str, like: state_lib.State) -> tuple[state_lib.State, dict[str, Any]]:
    """The state of a checkpoint and its constants (later ones keep them), on the shardings of `like` and of this run's.

    Raises InputError naming what differs when it is of another model, other methods or another base.
    """
    meta = checkpoint_meta.read(folder, ("base", "base_digest", "names"))
    if meta["base_digest"] != self._identity["base_digest"]:
      raise errors.InputError(
        f"{folder} was trained on another base model: {meta['base']} there, {self._identity['base']} here"
      )
    here = self._identity.get("run", "")
    if here and meta.get("run", here) != here:  # those of earlier versions do not say
      raise errors.InputError(
        f"{folder} is a checkpoint of another run ({meta['run']} there, {here} here): move it out of the run directory"
      )
    used = like.trainable if any(name.startswith(".used[") for name in meta["names"]) else {}
    found = restore(folder, _Saved(like, self._constants, dict(used)))
    self._constants = found.constants
    return found.state, found.constants

  def source_state(self, folder: str) -> dict[str, Any]:
    """What the source of batches needs to go on from a checkpoint; nothing in those of earlier versions."""
    return checkpoint_meta.read(folder).get("source", {})

  def _prune(self) -> None:
    found = committed(self.folder)
    stay = set(found[-self._keep.last :])
    if self._keep.metric:
      score = {f: checkpoint_meta.read(f, ("metrics",))["metrics"].get(self._keep.metric) for f in found}
      ranked = sorted(
        (f for f in found if score[f] is not None), key=lambda f: score[f], reverse=self._keep.mode == "max"
      )
      stay |= set(ranked[: self._keep.best])
    for folder in found:
      if folder not in stay:
        files.remove(os.path.join(folder, "COMMITTED"))  # first: a half-removed folder is no checkpoint
        files.remove_folder(folder)


@contextlib.contextmanager
def _one_line(folder: str):
  """Turns what a disk may raise into one line, and leaves nothing behind."""
  try:
    yield
  except (OSError, ValueError, errors.RunError) as e:
    files.remove_folder(folder)
    raise errors.RunError(f"{folder}: the checkpoint could not be written ({e}); free some space and resume") from None


def committed(folder: str) -> list[str]:
  """Committed checkpoints of a folder, oldest first."""
  found = sorted(filter(checkpoint_meta.is_step, files.names(folder)), key=int)
  return [os.path.join(folder, f) for f in found if files.exists(os.path.join(folder, f, "COMMITTED"))]


def restore(folder: str, like: Any) -> Any:
  """Arrays of a checkpoint in the structure, dtypes and shardings of `like`. Raises InputError on a mismatch."""
  meta = checkpoint_meta.read(folder, ("names",))
  names, leaves = _flatten(like)
  if names != meta["names"]:
    differ = sorted(set(names) ^ set(meta["names"]))
    raise errors.InputError(f"{folder} holds other parameters than this run: {', '.join(differ[:4])}")
  checkpoint_meta.require_files(folder, meta)
  abstract = {k: jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=v.sharding) for k, v in leaves.items()}
  with _readable(folder):
    found = ocp.StandardCheckpointer().restore(os.path.join(files.absolute(folder), checkpoint_meta.ARRAYS), abstract)
  for name, (key, leaf) in zip(names, leaves.items(), strict=True):
    if found[key].shape != leaf.shape:
      raise errors.InputError(f"{folder}: {name} has shape {found[key].shape} there and {leaf.shape} here")
  _check_sums(folder, meta, dict(zip(names, found.values(), strict=True)))
  return _unflatten(like, found)


@contextlib.contextmanager
def _readable(folder: str):
  """Turns whatever Orbax raises of files that are missing or damaged into one line."""
  try:
    yield
  except errors.InputError as e:
    raise errors.InputError(f"{folder}: {e}") from None
  except Exception as e:  # errors of the system, of JSON, of the store, of its own
    raise errors.InputError(
      f"{folder}: its arrays cannot be read ({jsontext.said(e)}): files are damaged or not all there; copy it anew, or "
      "remove this folder to go on from the checkpoint before"
    ) from None


def _check_sums(folder: str, meta: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
  """Raises InputError for arrays, by name, that are not what was saved. Earlier versions saved no checksums."""
  if "sums" not in meta or not arrays:
    return
  for name, total in _sums(dict(arrays)).items():
    if int(total) != meta["sums"].get(name):
      raise errors.InputError(
        f"{folder}: {name} is not what was saved (its checksum differs): the files are damaged; remove this folder to "
        "resume from the checkpoint before"
      )


def save_trainable(
  folder: str, trainable: Mapping[str, Any], identity: Mapping[str, Any], constants: Mapping[str, Any]
) -> None:
  """A checkpoint of parameters alone, for models that were changed outside the loop."""
  names, leaves = _flatten({"trainable": dict(trainable), "constants": dict(constants)})
  names = [re.sub(r"^\['(\w+)'\]", r".\1", name) for name in names]
  sums = dict(zip(names, map(int, _sums(leaves).values()), strict=True)) if leaves else {}
  with files.whole_folder(folder, marker="COMMITTED") as partial:
    if leaves:
      saver = ocp.StandardCheckpointer()
      saver.save(os.path.join(files.absolute(partial), checkpoint_meta.ARRAYS), leaves)
      saver.wait_until_finished()
    own = {"step": 0, "names": names, "sums": sums, "metrics": {}}
    own["files"] = files.sizes(os.path.join(partial, checkpoint_meta.ARRAYS)) if leaves else {}
    files.write_json(os.path.join(partial, checkpoint_meta.FILE), {**own, **identity})
    files.write_text(os.path.join(partial, "COMMITTED"), "")


def require_whole(folder: str, like: Mapping[str, Any]) -> None:
  """Raises InputError where a checkpoint has trained arrays that a model, by the names in `like`, has no place for."""
  names = checkpoint_meta.read(folder, ("names",))["names"]
  known = {f".trainable['{name}']" for name in like}
  if left := sorted(name for name in names if name.startswith(".trainable[") and name not in known):
    raise errors.InputError(
      f"{folder}: {left[0]} was trained, and its methods have no place for it: {checkpoint_meta.FILE} is damaged, or "
      "of another checkpoint"
    )


def restore_trainable(folder: str, like: Mapping[str, Any]) -> dict[str, Any]:
  """Parameters that train, and constants of adapters, by the names in `like`: for warm starts, evaluation, export."""
  meta = checkpoint_meta.read(folder, ("names",))
  checkpoint_meta.require_files(folder, meta)
  by_name = stored(folder, meta["names"], like) if meta["names"] and like else {}
  found, used = {}, {}
  for name, value in like.items():
    places = (f"{kind}['{name}']" for kind in (".used", ".trainable", ".constants"))
    place = next((place for place in places if place in by_name), "")
    array = by_name.get(place)
    if array is None or array.shape != value.shape:
      there = "is missing" if array is None else f"has shape {array.shape}"
      raise errors.InputError(
        f"{folder}: {name} {there}; this model expects {value.shape}. It is a checkpoint of another model or method"
      )
    used[place] = array
    found[name] = jax.device_put(array.astype(value.dtype), value.sharding)
  _check_sums(folder, meta, used)
  return found


def stored(folder: str, names: Sequence[str], like: Mapping[str, Any]) -> dict[str, Any]:
  """All arrays of a checkpoint, wherever it was saved: parameters and their moments where `like` has them."""
  path, saver = os.path.join(files.absolute(folder), checkpoint_meta.ARRAYS), ocp.StandardCheckpointer()
  with _readable(folder):
    shapes = _shapes(saver.metadata(path).item_metadata, names)
  mesh = next(iter(like.values())).sharding.mesh
  target = {}
  for i, (name, array) in enumerate(zip(names, shapes, strict=True)):
    own = (v.sharding for n, v in like.items() if f"['{n}']" in name and v.shape == tuple(array.shape))
    where = next(own, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
    target[f"{i:05d}"] = jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=where)
  with _readable(folder):
    found = saver.restore(path, target)
  return {name: found[f"{i:05d}"] for i, name in enumerate(names)}


def _shapes(metadata: Any, names: Sequence[str]) -> list[Any]:
  """Shapes of the arrays of a checkpoint, in the order of their names. Raises InputError where there are others."""
  tree = None if metadata is None else metadata.tree
  if not isinstance(tree, Mapping):
    raise errors.InputError("no arrays are there")
  check.require(len(tree) == len(names), f"{len(names)} arrays are named, and {len(tree)} are there")
  return [tree[f"{i:05d}"] for i in range(len(names))]


def checksums(arrays: Any) -> dict[str, int]:
  """A checksum of each array of a tree by its name: the same on any mesh, another for other bits or places."""
  names, leaves = _flatten(arrays)
  return dict(zip(names, map(int, jax.device_get(list(_sums(leaves).values()))), strict=True))


@jax.jit
def _sums(leaves):
  """Checksums of arrays, by bits and place: integer sums, so the same on any mesh."""

  def one(x):
    bits = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[x.dtype.itemsize]
    x = jax.lax.bitcast_convert_type(x, bits).astype(jnp.uint32)
    for axis in range(x.ndim):
      place = jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
      x = (x ^ (place * jnp.uint32(2654435761 + 2 * axis))) * jnp.uint32(2246822519)
    return jnp.sum(x)

  return {key: one(x) for key, x in leaves.items()}


def _flatten(tree):
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  names = [jax.tree_util.keystr(path).removeprefix(".state") for path, _ in leaves]
  raw = lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
  return names, {f"{i:05d}": raw(leaf) for i, (_, leaf) in enumerate(leaves)}


def _unflatten(like, found):
  leaves, treedef = jax.tree.flatten(like)
  back = lambda old, new: jax.random.wrap_key_data(new) if jnp.issubdtype(old.dtype, jax.dtypes.prng_key) else new
  return jax.tree.unflatten(treedef, [back(old, found[f"{i:05d}"]) for i, old in enumerate(leaves)])
