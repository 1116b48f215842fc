"""The flags of `itune reference`, which `itune prepare --with_reference` runs as well."""

from itune_jax.run import command


def flags(parser: command.Parser) -> None:
  """Adds them."""
  parser.add_argument("--dry_run", action="store_true", help="say what would be computed, and write nothing")


COMMAND = command.Command(
  name="reference",
  help="store what a reference says of the prepared data, so that training needs no second model",
  work="itune_jax.run.commands.reference:from_flags",
  flags=flags,
  gin="reference",
  starts="jax",
)
