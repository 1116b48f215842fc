"""`itune convert`: a configuration of another tool as a recipe."""

from itune_jax.run import command
from itune_jax.run.convert import axolotl
from itune_jax.run.convert import llama_factory
from itune_jax.run.convert import trl
from itune_jax.run.convert import trl_dpo

DIALECTS = (trl.TRL, trl_dpo.TRL_DPO, llama_factory.LLAMA_FACTORY, axolotl.AXOLOTL)


def flags(parser: command.Parser) -> None:
  """Adds them."""
  parser.add_argument("file", help="a YAML file of TRL, LLaMA-Factory or axolotl")
  parser.add_argument("--out", required=True, metavar="FILE.gin", help="the recipe to write")
  parser.add_argument(
    "--tool", default="", choices=[one.name for one in DIALECTS], help="whose file it is, where its keys do not tell"
  )
  parser.add_argument("--partial", action="store_true", help="write the recipe without the keys that have no equal")
  command.overwrite_flag(parser, "a recipe that is there")


COMMAND = command.Command(
  name="convert",
  help="make a recipe of a TRL, LLaMA-Factory or axolotl YAML, and say what has no equal",
  work="itune_jax.run.commands.convert:from_flags",
  flags=flags,
)
