"""The flags of `itune prepare`."""

from itune_jax.core import errors
from itune_jax.run import command


def flags(parser: command.Parser) -> None:
  """Adds them."""
  parser.add_argument("--dry_run", action="store_true", help="count rows and print rates, write nothing")
  parser.add_argument(
    "--with_reference", action="store_true", help="then store a reference's log-probs, as itune reference does"
  )
  text = "processes that render and tokenise (default: one a core); the result is the same for any number"
  parser.add_argument("--workers", type=int, default=0, metavar="N", help=text)
  text = "read data files anew for their digests, which are otherwise kept by name, size and time"
  parser.add_argument("--verify", action="store_true", help=text)
  command.beam_flag(parser, "render and tokenise")
  parser.add_argument(
    "--with_teacher", action="store_true", help="then store a teacher's likeliest tokens, as itune teacher does"
  )
  text = "also write what was prepared as a TFDS data set in this folder of data sets (needs the extra prep)"
  parser.add_argument("--tfds_dir", default="", metavar="DIR", help=text)


def check(args: command.Args) -> None:
  """Raises InputError for flags that do not go together."""
  if args.dry_run and args.tfds_dir:
    raise errors.InputError("--dry_run writes nothing, and --tfds_dir says where to write: give one of them")
  if args.dry_run and args.beam is not None:
    raise errors.InputError("--dry_run counts rows in this process: leave out --beam")


COMMAND = command.Command(
  name="prepare",
  help="render, tokenise and cache the training data of a recipe",
  work="itune_jax.run.commands.prepare:from_flags",
  flags=flags,
  check=check,
  gin="prepare",
  light=True,
  reads_data=True,
  # A tokenizer is all that it takes of a model.
  without=("itune_jax.run.specs.Model.config", "itune_jax.run.specs.Model.quant"),
)
