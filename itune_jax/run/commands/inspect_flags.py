"""The flags of `itune inspect`."""

from itune_jax.core import check
from itune_jax.core import files
from itune_jax.run import command

_EXAMPLES, _SAMPLE = 3, 1000


def flags(parser: command.Parser) -> None:
  """Adds them."""
  what = "data: rendered examples; batch: the packed rows of one step"
  parser.add_argument("what", choices=("data", "batch"), help=what)
  parser.add_argument("--step", type=int, default=0, help="batch: which step's batch")
  parser.add_argument("--examples", type=int, default=_EXAMPLES, help="data: how many examples a source")
  text = "write a page: of a batch its rows, of the data its sources, counts, and rows to search"
  parser.add_argument("--html", default="", metavar="FILE", help=text)
  text = "data with --html: rows that are drawn of each source (default: 1,000)"
  parser.add_argument("--sample", type=int, default=_SAMPLE, metavar="N", help=text)


def together(args: command.Args) -> None:
  """Raises InputError for numbers that count nothing, and for a flag that this look at the data does not read."""
  explores = args.what == "data" and bool(args.html)
  for name, least in (("step", 0), ("examples", 1), ("sample", 1)):
    value = getattr(args, name)
    check.require(value >= least, f"--{name}={value}: it is a whole number from {least}")
  idle = {
    "--step": args.step and args.what == "data",
    "--examples": args.examples != _EXAMPLES and (args.what == "batch" or explores),
    "--sample": args.sample != _SAMPLE and not explores,
  }
  for flag, is_idle in idle.items():
    check.require(not is_idle, f"{flag} changes nothing of {args.what}{' --html' * bool(args.html)}: leave it out")
  if args.html:
    files.require_writable(args.html)


COMMAND = command.Command(
  name="inspect",
  help="look at data (tokens coloured by loss weight) or at one training batch",
  work="itune_jax.run.commands.inspect:from_flags",
  flags=flags,
  check=together,
  gin="inspect",
)
