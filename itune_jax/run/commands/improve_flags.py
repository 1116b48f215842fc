"""The flags of `itune improve`."""

from itune_jax.core import check
from itune_jax.run import command
from itune_jax.run import macros


def flags(parser: command.Parser) -> None:
  """Adds them."""
  add = parser.add_argument
  add("--run_dir", required=True, metavar="DIR", help="where everything of the round is written; it goes on there")
  add("--recipe", action="append", default=[], metavar="FILE", help="how arms train and are evaluated; repeat")
  add("--base", default="", metavar="MODEL", help="the model that makes data and is trained on it")
  add("--data", default="", metavar="FILE", help="what generators begin with: seed tasks or prompts")
  add("--real", required=True, metavar="FILE", help="rows that people wrote, for the arm of real data")
  add("--eval_data", required=True, metavar="FILE", help="held-out rows")
  add("--check", default="exact", metavar="NAME", help=macros.MACROS["CHECK"].purpose)
  add("--responder", default="", metavar="URL", help="ask this endpoint for data in place of the base")
  add("--responder_model", default="", metavar="NAME", help="the model that the endpoint is asked for")


def together(args: command.Args) -> None:
  """Raises InputError for what does not go together."""
  check.require(args.run_dir.strip(), "--run_dir is empty: name the folder of the round")
  check.require(bool(args.responder) == bool(args.responder_model), "--responder and --responder_model go together")


COMMAND = command.Command(
  name="improve",
  help="one round of self-improvement: generate, filter, select, train, evaluate, compare",
  work="itune_jax.run.commands.improve:from_flags",
  flags=flags,
  check=together,
  gin="improve",
  recipe=False,
  own_base=True,
)
