"""The flags of `itune demo`."""

from itune_jax.core import check
from itune_jax.run import command
from itune_jax.run import macros


def flags(parser: command.Parser) -> None:
  """Adds them."""
  parser.add_argument("--run_dir", default="", help="where everything goes (default: runs/demo-DATE-TIME)")
  parser.add_argument("--data", default="", metavar="FILE", help="train on a file of your own (sets DATA)")
  parser.add_argument("--eval_data", default="", metavar="FILE", help="and evaluate on this one (sets EVAL_DATA)")
  parser.add_argument("--check", default="exact", metavar="NAME", help=f"{macros.MACROS['CHECK'].purpose} (sets CHECK)")
  parser.add_argument("--steps", type=int, default=0, metavar="N", help="optimizer steps (sets STEPS)")
  parser.add_argument("--limit", type=int, default=0, metavar="N", help="items of each evaluation (sets EVAL_LIMIT)")
  text = "override one value, e.g. --gin.SEED=1"
  parser.add_argument("--gin.NAME=VALUE", dest="_", action="store_true", help=text)


def together(args: command.Args) -> None:
  """Raises InputError for data without data to evaluate on, and for numbers that are none."""
  check.require(
    bool(args.data) == bool(args.eval_data), "--data and --eval_data go together: held-out rows tell the gain"
  )
  check.require(args.steps >= 0 and args.limit >= 0, "--steps and --limit are positive numbers")


COMMAND = command.Command(
  name="demo",
  help="the whole job on a real model: prepare, evaluate, train, evaluate, export, report",
  work="itune_jax.run.commands.demo:from_flags",
  flags=flags,
  check=together,
  passes_gin=True,
)
