"""The flags of `itune eval`."""

from itune_jax.run import command


def flags(parser: command.Parser) -> None:
  """Adds them."""
  command.adapter_flag(parser)
  command.as_asked_flag(parser)
  parser.add_argument("--run_dir", default="", help="write results to this run's evals/NAME (default: print only)")
  parser.add_argument("--name", default="eval", help="name of this evaluation in the run directory, e.g. before")
  command.overwrite_flag(parser, "an earlier evaluation of this --name in the run directory")
  parser.add_argument("--dry_run", action="store_true", help="load model and items, evaluate nothing")


COMMAND = command.Command(
  name="eval",
  help="run a recipe's evaluators on the base model or on an adapter",
  work="itune_jax.run.commands.evaluate:from_flags",
  flags=flags,
  gin="eval",
  starts="cluster",
  says_idle="an adapter brings its own method, and without one the base model is evaluated",
)
