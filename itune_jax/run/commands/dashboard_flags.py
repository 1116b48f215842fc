"""The flags of `itune dashboard`."""

from itune_jax.core import errors
from itune_jax.run import command


def flags(parser: command.Parser) -> None:
  """Adds them."""
  parser.add_argument(
    "runs", nargs="+", metavar="DIR", help="run directories, or folders that hold them; in buckets too"
  )
  parser.add_argument("--host", default="127.0.0.1", help="where it listens (default: this machine alone)")
  parser.add_argument("--port", type=int, default=8265, help="0 for a free one (default: 8265)")


def check(args: command.Args) -> None:
  """Raises InputError for a port that is none."""
  if not 0 <= args.port < 65536:
    raise errors.InputError(f"--port={args.port}: a port is from 0 to 65535")


COMMAND = command.Command(
  name="dashboard",
  help="watch runs in a browser: curves, evaluations, answers over time",
  work="itune_jax.run.commands.dashboard:from_flags",
  flags=flags,
  check=check,
)
