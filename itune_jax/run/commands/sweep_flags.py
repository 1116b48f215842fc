"""The flags of `itune sweep`: its own, and those of the training runs that it hands on."""

import re

from itune_jax.core import errors
from itune_jax.run import command
from itune_jax.run.commands import train_flags


def flags(parser: command.Parser) -> None:
  """Adds them."""
  parser.add_argument("--sweep", required=True, metavar="FILE", help="what varies: a TOML file (docs/guides/sweep.md)")
  parser.add_argument(
    "--out", required=True, metavar="DIR", help="the folder of all runs; given again, what is done stays"
  )
  parser.add_argument("--workers", type=int, default=1, metavar="N", help="runs at a time (default: 1)")
  text = "cut the devices of this machine into N groups of neighbours, and run one run on each at a time"
  parser.add_argument("--sub_meshes", type=int, default=0, metavar="N", help=text)
  text = "run the K-th of N parts of the runs, counted from 0, and no summary: for the tasks of a cluster's array"
  parser.add_argument("--part", default="", metavar="K/N", help=text)
  parser.add_argument("--dry_run", action="store_true", help="print the runs and what they will take, and run nothing")
  text = (
    "with --dry_run: `itune plan` every point for this slice, such as v5e:4x4: what fits, and the hours of all steps"
  )
  parser.add_argument("--topology", default="", metavar="SLICE", help=text)
  parser.add_argument("--summary", action="store_true", help="run nothing, summarise what is done")
  parser.add_argument("--price", type=float, default=0.0, metavar="X", help="of an hour of this machine, for the plan")
  parser.epilog = (
    "All other flags are those of itune train (itune train --help), and every run gets them: a recipe by --gin_file, "
    "--data, --base, --gin.NAME=VALUE."
  )


def check(args: command.Args) -> None:
  """Raises InputError for flags that do not go together, and for those that `itune train` would refuse."""
  if args.workers < 1:
    raise errors.InputError(f"--workers={args.workers}: runs at a time, one or more")
  if args.sub_meshes < 0:
    raise errors.InputError(f"--sub_meshes={args.sub_meshes}: groups of devices, one or more")
  if args.sub_meshes and args.workers > 1:
    raise errors.InputError(f"--sub_meshes={args.sub_meshes} says how many run at a time: --workers={args.workers} too")
  if args.sub_meshes and args.topology:
    raise errors.InputError(
      f"--topology={args.topology} plans a whole slice: name that of one group, without --sub_meshes"
    )
  if not args.price >= 0:
    raise errors.InputError(f"--price={args.price}: a price is 0 or more")
  if args.topology and not args.dry_run:
    raise errors.InputError(f"--topology={args.topology} plans and runs nothing: give --dry_run with it")
  if args.part and not (found := re.fullmatch(r"(\d+)/(\d+)", args.part)):
    raise errors.InputError(f"--part={args.part}: write it as K/N, such as 0/8")
  if args.part and not int(found[1]) < int(found[2]):
    raise errors.InputError(f"--part={args.part}: the parts of {found[2]} are 0 to {int(found[2]) - 1}")
  taken = [name for name in ("--run_dir", "--cluster") if any(one.split("=")[0] == name for one in args.rest)]
  if taken:
    raise errors.InputError(f"{taken[0]}: each run of a sweep has its own; give --out, and a launcher's own array")
  train_flags.COMMAND.parse([*args.rest, *args.gin_values, "--run_dir=x"])


COMMAND = command.Command(
  name="sweep",
  help="train one recipe many times with other values, and tell what each value did",
  work="itune_jax.run.commands.sweep:from_flags",
  flags=flags,
  check=check,
  passes_gin=True,
  hands_on=True,
)
