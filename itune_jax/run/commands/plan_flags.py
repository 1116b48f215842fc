"""The flags of `itune plan`."""

from itune_jax.core import check
from itune_jax.core import files
from itune_jax.run import command

SUITE = ("ifeval", "gsm8k", "mmlu", "mbpp", "super_ni")
_OF_SUITE = ("suite", "data_dir", "batch", "max_new_tokens", "shots")


def flags(parser: command.Parser) -> None:
  """Adds them."""
  parser.add_argument(
    "--topology",
    required=True,
    metavar="SLICE",
    help="a slice, e.g. v5e:4x4, v5p:4x4x4; or GPUs (an estimate): h100:64",
  )
  slices = "how many such slices, joined by the network (default: 1)"
  parser.add_argument("--slices", type=int, default=1, help=slices)
  parser.add_argument(
    "--program",
    choices=("train", "score", "choices", "prefill", "prefill_next", "decode", "synth", "suite"),
    default="train",
    help="an optimizer step, or a program of evaluators and of `itune synth`, on the rows of PACKING (default: train); "
    "suite: how long the benchmarks of --suite would take",
  )
  parser.add_argument(
    "--choose_remat",
    action="store_true",
    help="compile the step with more and more activations kept, and say which choice that fits is fastest",
  )
  parser.add_argument("--dry_run", action="store_true", help="build and trace the program, compile nothing")
  suite = parser.add_argument_group("--program=suite (--limit=N: items of each benchmark)")
  names = ",".join(SUITE)
  suite.add_argument("--suite", metavar="A,B", help=f"benchmarks by name (default: {names})")
  suite.add_argument("--data_dir", metavar="DIR", help="the folder of their files (default: ITUNE_DATA)")
  suite.add_argument("--batch", type=int, metavar="N", help="rows that are decoded together (default: 32)")
  suite.add_argument("--max_new_tokens", type=int, metavar="N", help="tokens of an answer at most")
  suite.add_argument("--shots", type=int, metavar="N", help="examples in front of each question")
  parser.add_argument("--html", default="", metavar="FILE", help="write the table as a page too")


def together(args: command.Args) -> None:
  """Raises InputError when rematerialisation is to be chosen for another program, or without compiling, and for flags
  of a suite where none is planned."""
  step = args.program == "train" and not args.dry_run
  message = "--choose_remat compiles the training step: leave out --program and --dry_run"
  check.require(step or not args.choose_remat, message)
  check.require(args.slices >= 1, f"--slices={args.slices}: it counts slices, from 1")
  if args.html:
    files.require_writable(args.html)
  args.limit = 0
  if args.program == "suite":
    args.limit = command.items_limit(args)
    check.require(args.batch is None or args.batch > 0, f"--batch={args.batch}: it counts rows, 1 or more")
    return
  given = [name for name in _OF_SUITE if getattr(args, name) is not None]
  check.require(not given, f"--{given[0] if given else ''} is of --program=suite")


COMMAND = command.Command(
  name="plan",
  help="compile a recipe's training step for a TPU slice, without one: does it fit, how long does it take?",
  work="itune_jax.run.commands.plan:from_flags",
  flags=flags,
  check=together,
  gin="train",
  placeholders=True,
)
