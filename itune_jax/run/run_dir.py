"""A run directory: who may train in it, and what is written there before the first step."""

from collections.abc import Mapping, Sequence
import difflib
import importlib.metadata
import os
import subprocess
from typing import Any

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import log
from itune_jax.core import tree
from itune_jax.data import feed as feed_lib
from itune_jax.run import gin_setup
from itune_jax.run import session as session_lib
from itune_jax.train import checkpoint

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "transformers", "tokenizers")


def checkpoints(run_dir: str) -> list[str]:
  """The committed checkpoints of a run, the newest last."""
  return checkpoint.committed(os.path.join(run_dir, "checkpoints"))


def claim(run_dir: str, argv: Sequence[str], facts: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
  """Makes the run directory (the lead does), or checks that the one there is of the same configuration.

  Raises InputError, with the difference, when it is of another, and for checkpoints without a configuration.
  """
  path = os.path.join(run_dir, "operative.gin")
  if files.exists(path):
    _check_same(run_dir, path)
    return
  if checkpoints(run_dir):
    raise errors.InputError(f"{run_dir} holds checkpoints but no operative.gin; use another --run_dir")
  if not log.is_lead():
    return
  files.make_folder(run_dir)
  files.write_text(os.path.join(run_dir, "config.gin"), gin_setup.given())
  info = {"argv": list(argv), "commit": _commit(), "packages": _packages(), "facts": facts}
  files.write_json(os.path.join(run_dir, "run.json"), info)
  files.write_json(os.path.join(run_dir, "data.json"), manifest)
  files.write_text(path, gin_setup.operative())


def facts_of(
  session: session_lib.Session, *, positions: int, steps: int, feed: feed_lib.Feed, manifest: Mapping[str, Any]
) -> dict[str, Any]:
  """What a run is, in figures, which it also says."""
  facts = {
    "parameters": tree.size(session.attached.params),
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


def _check_same(run_dir: str, path: str) -> None:
  operative = gin_setup.operative()
  with files.opened(path) as f:
    before = f.read()
  if before == operative:
    return
  diff = [
    line
    for line in difflib.unified_diff(before.splitlines(), operative.splitlines(), lineterm="", n=0)
    if line[:1] in "+-" and line[:3] not in ("+++", "---")
  ]
  raise errors.InputError(
    f"{run_dir} holds a run of another configuration; take another (- there, + here): {' | '.join(diff[:8])}"
  )


def _commit() -> str:
  """The commit of the checkout, or nothing where there is no git (an image)."""
  command = ["git", "rev-parse", "HEAD"]
  try:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=os.path.dirname(__file__))
  except OSError:
    return ""
  return done.stdout.strip()


def _packages() -> dict[str, str]:
  return {name: importlib.metadata.version(name) for name in _PACKAGES}
