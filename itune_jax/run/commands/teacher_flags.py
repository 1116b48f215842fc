"""The flags of `itune teacher`, which `itune prepare --with_teacher` runs as well."""

from itune_jax.run import command


def flags(parser: command.Parser) -> None:
  """Adds them."""
  parser.add_argument("--dry_run", action="store_true", help="say what would be computed, and write nothing")


COMMAND = command.Command(
  name="teacher",
  help="store the likeliest tokens of a teacher beside the prepared data, so that distillation needs no second model",
  work="itune_jax.run.commands.teacher:from_flags",
  flags=flags,
  gin="teacher",
  starts="jax",
)
