"""The flags of `itune select`."""

import os

from itune_jax.core import check
from itune_jax.run import command


def flags(parser: command.Parser) -> None:
  """Adds them."""
  parser.add_argument("--input", required=True, metavar="FILE", help="the rows: a file, a folder or a glob")
  parser.add_argument("--output", required=True, metavar="FILE", help="the .jsonl file to write, a manifest beside it")
  by = "scores to choose by, joined by commas: random, length, perplexity, ifd, deita, rds, less and others (the guide "
  parser.add_argument("--by", default="", metavar="NAMES", help=by + "on choosing data has all)")
  text = "how much is kept: a share (10%%), or a number of rows (5000) or of tokens (2000000tokens)"
  parser.add_argument("--keep", default="", metavar="N", help=text)
  parser.add_argument("--seed", type=int, default=None, help="of all that is drawn (default: the recipe's, else 0)")
  parser.add_argument("--base", default="", metavar="MODEL", help="the model that scores ask: a name, path or hub id")
  command.adapter_flag(parser)
  text = "the endpoint (OpenAI-compatible, http://HOST:PORT/v1) that steps and scores ask, in place of a model here"
  parser.add_argument("--responder", default="", metavar="URL", help=text)
  parser.add_argument("--responder_model", default="", metavar="NAME", help="the model that the endpoint is asked for")
  text = "the variable of the environment that holds the endpoint's key"
  parser.add_argument("--key_env", default="", metavar="VARIABLE", help=text)
  targets = "rows of the task that is selected for, for less, rds and metarater"
  parser.add_argument("--targets", default="", metavar="FILE", help=targets)
  text = "also write what random, longest and RDS+ would have kept, in files beside --output"
  parser.add_argument("--baselines", action="store_true", help=text)
  command.beam_flag(parser, "look at rows (duplicates, decontamination, cleaning)")
  command.overwrite_flag(parser, "an earlier --output")


def sensible(args: command.Args) -> None:
  """Raises InputError for flags that ask for nothing, or for a place that would overwrite the input."""
  asked = bool(args.gin_file or args.by or args.keep or args.gin_values)
  check.require(asked, "nothing to do: give --gin_file=data/select/….gin, or --by and --keep")
  check.require(
    args.output.endswith(".jsonl"), f"--output={args.output}: rows are written as JSON lines, name a .jsonl"
  )
  same = os.path.exists(args.output) and os.path.realpath(args.input) == os.path.realpath(args.output)
  check.require(not same, f"--output={args.output} is the input: name another file")
  check.require(bool(args.responder) == bool(args.responder_model), "--responder and --responder_model go together")
  check.require(not args.key_env or args.responder, "--key_env is of an endpoint: give --responder")
  local = args.base or args.adapter
  check.require(not (args.responder and local), "--responder is an endpoint: no --base, no --adapter")


COMMAND = command.Command(
  name="select",
  help="prepare rows and choose among them: duplicates, decontamination, cleaning, scores, a budget",
  work="itune_jax.run.commands.select:from_flags",
  flags=flags,
  check=sensible,
  gin="select",
  own_base=True,
  recipe=False,
  light=True,
)
