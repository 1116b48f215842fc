"""A run directory: who may train in it, and what is written there before the first step."""

from collections.abc import Mapping, Sequence
import importlib.metadata
import math
import os
import shutil
import subprocess
from typing import Any
import uuid

import jax

import itune_jax
from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import log
from itune_jax.core import tree
from itune_jax.data import feed as feed_lib
from itune_jax.run import gin_setup
from itune_jax.run import identity
from itune_jax.run import loading
from itune_jax.run import session as session_lib
from itune_jax.train import checkpoint
from itune_jax.train import state as state_lib

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "transformers", "tokenizers")


def checkpoints(run_dir: str) -> list[str]:
  """The committed checkpoints of a run, the newest last."""
  return checkpoint.committed(os.path.join(run_dir, "checkpoints"))


# What commands write into a run directory before it has its run.json: evaluations of the base, and the owner's mark.
_BEGUN = frozenset(
  (
    "evals",
    "checkpoints",
    "profile",
    "tensorboard",
    "wandb",
    "owner.json",
    ".owner.lock",
    "config.gin",
    "operative.gin",
  )
)
_LATER = frozenset(("data.json", "metrics.jsonl", "train.json", "report.html"))


def check_place(run_dir: str) -> None:
  """Raises InputError where nothing can be written as a run's: a file, or a folder that holds what is no run's."""
  check.require(run_dir.strip(), "run_dir is empty: name a folder for the run")
  names = files.names(run_dir)
  check.require(names or not files.is_file(run_dir), f"--run_dir={run_dir} is a file: name a folder for the run")
  others = [name for name in names if name not in _BEGUN | _LATER]
  if others and "run.json" not in names:
    raise errors.InputError(
      f"--run_dir={run_dir} holds {', '.join(others[:3])}{' and more' if len(others) > 3 else ''}, and is no run "
      "directory: name a new folder"
    )


def check_same(run_dir: str, run: Any) -> dict[str, tuple[str, str]]:
  """What changed of a run since it was begun, (there, here) by the name of the value; nothing where none was.

  Raises InputError for a change that makes it another run, and for checkpoints without a record of what they are of.
  """
  path = os.path.join(run_dir, "run.json")
  if not files.exists(path):
    if checkpoints(run_dir):
      raise errors.InputError(f"{run_dir} holds checkpoints but no run.json; use another --run_dir")
    return {}
  recorded = files.read_json(path)
  if not isinstance(recorded, dict) or not isinstance(recorded.get("values"), dict):
    raise errors.InputError(
      f"{path}: says of no value what it was (an earlier version wrote it?); use another --run_dir"
    )
  kinds = {"id": str, "changes": list, "facts": dict}
  damaged = [key for key, kind in kinds.items() if not isinstance(recorded.get(key, kind()), kind)]
  damaged += [f"values.{name}" for name, value in recorded["values"].items() if not isinstance(value, str)]
  check.require(
    not damaged, f"{path}: {(damaged or [''])[0]} is not what a run writes: it is damaged; use another --run_dir"
  )
  changes = identity.changed(recorded["values"], run)
  identity.check(changes, run_dir)
  return changes


def claim(
  run_dir: str,
  run: Any,
  changes: Mapping[str, tuple[str, str]],
  *,
  argv: Sequence[str],
  facts: Mapping[str, Any],
  manifest: Mapping[str, Any],
  steps: int,
  done: int,
) -> None:
  """Writes down what the run is (the lead does), or what is new of one that goes on from step `done` to `steps`.

  A run whose checkpoints are gone, or that ended before its first one, begins again, and that is said.

  Raises InputError when the run is of other data, or has gone further than it now shall.
  """
  path = os.path.join(run_dir, "run.json")
  if not files.exists(path):
    _begin(run_dir, run, argv, facts, manifest)
    return
  identity.check_data(files.read_json(os.path.join(run_dir, "data.json")), manifest, run_dir)
  check.require(steps >= done, f"the run has {steps} steps, but {run_dir} has taken {done} already")
  if not done:
    log.info(f"{run_dir}: the run that was begun there has no checkpoint: it begins again at step 0")
  if not changes:
    return
  for name, (before, now) in changes.items():
    log.info(f"goes on with {name} = {now or '(none)'}, which was {before or '(none)'}")
  if {"steps", "epochs"} & set(changes):
    log.info(f"what follows the number of steps (a decaying learning rate) now follows {steps}, from step {done} on")
  if log.is_lead():
    recorded = files.read_json(path)
    was = {name: list(pair) for name, pair in changes.items()}
    entry = {"step": done, "argv": list(argv), "commit": _commit(), "changes": was}
    recorded |= {
      "values": identity.values_of(run),
      "facts": dict(facts),
      "changes": [*recorded.get("changes", []), entry],
    }
    _write_configuration(run_dir)
    files.write_json(path, recorded)


