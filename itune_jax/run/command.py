"""A command as a value: its flags, and what the driver of `cli` does around its work. Nothing here needs JAX."""

import argparse
from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Literal

from itune_jax.core import errors
from itune_jax.run import flags as flags_lib
from itune_jax.run import macros
from itune_jax.run import recipes

Parser = flags_lib.Parser
Args = argparse.Namespace


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
  """One command of the command line.

  name, help: what the user types, and what it does in one line. flags: adds the flags that it has beside the common
  ones. check: raises InputError for flags that do not go together, before anything heavy is imported. work:
  "module:function"; it takes the parsed arguments and returns the result, which is printed as the last line of stdout,
  or None. gin: the file of gin_configs/runs that binds the work, "" for none; recipe: whether the user must give a
  file too. light: whether only what the work itself reaches is imported; without: values that are left out then
  ("module.Class.field"). reads_data: whether modules of the user's that register data with SeqIO are imported, and
  TensorFlow with them. placeholders: whether it does without files that nothing names. starts: whether the process
  needs nothing, JAX, or may join a cluster (`--cluster`). large_pages: whether the process asks for pages of 2 MB,
  which pays where steps take seconds (`memory.in_huge_pages`). passes_gin: whether values of gin are handed on to the
  commands that it calls. own_base: whether its own flags hold --base (`base_flags`): the model keeps what else an
  adapter says of it. says_idle: what is said of a user's file of which the command reads nothing; "" for no word, as
  where the same files are given to several commands. hands_on: whether flags that it does not know are another
  program's, as `rest` of the arguments.
  """

  name: str
  help: str
  work: str
  flags: Callable[[Parser], None] = lambda parser: None
  check: Callable[[Args], None] = lambda args: None
  gin: str = ""
  recipe: bool = True
  optional: bool = False
  light: bool = False
  without: tuple[str, ...] = ()
  placeholders: bool = False
  reads_data: bool = False
  starts: Literal["none", "jax", "cluster"] = "none"
  large_pages: bool = False
  passes_gin: bool = False
  own_base: bool = False
  says_idle: str = ""
  hands_on: bool = False

  def parser(self) -> Parser:
    """All flags of the command."""
    ends = "" if self.help.endswith("?") else "."
    about = self.help[0].upper() + self.help[1:] + ends
    # No abbreviations: --step would else be --steps where a command has no such flag.
    how = flags_lib.Help
    parser = Parser(prog=f"itune {self.name}", description=about, allow_abbrev=False, formatter_class=how)
    parser.epilog = _recipes(recipes.root()) if self.gin and self.recipe else None
    parser.set_defaults(command=self.name, gin_file=[], cluster="", imports=[], peft="", gin=self.gin)
    if self.gin:
      gin_flags(parser, self.gin, self.recipe, self.own_base, self.optional)
    if self.starts == "cluster":
      cluster_flag(parser)
    self.flags(parser)
    parser.add_argument("--log_json", action="store_true", help="each line of stderr as a JSON object, for programs")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser

  def parse(self, argv: Sequence[str]) -> Args:
    """The arguments behind the command's name; `overrides` are the values of --gin.NAME=VALUE as lines of gin.

    Raises InputError for values of gin that cannot be read, or where there are none, for flags that are not there, have
    no value or two, and what `check` raises. `--help` ends the process, as argparse does.
    """
    values = [arg for arg in argv if arg.startswith("--gin.")]
    overrides = [_override(value) for value in values]
    takes_gin = bool(self.gin or self.passes_gin)
    if values and not takes_gin:
      raise errors.InputError(f"{values[0]}: itune {self.name} reads no gin values")
    parser, given = self.parser(), [arg for arg in argv if not arg.startswith("--gin.")]
    if not {"-h", "--help"} & set(given):
      flags_lib.check(parser, given, takes_gin, self.hands_on)
    args, args.rest = parser.parse_known_args(given) if self.hands_on else (parser.parse_args(given), [])
    flags_lib.check_places(parser, args)
    flags_lib.check_once([*_named(args), *((value.partition("=")[0], _name(value)) for value in values)])
    args.gin_values = values
    if args.peft:
      args.gin_file.append(recipes.part("peft", args.peft))
    self.check(args)
    args.argv, args.overrides = [self.name, *argv], [*_short(args), *overrides]
    return args


@functools.cache
def _recipes(top: str) -> str:
  """The recipes below a folder, and what each needs, for a help text. A sweep parses flags for each of its runs."""
  del top  # `entries` finds it; here it says when the text is another
  lines = ["recipes (itune recipes says more), and what each needs:"]
  for one in recipes.entries():
    if one.name.startswith("recipes/"):
      name = one.name.removeprefix("recipes/").removesuffix(".gin")
      needs = " ".join(macros.how(need) for need in recipes.needs(one.name))
      lines.append(f"  --gin_file={name:24} {needs}".rstrip())
  return "\n".join(lines).replace("%", "%%")


# Short forms: the macro, and what stands behind the flag in a help text. Those of a recipe, and those of any model.
_SHORT = {"DATA": "FILE", "STEPS": "N", "EPOCHS": "X", "EVAL_DATA": "FILE", "CHECK": "NAME", "EVAL_LIMIT": "N"}
_SHORT |= {"VAL_DATA": "FILE", "VAL_FRACTION": "X"}
_SHORT_OF_MODEL = {"BASE": "MODEL"}


