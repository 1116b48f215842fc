"""The flags of `itune config`."""

from itune_jax.run import command


def flags(parser: command.Parser) -> None:
  """Adds them."""
  parser.add_argument(
    "name", nargs="?", default="", help="STEPS, schedule.Schedule.rate, lora.Lora; without: all macros"
  )
  command.import_flag(parser, "its classes may be named")


COMMAND = command.Command(
  name="config",
  help="explain a value: its type, its default, what it means, and which files set it",
  work="itune_jax.run.commands.explain:from_flags",
  flags=flags,
)
