"""The flags of `itune label`: making a page, or reading its answers back."""

from itune_jax.core import check
from itune_jax.run import command

KINDS = ("answer", "rating", "label", "preference")
_MAKING = (
  "kind",
  "labels",
  "scale",
  "question",
  "columns",
  "items",
  "score",
  "near",
  "margin",
  "pool",
  "gold",
  "controls",
  "a",
  "b",
  "benchmark",
)
_READING = ("key", "agree", "least", "right", "judge", "field")


def flags(parser: command.Parser) -> None:
  """Adds them."""
  what = "the rows to ask about; with --a and --b, and with --answers, it may be left out"
  parser.add_argument("file", nargs="?", default="", metavar="FILE", help=what)
  text = "the folder to write label.html and key.json into; with --answers the .jsonl file of rows to write"
  parser.add_argument("--out", required=True, metavar="PATH", help=text)
  parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all that is drawn (default: 0)")
  command.overwrite_flag(parser, "an earlier page, or earlier rows, in --out")
  _asking(parser)
  _choosing(parser)
  _reading(parser)


def _asking(parser: command.Parser) -> None:
  group = parser.add_argument_group("what is asked").add_argument
  text = "answer: write or correct the last turn; rating; label: one of --labels; preference: of two answers"
  group("--kind", default=None, choices=KINDS, help=text)
  group("--labels", default=None, metavar="A,B", help="the labels of --kind=label")
  group("--scale", default=None, metavar="LOW,HIGH", help="the scale of --kind=rating, whole numbers (default: 1,5)")
  group("--question", default=None, metavar="TEXT", help="what people read above the items")
  text = "the keys of a row that hold the answers to compare (default: chosen,rejected, or a list `responses`)"
  group("--columns", default=None, metavar="A,B", help=text)
  text = "a run directory, a folder of evaluations, lm-eval's samples, or a file of responses; NAME=RUN names it"
  group("--a", default=None, metavar="RUN", help=f"blind comparison: {text}")
  group("--b", default=None, metavar="RUN", help="what it is compared with, of the same kinds")
  group("--benchmark", default=None, metavar="NAME", help="the benchmark of --a and --b, where they hold several")


def _choosing(parser: command.Parser) -> None:
  group = parser.add_argument_group("which rows").add_argument
  group("--items", type=int, default=None, metavar="N", help="how many at the most (default: 100)")
  group("--score", default=None, metavar="NAME", help="a number of the rows; those nearest to --near are asked first")
  group("--near", type=float, default=None, metavar="X", help="where --score is least sure (default: 0.5)")
  group("--margin", default=None, metavar="A,B", help="two numbers of the rows; where they are nearest is asked first")
  text = "of the least sure rows, so many times --items are looked at for such as differ (default: 4)"
  group("--pool", type=float, default=None, metavar="X", help=text)
  text = "a key of the rows that holds what is known to be right; rows with it are mixed in as controls"
  group("--gold", default=None, metavar="KEY", help=text)
  group("--controls", type=int, default=None, metavar="N", help="controls at the most (default: 10)")


def _reading(parser: command.Parser) -> None:
  group = parser.add_argument_group("reading answers back").add_argument
  group("--answers", nargs="+", default=None, metavar="FILE", help="what annotators downloaded from the page")
  group("--key", nargs="+", default=None, metavar="FILE", help="the key.json of each page that was answered")
  group("--agree", type=float, default=None, metavar="X", help="leave out items on which people agree less (0 to 1)")
  group("--least", type=int, default=None, metavar="N", help="leave out items that fewer people answered (default: 1)")
  text = "leave out annotators with a smaller share of right controls (0 to 1)"
  group("--right", type=float, default=None, metavar="X", help=text)
  text = "a key of the rows that holds a judge's verdict: how far it agrees with people is reported; repeat for more"
  group("--judge", action="append", default=None, metavar="KEY", help=text)
  group("--field", default=None, metavar="KEY", help="the key that a label is written under (default: label)")


def together(args: command.Args) -> None:
  """Raises InputError for flags that do not go together."""
  given = lambda names: [name for name in names if vars(args)[name] is not None]
  if args.answers is not None:
    check.require(args.key, "--answers needs the key of each page that was answered: --key DIR/key.json")
    making = given(_MAKING)
    check.require(not making, f"--{making[0] if making else ''} makes a page, and --answers reads one's answers back")
    check.require(args.out.endswith(".jsonl"), f"--out={args.out}: rows are written as JSON lines, name a .jsonl")
    return
  reading = given(_READING)
  check.require(not reading, f"--{reading[0] if reading else ''} is about answers: give them with --answers")
  check.require((args.a is None) == (args.b is None), "--a and --b go together: two systems are compared")
  if args.a is not None:
    check.require(args.kind in (None, "preference"), "--a and --b are compared: their kind is preference")
    unused = given(("labels", "scale", "columns", "gold", "controls", "score", "near", "margin"))
    check.require(not unused, f"--{unused[0] if unused else ''} is about rows of a file, not about --a and --b")
    return
  check.require(args.file, "nothing to ask about: give a FILE of rows, or two systems (--a, --b)")
  check.require(args.benchmark is None, "--benchmark is of --a and --b")
  check.require(args.kind, f"--kind says what is asked: one of {', '.join(KINDS)}")
  for name, kind in (("labels", "label"), ("scale", "rating"), ("columns", "preference")):
    check.require(vars(args)[name] is None or args.kind == kind, f"--{name} is of --kind={kind}")
  check.require(args.kind != "label" or args.labels, "--kind=label needs the labels: --labels A,B")
  check.require(args.near is None or args.score, "--near is about a --score, which is not given")
  check.require(args.controls is None or args.gold, "--controls are rows with a known value: name its key with --gold")


COMMAND = command.Command(
  name="label",
  help="ask people: a local page for labelling rows or comparing two systems blindly, and its answers read back",
  work="itune_jax.run.commands.label:from_flags",
  flags=flags,
  check=together,
)
