"""`itune dashboard`: runs in a browser, for as long as the command runs."""

import contextlib
from typing import Any

from itune_jax.core import log
from itune_jax.run import command
from itune_jax.run.dashboard import scan
from itune_jax.run.dashboard import server


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command until it is interrupted. Raises InputError for a folder that is not there, or a port in use."""
  found = scan.runs(args.runs)
  with server.serve(args.runs, args.host, args.port) as listening:
    where = f"http://{args.host}:{listening.server_address[1]}/"
    log.info(f"{len(found)} runs at {where}; end it by Ctrl-C")
    with contextlib.suppress(KeyboardInterrupt):
      listening.serve_forever()
  return {"url": where, "runs": len(found)}
