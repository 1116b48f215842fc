"""The flags of `itune prepare`."""

from itune_jax.run import command


def flags(parser: command.Parser) -> None:
  """Adds them."""
  parser.add_argument("--dry_run", action="store_true", help="count rows and print rates, write nothing")
  parser.add_argument(
    "--with_reference", action="store_true", help="then store a reference's log-probs, as itune reference does"
  )


COMMAND = command.Command(
  name="prepare",
  help="render, tokenise and cache the training data of a recipe",
  work="itune_jax.run.commands.prepare:from_flags",
  flags=flags,
  gin="prepare",
  light=True,
  # A tokenizer is all that it takes of a model.
  without=("itune_jax.run.specs.Model.config", "itune_jax.run.specs.Model.quant"),
)
