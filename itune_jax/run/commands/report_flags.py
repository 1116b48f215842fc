"""The flags of `itune report`."""

from itune_jax.run import command


def flags(parser: command.Parser) -> None:
  """Adds them."""
  parser.add_argument("--run_dir", required=True, help="the run to report on")


COMMAND = command.Command(
  name="report",
  help="write report.html of a run directory",
  work="itune_jax.run.commands.report:from_flags",
  flags=flags,
)
