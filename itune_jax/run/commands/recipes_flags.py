"""`itune recipes`: what recipes, overlays and parts there are, and what each recipe still needs."""

from itune_jax.run import command
from itune_jax.run import macros
from itune_jax.run import recipes


def flags(parser: command.Parser) -> None:
  """Adds them."""
  parser.add_argument("folder", nargs="?", default="", help="only these, e.g. recipes, peft or data")


def from_flags(args: command.Args) -> None:
  """Runs the command: prints a line for each file. Raises InputError for a folder that is not there."""
  found = [one for one in recipes.entries() if not args.folder or one.name.startswith(args.folder.strip("/") + "/")]
  if not found:
    raise recipes.unknown(args.folder)
  width = max(len(one.name) for one in found)
  for one in found:
    needs = recipes.needs(one.name) if one.name.startswith("recipes/") else ()
    more = f" [needs {', '.join(f'{macros.how(name)}' for name in needs)}]" if needs else ""
    print(f"{one.name:{width}}  {one.says}{more}")


COMMAND = command.Command(
  name="recipes", help="list recipes and parts", work="itune_jax.run.commands.recipes_flags:from_flags", flags=flags
)
