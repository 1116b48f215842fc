"""The flags of `itune templates`."""

from itune_jax.core import errors
from itune_jax.run import command


def flags(parser: command.Parser) -> None:
  """Adds them."""
  what = "list: what there is; show: the ten of a kind; render: rows through them; test: whether all rows render"
  parser.add_argument("what", choices=("list", "show", "render", "test"), help=what)
  parser.add_argument(
    "name", nargs="?", default="", help="a kind of `itune templates list`, or a .json file of your own"
  )
  parser.add_argument(
    "--rows", default="", metavar="FILE", help="rows of a task: .json, .jsonl, or a SuperNI task file"
  )
  parser.add_argument("--variant", default="zs_opt", metavar="NAME", help="zs_opt, fs_opt, zs_noopt or fs_noopt")
  parser.add_argument("--template", type=int, default=-1, metavar="N", help="render: only this one, from 0")
  parser.add_argument("--examples", type=int, default=1, metavar="N", help="render: how many rows")
  parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what is drawn")


def check(args: command.Args) -> None:
  """Raises InputError for flags that do not go together."""
  if args.what != "list" and not args.name:
    raise errors.InputError(f"itune templates {args.what} needs a name; `itune templates list` has them")
  if args.what in ("render", "test") and not args.rows:
    raise errors.InputError(f"itune templates {args.what} needs --rows=FILE: the rows of a task")
  if args.examples < 1:
    raise errors.InputError(f"--examples={args.examples}: at least 1")


COMMAND = command.Command(
  name="templates",
  help="list, show, render and test the templates of the FLAN collection",
  work="itune_jax.run.commands.templates:from_flags",
  flags=flags,
  check=check,
)
