"""The flags of `itune reward`."""

from itune_jax.core import check
from itune_jax.run import command


def flags(parser: command.Parser) -> None:
  """Adds them."""
  parser.add_argument("--data", required=True, metavar="FILE", help="pairs (chosen, rejected) or lists (responses)")
  parser.add_argument(
    "--adapter", action="append", default=[], metavar="RUN", help="a trained reward model; repeat for an ensemble"
  )
  parser.add_argument("--combine", choices=("mean", "min", "cautious"), default="mean", help="of an ensemble's scores")
  parser.add_argument(
    "--caution", type=float, default=1.0, metavar="X", help="cautious: standard deviations that are taken off the mean"
  )
  parser.add_argument(
    "--verdict", action="store_true", help="ask a model of language which answer is better, in both orders (pairs)"
  )
  parser.add_argument(
    "--best_of", default="1,2,4,8", metavar="N,N", help="lists: how many answers the best is taken of"
  )
  parser.add_argument("--out", default="", metavar="FILE", help="write each row with its scores as JSON lines")


def together(args: command.Args) -> None:
  """Raises InputError for flags that do not fit each other."""
  check.require(not (args.verdict and len(args.adapter) > 1), "--verdict asks one model: give one --adapter at most")
  numbers = args.best_of.split(",")
  check.require(
    all(n.strip().isdecimal() and int(n) > 0 for n in numbers), f"--best_of={args.best_of}: numbers of answers"
  )


COMMAND = command.Command(
  name="reward",
  help="score answers by a reward model: accuracy on pairs, by subset, and the best of n",
  work="itune_jax.run.commands.reward:from_flags",
  flags=flags,
  check=together,
  gin="reward",
  recipe=False,
  starts="jax",
)
