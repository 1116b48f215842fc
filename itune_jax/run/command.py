"""A command as a value: its flags, and what the driver of `cli` does around its work. Nothing here needs JAX."""

import argparse
from collections.abc import Callable, Sequence
import dataclasses
from typing import Literal

from itune_jax.core import errors

Parser = argparse.ArgumentParser
Args = argparse.Namespace


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
  """One command of the command line.

  name, help: what the user types, and what it does in one line. flags: adds the flags that it has beside the common
  ones. check: raises InputError for flags that do not go together, before anything heavy is imported. work:
  "module:function"; it takes the parsed arguments and returns the result, which is printed as the last line of stdout,
  or None. gin: the file of gin_configs/runs that binds the work, "" for none; recipe: whether the user must give a
  file too. starts: whether the process needs nothing, JAX, or may join a cluster (`--cluster`). large_pages: whether
  the process asks for pages of 2 MB, which pays where steps take seconds (`memory.in_huge_pages`).
  """

  name: str
  help: str
  work: str
  flags: Callable[[Parser], None] = lambda parser: None
  check: Callable[[Args], None] = lambda args: None
  gin: str = ""
  recipe: bool = True
  starts: Literal["none", "jax", "cluster"] = "none"
  large_pages: bool = False

  def parser(self) -> Parser:
    """All flags of the command."""
    ends = "" if self.help.endswith("?") else "."
    parser = Parser(prog=f"itune {self.name}", description=self.help[0].upper() + self.help[1:] + ends)
    parser.set_defaults(command=self.name, gin_file=[], cluster="")
    if self.gin:
      gin_flags(parser, self.recipe)
    if self.starts == "cluster":
      cluster_flag(parser)
    self.flags(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser

  def parse(self, argv: Sequence[str]) -> Args:
    """The arguments behind the command's name; `overrides` are the values of --gin.NAME=VALUE as lines of gin.

    Raises InputError for values of gin that cannot be read, or where there are none, and what `check` raises; other bad
    flags end the process as argparse does.
    """
    values = [arg for arg in argv if arg.startswith("--gin.")]
    overrides = [_override(value) for value in values]
    if values and not self.gin:
      raise errors.InputError(f"{values[0]}: itune {self.name} reads no gin values")
    args = self.parser().parse_args([arg for arg in argv if not arg.startswith("--gin.")])
    args.argv, args.overrides = [self.name, *argv], overrides
    self.check(args)
    return args


def gin_flags(parser: Parser, required: bool) -> None:
  """--gin_file and --gin.NAME."""
  parser.add_argument(
    "--gin_file",
    action="append",
    default=[],
    required=required,
    metavar="FILE",
    help="a recipe or overlay; repeat to append (gin_configs/ may be left out)",
  )
  parser.add_argument("--gin.NAME", dest="_", metavar="VALUE", help="override one value, e.g. --gin.STEPS=100")


def cluster_flag(parser: Parser) -> None:
  """--cluster."""
  parser.add_argument(
    "--cluster",
    default="",
    metavar="WHERE",
    help="join the other processes of this run: auto (TPU pod, GKE, Slurm, Open MPI) or HOST:PORT,PROCESSES,INDEX",
  )


def adapter_flag(parser: Parser) -> None:
  """--adapter, of commands that may put one on the model."""
  parser.add_argument("--adapter", default="", metavar="PATH", help="a run directory, a checkpoint, or a PEFT folder")


def as_asked_flag(parser: Parser) -> None:
  """--as_asked, of commands that use an adapter with a recipe."""
  text = "use packing, template and rendering of this recipe, where the adapter was trained with others"
  parser.add_argument("--as_asked", action="store_true", help=text)


def dtype_flag(parser: Parser, of: str) -> None:
  """--dtype, of the weights that are written."""
  parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help=f"of the {of}")


def dequantise_flag(parser: Parser) -> None:
  """--dequantise."""
  text = "allow merging into the full weights of a quantised base"
  parser.add_argument("--dequantise", action="store_true", help=text)


def base_flags(parser: Parser) -> None:
  """--base, --base_name, --without_base."""
  parser.add_argument("--base", default="", metavar="PATH", help="where the adapter's base is now, if it was moved")
  name = "what a PEFT folder calls its base, such as a name on the hub (default: where the base was loaded from)"
  parser.add_argument("--base_name", default="", metavar="NAME", help=name)
  without = "write a PEFT folder without the float32 folder of a base that peft could not load (a .gguf file)"
  parser.add_argument("--without_base", action="store_true", help=without)


def out_flag(parser: Parser) -> None:
  """--out, a folder."""
  parser.add_argument("--out", required=True, help="the folder to write")


def _override(value: str) -> str:
  name, equals, text = value.removeprefix("--gin.").partition("=")
  if not equals or not name:
    raise errors.InputError(f"{value}: write it as --gin.NAME=VALUE")
  return f"{name} = {text}"
