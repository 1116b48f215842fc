"""The flags of `itune monitor`."""

from itune_jax.core import errors
from itune_jax.run import command


def flags(parser: command.Parser) -> None:
  """Adds them."""
  parser.add_argument("logs", help="what a model was asked and answered: a file or folder in any format of rows")
  parser.add_argument("--out", required=True, metavar="DIR", help="where monitor.html, monitor.json and label.jsonl go")
  parser.add_argument("--window", type=int, default=200, metavar="N", help="rows of a window (default: 200)")
  text = "the first so many windows are what is expected (default: 5)"
  parser.add_argument("--baseline", type=int, default=5, metavar="N", help=text)
  text = "the column of a row's time, by which rows are ordered (default: the order of the file)"
  parser.add_argument("--time", default="", metavar="COLUMN", help=text)
  parser.add_argument(
    "--score", default="", metavar="COLUMN", help="the column of a judge's score, where rows have one"
  )
  parser.add_argument("--label", type=int, default=50, metavar="N", help="rows worth labelling at most (default: 50)")
  command.overwrite_flag(parser, "an earlier page in --out")


def check(args: command.Args) -> None:
  """Raises InputError for numbers that are none."""
  for name, least in (("window", 2), ("baseline", 1), ("label", 0)):
    if vars(args)[name] < least:
      raise errors.InputError(f"--{name}={vars(args)[name]}: it is {least} or more")


COMMAND = command.Command(
  name="monitor",
  help="control charts of a log: drift of prompts, refusals, lengths, scores; and the rows worth labelling",
  work="itune_jax.run.commands.monitor:from_flags",
  flags=flags,
  check=check,
)
