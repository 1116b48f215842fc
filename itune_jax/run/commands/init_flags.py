"""`itune init`: the recipes, copied into a folder to be edited."""

import sys
from typing import Any

from itune_jax.run import command
from itune_jax.run import recipes


def flags(parser: command.Parser) -> None:
  """Adds them."""
  parser.add_argument("folder", help="a new folder")


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command; returns the folder and its recipes. Raises InputError where something is in it already."""
  names = recipes.copy(args.folder)
  print(f"edit {args.folder}/recipes/{names[0]}, and give it as --gin_file; its parts are beside it", file=sys.stderr)
  return {"folder": args.folder, "recipes": names}


COMMAND = command.Command(
  name="init",
  help="copy the recipes and their parts into a folder, to be edited",
  work="itune_jax.run.commands.init_flags:from_flags",
  flags=flags,
)
