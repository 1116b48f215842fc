"""Runs one itune command under Slurm, one process for each GPU node: `slurm.py --nodes=8 --gpus=8 --dry_run -- train …`

With --dry_run the batch script is printed; without it, it is given to `sbatch`. Slurm sends SIGTERM before the time
limit: the run saves, and the script puts itself in the queue again until the command ends well.
"""

import argparse
import shlex
import subprocess
import sys

SCRIPT = """#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node={gpus}
#SBATCH --time={time}
#SBATCH --signal=TERM@{grace}
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output={log}
{array}set -uo pipefail
cd {folder}
srun --kill-on-bad-exit=1 .venv/bin/itune {command} {how}
code=$?
if [ "$code" -eq 1 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {restarts} ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""


def script(args) -> str:
  """The batch script. Exit code 2 is bad input: that is not tried again."""
  values = {name: getattr(args, name) for name in ("nodes", "gpus", "time", "grace", "restarts")}
  command, folder = shlex.join(args.command), shlex.quote(args.folder)
  last = args.array - 1
  # The tasks of an array are parts of a sweep: they join nobody.
  how = f"--part=$SLURM_ARRAY_TASK_ID/{args.array}" if args.array else "--cluster=auto"
  array = f"#SBATCH --array=0-{last}\n" if args.array else ""
  log = f"{args.name}-%a.log" if args.array else f"{args.name}.log"
  own = {"name": shlex.quote(args.name), "log": shlex.quote(log), "array": array, "how": how}
  return SCRIPT.format(folder=folder, command=command, **own, **values)


def main(argv: list[str]) -> int:
  """Prints the script or submits it."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--name", default="itune")
  parser.add_argument("--nodes", type=int, required=True)
  parser.add_argument("--gpus", type=int, default=8, help="of a node (default: 8)")
  parser.add_argument("--time", default="24:00:00", help="limit of one turn in the queue")
  parser.add_argument(
    "--grace", type=int, default=300, help="seconds before the limit at which the run is told to save"
  )
  parser.add_argument("--restarts", type=int, default=20, help="turns in the queue after the first")
  parser.add_argument("--folder", default=".", help="the checkout, with its .venv, on a disk that all nodes see")
  text = "tasks of an array, each of one part of `sweep` (its --part); give `sweep … --summary` when all have ended"
  parser.add_argument("--array", type=int, default=0, metavar="N", help=text)
  parser.add_argument("--dry_run", action="store_true", help="print the script, submit nothing")
  parser.add_argument("command", nargs="+", help="an itune command and its flags, after --")
  args = parser.parse_args(argv)
  text = script(args)
  if args.dry_run:
    print(text, end="")
    return 0
  return subprocess.run(["sbatch"], input=text, text=True, check=False).returncode


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
