"""The flags of `itune train`."""

from itune_jax.run import command


def flags(parser: command.Parser) -> None:
  """Adds them."""
  parser.add_argument("--run_dir", required=True, help="where checkpoints, metrics and the report go")
  parser.add_argument("--dry_run", action="store_true", help="build everything, print what would run, train nothing")


COMMAND = command.Command(
  name="train",
  help="train as a recipe says; resumes a run directory that is there",
  work="itune_jax.run.commands.train:from_flags",
  flags=flags,
  gin="train",
  starts="cluster",
  large_pages=True,
)
