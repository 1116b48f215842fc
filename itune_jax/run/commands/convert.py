"""`itune convert`: a configuration of another tool as a recipe that training takes."""

import os
import sys
import tempfile
from typing import Any

import gin

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import jsontext
from itune_jax.run import command
from itune_jax.run import gin_setup
from itune_jax.run.commands import convert_flags
from itune_jax.run.commands import train
from itune_jax.run.convert import dialect
from itune_jax.run.convert import yaml_file


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command; returns the recipe and what it leaves out.

  Raises InputError for a file that is none of a known tool, without --partial for keys that have no equal, and for
  values that training would refuse.
  """
  check.require(args.overwrite or not files.exists(args.out), f"{args.out}: is there already; give --overwrite")
  given = yaml_file.read(args.file)
  try:
    tool, others = dialect.chosen(given, convert_flags.DIALECTS, args.tool)
    draft, missing = tool.draft(given)
    draft.notes += [
      f"its keys fit {name} too, and it is read as {tool.name}: --tool={name} if it is" for name in others
    ]
  except errors.InputError as e:
    raise errors.InputError(f"{args.file}: {e}") from None
  told = "; ".join(f"{key}: {what}" for key, what in missing.items())
  check.require(args.partial or not missing, f"{args.file}: no equal: {told}; --partial writes the recipe without them")
  text = dialect.text(args.file, draft, missing, tool.name)
  _require_trains(args.file, text)
  files.write_text(args.out, text)
  for line in [*draft.notes, *(f"no equal: {key}: {what}" for key, what in missing.items())]:
    print(f"note: {jsontext.line(line)}", file=sys.stderr)
  return {"recipe": args.out, "tool": tool.name, "without": sorted(missing), "notes": len(draft.notes)}


def _require_trains(path: str, text: str) -> None:
  """Builds what the recipe says, as training would: values out of their ranges are found here."""
  with tempfile.TemporaryDirectory() as folder:
    recipe = os.path.join(folder, "recipe.gin")
    files.write_text(recipe, text)
    try:
      gin_setup.parse("train", [recipe], [], placeholders=True, command="convert")
      gin_setup.call(train.Train)
    except errors.InputError as e:
      raise errors.InputError(f"{path}: training refuses what it says: {str(e).replace(recipe, 'recipe')}") from None
    finally:
      gin.clear_config()
