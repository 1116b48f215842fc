"""The flags of `itune plan`."""

from itune_jax.core import check
from itune_jax.run import command


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
    choices=("train", "score", "choices", "prefill", "prefill_next", "decode", "synth"),
    default="train",
    help="an optimizer step, or a program of evaluators and of `itune synth`, on the rows of PACKING (default: train)",
  )
  parser.add_argument(
    "--choose_remat",
    action="store_true",
    help="compile the step with more and more activations kept, and say which choice that fits is fastest",
  )
  parser.add_argument("--dry_run", action="store_true", help="build and trace the program, compile nothing")
  parser.add_argument("--html", default="", metavar="FILE", help="write the table as a page too")


def together(args: command.Args) -> None:
  """Raises InputError when rematerialisation is to be chosen for another program, or without compiling."""
  step = args.program == "train" and not args.dry_run
  message = "--choose_remat compiles the training step: leave out --program and --dry_run"
  check.require(step or not args.choose_remat, message)


COMMAND = command.Command(
  name="plan",
  help="compile a recipe's training step for a TPU slice, without one: does it fit, how long does it take?",
  work="itune_jax.run.commands.plan:from_flags",
  flags=flags,
  check=together,
  gin="train",
  placeholders=True,
)
