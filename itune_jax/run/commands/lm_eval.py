"""`itune lm_eval`: lm-evaluation-harness's own command line, to which this project's models are known.

lm-eval 0.4.13 finds models in a table of its own and looks nowhere else, so a process of ours fills it in and hands
over.
"""

import argparse
from importlib import metadata
import sys

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import lazy
from itune_jax.run import command

harness = lazy.module("lm_eval._cli.harness")
harness_utils = lazy.module("lm_eval.utils")
lm_eval_model = lazy.module("itune_jax.run.lm_eval_model")

LEAST = (0, 4, 13)
_NAMES = {"base": "pretrained", "adapter": "peft"}  # by which lm-eval calls the folder that it writes


def from_flags(args: command.Args) -> None:
  """Runs the command. Raises InputError where lm-eval is not installed, or an older one is."""
  _require_installed()
  sys.argv = ["lm_eval", *args.rest]  # where lm-eval reads its flags
  harness_utils.setup_logging()
  parser = harness.HarnessCLI()
  chosen = parser.parse_args()
  if chosen.command == "run":
    _settle(chosen)
  parser.execute(chosen)


def _require_installed() -> None:
  how = "pip install 'lm-eval>=0.4.13'"
  try:
    found = metadata.version("lm_eval")
  except metadata.PackageNotFoundError:
    raise errors.InputError(f"lm-eval is not installed: {how}") from None
  number = tuple(int(part) for part in found.split(".")[:3] if part.isdecimal())
  check.require(number >= LEAST, f"lm-eval {found} is too old: {how}")


def _settle(chosen: argparse.Namespace) -> None:
  """What its flags leave open, and the names of a model by which it calls its files."""
  if chosen.config:  # a file of its own may say all this
    return
  chosen.model = chosen.model or lm_eval_model.NAME
  if chosen.model != lm_eval_model.NAME:
    return
  chosen.batch_size = vars(chosen).get("batch_size", "auto")
  chosen.model_args = {_NAMES.get(name, name): value for name, value in (chosen.model_args or {}).items()}
