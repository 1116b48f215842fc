"""`itune convert`: a configuration of another tool as a recipe."""

import sys
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import jsontext
from itune_jax.run import command
from itune_jax.run.convert import axolotl
from itune_jax.run.convert import dialect
from itune_jax.run.convert import llama_factory
from itune_jax.run.convert import trl
from itune_jax.run.convert import yaml_file

DIALECTS = (trl.TRL, llama_factory.LLAMA_FACTORY, axolotl.AXOLOTL)


def flags(parser: command.Parser) -> None:
  """Adds them."""
  parser.add_argument("file", help="a YAML file of TRL, LLaMA-Factory or axolotl")
  parser.add_argument("--out", required=True, metavar="FILE.gin", help="the recipe to write")
  parser.add_argument(
    "--tool", default="", choices=[one.name for one in DIALECTS], help="whose file it is, where its keys do not tell"
  )
  parser.add_argument("--partial", action="store_true", help="write the recipe without the keys that have no equal")
  command.overwrite_flag(parser, "a recipe that is there")


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command; returns the recipe and what it leaves out.

  Raises InputError for a file that is none of a known tool, and, without --partial, for keys that have no equal.
  """
  check.require(args.overwrite or not files.exists(args.out), f"{args.out}: is there already; give --overwrite")
  given = yaml_file.read(args.file)
  try:
    tool = dialect.chosen(given, DIALECTS, args.tool)
    draft, missing = tool.draft(given)
  except errors.InputError as e:
    raise errors.InputError(f"{args.file}: {e}") from None
  told = "; ".join(f"{key}: {what}" for key, what in missing.items())
  check.require(args.partial or not missing, f"{args.file}: no equal: {told}; --partial writes the recipe without them")
  files.write_text(args.out, dialect.text(args.file, draft, missing, tool.name))
  for line in [*draft.notes, *(f"no equal: {key}: {what}" for key, what in missing.items())]:
    print(f"note: {jsontext.line(line)}", file=sys.stderr)
  return {"recipe": args.out, "tool": tool.name, "without": sorted(missing), "notes": len(draft.notes)}


COMMAND = command.Command(
  name="convert",
  help="make a recipe of a TRL, LLaMA-Factory or axolotl YAML, and say what has no equal",
  work="itune_jax.run.commands.convert_flags:from_flags",
  flags=flags,
)