def items_limit(args: Args) -> int:
  """--limit as the number of items of each benchmark, 0 without one; it is no macro then. Raises InputError for what is
  no number."""
  text, args.macro_EVAL_LIMIT = args.macro_EVAL_LIMIT, None
  if text is None:
    return 0
  if not text.isdecimal():
    raise errors.InputError(f"--limit must be a number of items, not {text}")
  return int(text)


# The part that a macro belongs to, by which a run reads it.
_PART_OF = {"DATA": "MIXTURE", "BASE": "MODEL", "EVAL_DATA": "EVALS", "CHECK": "EVALS", "EVAL_LIMIT": "EVALS"}


def gin_flags(parser: Parser, run: str, required: bool, own_base: bool = False, optional: bool = False) -> None:
  """--gin_file, the short forms of macros, --import and --gin.NAME.

  Help leaves out short forms of what the run does not read. Where the recipe has such a value they are taken, since all
  commands of a recipe may get the same flags.
  """
  reads = recipes.used(f"runs/{run}.gin")
  parser.add_argument(
    "--gin_file",
    action="append",
    default=[],
    required=required and not optional,
    metavar="FILE",
    help="a recipe or overlay; repeat to append (gin_configs/ may be left out)",
  )
  for name, metavar in {**(_SHORT if required else {}), **({} if own_base else _SHORT_OF_MODEL)}.items():
    macro = macros.MACROS[name]
    text = f"{macro.purpose} (sets {name})".replace("%", "%%")
    shown = text if _PART_OF.get(name, name) in reads else argparse.SUPPRESS
    parser.add_argument(f"--{macro.flag}", dest=f"macro_{name}", metavar=metavar, help=shown)
  if required:
    parser.add_argument(
      "--peft",
      default="",
      metavar="METHOD",
      help="what trains: a part of gin_configs/peft (sets PEFT)" if "PEFT" in reads else argparse.SUPPRESS,
    )
  import_flag(parser, "its classes are then @MODULE.Name")
  text = "override one value, e.g. --gin.STEPS=100; what is no gin is text where text is wanted (--gin.DATA=mine.jsonl)"
  parser.add_argument("--gin.NAME=VALUE", dest="_", action="store_true", help=text)


def import_flag(parser: Parser, what: str) -> None:
  """--import. what: what the module is then good for."""
  text = f"a module of your own, found in the current folder too; {what}; repeat for more"
  parser.add_argument("--import", dest="imports", action="append", default=[], metavar="MODULE", help=text)


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


def base_flags(parser: Parser, base: str = "the model; beside --adapter, where its base is now") -> None:
  """--base, --base_name, --without_base. base: what the first is, for its help."""
  parser.add_argument("--base", default="", metavar="PATH", help=base)
  name = "what a PEFT folder calls its base, such as a name on the hub (default: where the base was loaded from)"
  parser.add_argument("--base_name", default="", metavar="NAME", help=name)
  without = "write a PEFT folder without the float32 folder of a base that peft could not load (a .gguf file)"
  parser.add_argument("--without_base", action="store_true", help=without)


def require_no_naming(args: Args, of: str) -> None:
  """Raises InputError for --base_name and --without_base where no PEFT folder is written. of: whose they are."""
  for name in ("base_name", "without_base"):
    if getattr(args, name):
      raise errors.InputError(f"--{name} is {of}: leave it out")


def out_flag(parser: Parser) -> None:
  """--out, a folder, and --overwrite."""
  parser.add_argument("--out", required=True, help="the folder to write")
  overwrite_flag(parser, "an earlier export in --out")


def beam_flag(parser: Parser, what: str) -> None:
  """--beam."""
  text = (
    f"{what} in a pipeline of Apache Beam, with these options of Beam's (--beam='--runner=… --NAME=VALUE'; by itself: "
    "the DirectRunner, a process a core); the result is the same"
  )
  parser.add_argument("--beam", nargs="?", const="", metavar="OPTIONS", help=text)


def overwrite_flag(parser: Parser, what: str) -> None:
  """--overwrite, of commands that refuse to replace what is there."""
  parser.add_argument("--overwrite", action="store_true", help=f"replace {what}")


def _short(args: Args) -> list[str]:
  """The short forms as lines of gin: a file or a model is text, whatever its name looks like; gin reads the others."""
  flags = {name.removeprefix("macro_"): value for name, value in vars(args).items() if name.startswith("macro_")}
  lines = []
  for name, value in ((name, value) for name, value in flags.items() if value is not None):
    macro = macros.MACROS[name]
    if not value.strip():
      raise errors.InputError(f"--{macro.flag} is empty: it is {macro.purpose}")
    lines.append(f"{name} = {value!r}" if macro.text else f"{name} = {value}")
  return lines


def _named(args: Args) -> list[tuple[str, str]]:
  """The short forms that are given, and the macro that each sets."""
  found = [
    (f"--{macros.MACROS[name].flag}", name) for name in macros.MACROS if vars(args).get(f"macro_{name}") is not None
  ]
  return [*found, ("--peft", "PEFT")] if args.peft else found


def _name(value: str) -> str:
  """What a value of gin is of; of a class in a scope the scope stays in front."""
  return value.removeprefix("--gin.").partition("=")[0].strip()


def _override(value: str) -> str:
  name, equals, text = value.removeprefix("--gin.").partition("=")
  if not equals or not name:
    raise errors.InputError(f"{value}: write it as --gin.NAME=VALUE")
  if "\n" in value:
    raise errors.InputError(f"{value.splitlines()[0]} …: one value stands on one line")
  return f"{name} = {text}"
