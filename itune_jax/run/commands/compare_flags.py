"""The flags of `itune compare`. The formats are those of `comparison.layouts`, which `--help` does not import."""

from itune_jax.core import errors
from itune_jax.run import command

ITEMS = 2000  # of a benchmark that a page holds

_RUN = (
  "a run directory, a folder of evaluations, or lm-eval's samples (a folder or a samples_*.jsonl); the first is what "
  "the others are compared with. NAME=RUN names it; NAME=RUN,RUN is the mean of several seeds"
)


def flags(parser: command.Parser) -> None:
  """Adds them."""
  parser.add_argument("runs", nargs="+", metavar="RUN", help=_RUN)
  many = lambda name, metavar, text: parser.add_argument(
    f"--{name}", action="append", default=[], metavar=metavar, help=text
  )
  many(
    "against", "FILE", "published figures: CSV or JSON rows of name, benchmark, metric, value and n; repeat for more"
  )
  many("benchmark", "NAME", "compare this benchmark alone; repeat for more")
  many("metric", "NAME", "compare this metric alone; repeat for more")
  text = "how the values of a metric become its figure (mean, macro_f1, micro_mean, …), where files do not tell"
  many("aggregate", "METRIC=NAME", text)
  many("lower", "METRIC", "less of this metric is better; repeat for more")
  parser.add_argument("--out", default="compare.html", metavar="FILE", help="the page to write (default: compare.html)")
  text = "print the table so on stdout, and nothing else there"
  parser.add_argument("--format", default="", choices=("markdown", "latex", "csv", "json"), help=text)
  text = f"items of a benchmark that the page holds, those that changed first (default: {ITEMS})"
  parser.add_argument("--items", type=int, default=ITEMS, metavar="N", help=text)


def check(args: command.Args) -> None:
  """Raises InputError for flags that do not go together."""
  if len(args.runs) < 2 and not args.against:
    raise errors.InputError(f"{args.runs[0]}: give a second run, or published figures by --against FILE")
  if args.items < 0:
    raise errors.InputError(f"--items={args.items}: it counts items")


COMMAND = command.Command(
  name="compare",
  help="compare evaluations item by item: intervals, tests, and a page",
  work="itune_jax.run.commands.compare:from_flags",
  flags=flags,
  check=check,
)
