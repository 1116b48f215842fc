"""`itune report`: one static page of a run."""

from typing import Any

from itune_jax.core import log
from itune_jax.run import command
from itune_jax.run.report import page


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command; returns the page's path, and before against after. Raises InputError when there is no run."""
  path, gains = page.write(args.run_dir)
  log.info(f"wrote {path}")
  return {"report": path, **gains}