def _begin(run_dir: str, run: Any, argv: Sequence[str], facts: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
  if not log.is_lead():
    return
  files.make_folder(run_dir)
  info = {"id": uuid.uuid4().hex, "argv": list(argv), "commit": _commit(), "packages": _packages(), "facts": facts}
  _write_configuration(run_dir)
  files.write_json(os.path.join(run_dir, "data.json"), manifest)
  files.write_json(os.path.join(run_dir, "run.json"), info | {"values": identity.values_of(run)})


def _write_configuration(run_dir: str) -> None:
  files.write_text(os.path.join(run_dir, "config.gin"), gin_setup.given())
  files.write_text(os.path.join(run_dir, "operative.gin"), gin_setup.operative())


def id_of(run_dir: str) -> str:
  """The name that a run keeps for loggers and checkpoints, whatever its folder is called; "" where none was begun, as
  processes that do not lead may see it."""
  path = os.path.join(run_dir, "run.json")
  return files.read_json(path).get("id", "") if files.exists(path) else ""


def check_room(run_dir: str, state: state_lib.State, kept: int) -> None:
  """Raises InputError when the disk has no room for the checkpoints that a run keeps and the one it writes next."""
  if files.is_remote(run_dir):
    return
  at = os.path.abspath(run_dir)
  while not os.path.isdir(at):
    at = os.path.dirname(at)
  leaves = jax.tree.leaves((state.trainable, state.opt_state))
  one = sum(math.prod(x.shape) * x.dtype.itemsize for x in leaves) / 2.0**30
  free = shutil.disk_usage(at).free / 2.0**30
  check.require(
    free >= one * (kept + 1),
    f"{run_dir}: {kept + 1} checkpoints of {one:.3f} GiB do not fit into the {free:.3f} GiB that are free; free some, "
    "keep fewer (checkpoint.Keep.last, .best), or give another --run_dir",
  )


def facts_of(
  session: session_lib.Session, *, positions: int, steps: int, feed: feed_lib.Packed, manifest: Mapping[str, Any]
) -> dict[str, Any]:
  """What a run is, in figures, which it also says."""
  facts = {
    "parameters": loading.count(session.attached.params, session.base),
    "trainable_parameters": tree.size(session.trainable),
    "positions_per_step": positions,
    "steps": steps,
    "epochs": steps / feed.steps_per_epoch(),
    "padding_share": feed.padding_share(),
    "devices": session.mesh.size,
    "rows": sum(s["kept"] for s in manifest["sources"]),
  }
  log.info(
    f"training {facts['trainable_parameters']:,} of {facts['parameters']:,} parameters for {steps} steps of "
    f"{positions:,} positions ({facts['epochs']:.2f} epochs, padding {facts['padding_share']:.2%})"
  )
  return facts


def _commit() -> str:
  """The commit of the checkout, or nothing where there is no git (an image), or none that knows this file: an installed
  package may lie inside of a repository of the user's, whose commit would say nothing of it."""
  folder, file = os.path.split(os.path.abspath(__file__))
  ask = lambda *words: subprocess.run(["git", *words], capture_output=True, text=True, check=False, cwd=folder)
  try:
    known = ask("ls-files", "--error-unmatch", file).returncode == 0
    return ask("rev-parse", "HEAD").stdout.strip() if known else ""
  except OSError:
    return ""


def _packages() -> dict[str, str]:
  return {"itune_jax": itune_jax.__version__, **{name: importlib.metadata.version(name) for name in _PACKAGES}}
