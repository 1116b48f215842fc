"""`itune report`: one static page of a run."""

import json

from itune_jax.core import log
from itune_jax.run.report import page


def main(args) -> None:
  """Runs the command; the last line of stdout is one JSON object."""
  path, gains = page.write(args.run_dir)
  log.info(f"wrote {path}")
  print(json.dumps({"report": path, **gains}))
