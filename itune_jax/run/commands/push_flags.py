"""The flags of `itune push`."""

import re

from itune_jax.core import errors
from itune_jax.run import command

# A name as the hub takes it: letters, digits, dots, dashes, underscores.
_REPO = re.compile(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?/[A-Za-z0-9](?:[\w.-]{0,94}[A-Za-z0-9_])?", re.ASCII)


def flags(parser: command.Parser) -> None:
  """Adds them."""
  parser.add_argument("path", help="what itune export, merge, select or synth wrote: a folder, or a file of rows")
  parser.add_argument("--repo", required=True, metavar="OWNER/NAME", help="where it goes on the Hugging Face hub")
  text = "under which licence it is published, as the hub names it: apache-2.0, cc-by-4.0, other"
  parser.add_argument("--licence", required=True, metavar="NAME", help=text)
  text = "write the folder with its card, say what would be uploaded, and ask nothing of a network"
  parser.add_argument("--dry_run", action="store_true", help=text)
  parser.add_argument("--out", default="", metavar="DIR", help="where that folder goes (default: PATH_hub)")
  text = "what the hub calls the base of a model (default: what the export says)"
  parser.add_argument("--base_name", default="", metavar="NAME", help=text)
  text = "the run that the model is of, for data, method and figures (default: the run that the export was made of)"
  parser.add_argument("--run_dir", default="", metavar="DIR", help=text)
  text = "a folder that itune eval --out wrote, with figures of this model; repeat for more"
  parser.add_argument("--evals", action="append", default=[], metavar="DIR", help=text)
  parser.add_argument("--public", action="store_true", help="everybody may read it (default: you alone)")
  parser.add_argument("--overwrite", action="store_true", help="a new commit in a repository that is there already")


def check(args: command.Args) -> None:
  """Raises InputError for a name or a licence that the hub would refuse."""
  if not _REPO.fullmatch(args.repo) or "--" in args.repo or ".." in args.repo:
    raise errors.InputError(f"--repo={args.repo}: it is OWNER/NAME, of letters, digits, dots and single dashes")
  if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", args.licence):
    raise errors.InputError(f"--licence={args.licence}: the hub's names are in small letters, such as apache-2.0")


COMMAND = command.Command(
  name="push",
  help="a model or data set for the Hugging Face hub, with a card made of manifests",
  work="itune_jax.run.commands.push:from_flags",
  flags=flags,
  check=check,
)
