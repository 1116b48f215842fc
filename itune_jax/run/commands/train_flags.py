"""The flags of `itune train`."""

from itune_jax.core import check
from itune_jax.run import command


def flags(parser: command.Parser) -> None:
  """Adds them."""
  parser.add_argument("--run_dir", required=True, help="where checkpoints, metrics and the report go")
  parser.add_argument("--dry_run", action="store_true", help="build everything, print what would run, train nothing")
  text = "the manifest that itune prepare wrote, in place of --data; no data file is read (sets MANIFEST)"
  parser.add_argument("--mixture", dest="macro_MANIFEST", metavar="MANIFEST", help=text)
  text = "read the files of the mixture anew for their digests, which are otherwise kept by name, size and time"
  parser.add_argument("--verify", action="store_true", help=text)


def pinned(args: command.Args) -> None:
  """Takes the mixture of --mixture in place of the recipe's. Raises InputError beside --data."""
  if args.macro_MANIFEST is not None:
    check.require(args.macro_DATA is None, "--mixture is a prepared mixture, --data names files: give one of them")
    args.gin_file.append("overlays/pinned.gin")


COMMAND = command.Command(
  name="train",
  help="train as a recipe says; resumes a run directory that is there",
  work="itune_jax.run.commands.train:from_flags",
  flags=flags,
  check=pinned,
  gin="train",
  starts="cluster",
  large_pages=True,
)
