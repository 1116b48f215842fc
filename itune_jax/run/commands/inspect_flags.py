"""The flags of `itune inspect`."""

from itune_jax.run import command


def flags(parser: command.Parser) -> None:
  """Adds them."""
  what = "data: rendered examples; batch: the packed rows of one step"
  parser.add_argument("what", choices=("data", "batch"), help=what)
  parser.add_argument("--step", type=int, default=0, help="batch: which step's batch")
  parser.add_argument("--examples", type=int, default=3, help="data: how many examples a source")
  parser.add_argument("--html", default="", metavar="FILE", help="write a page instead of terminal colours")


COMMAND = command.Command(
  name="inspect",
  help="look at data (tokens coloured by loss weight) or at one training batch",
  work="itune_jax.run.commands.inspect:from_flags",
  flags=flags,
  gin="inspect",
)
