"""The flags of `itune inspect`."""

from itune_jax.run import command


def flags(parser: command.Parser) -> None:
  """Adds them."""
  what = "data: rendered examples; batch: the packed rows of one step"
  parser.add_argument("what", choices=("data", "batch"), help=what)
  parser.add_argument("--step", type=int, default=0, help="batch: which step's batch")
  parser.add_argument("--examples", type=int, default=3, help="data: how many examples a source")
  text = "write a page: of a batch its rows, of the data its sources, counts, and rows to search"
  parser.add_argument("--html", default="", metavar="FILE", help=text)
  text = "data with --html: rows that are drawn of each source (default: 1,000)"
  parser.add_argument("--sample", type=int, default=1000, metavar="N", help=text)


COMMAND = command.Command(
  name="inspect",
  help="look at data (tokens coloured by loss weight) or at one training batch",
  work="itune_jax.run.commands.inspect:from_flags",
  flags=flags,
  gin="inspect",
)
