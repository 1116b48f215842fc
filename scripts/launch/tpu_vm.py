"""Runs one itune command on a Cloud TPU slice: a queued resource, the project installed on it, every host started.

    python scripts/launch/tpu_vm.py --name=tune --zone=us-west4-a --type=v5litepod-16 --repo=https://…/itune_jax.git \
        --dry_run -- train --gin_file=recipes/llama3_8b_lora_qv.gin --data=/data/train.jsonl --run_dir=/data/run

With --dry_run the gcloud commands are printed; without it they are run, one after the other. /data is a disk that all
hosts see. Several slices: --slices=2 and a mesh part with `slices`. The last command that is printed gives the slice
back; it is yours to run.
"""

import argparse
import shlex
import subprocess
import sys

RUNTIMES = {
  "v4": "tpu-ubuntu2204-base",
  "v5litepod": "v2-alpha-tpuv5-lite",
  "v5p": "v2-alpha-tpuv5",
  "v6e": "v2-alpha-tpuv6e",
}


def commands(args) -> list[list[str]]:
  """The gcloud commands: ask, wait, run, and how to give it back."""
  runtime = RUNTIMES[args.type.split("-")[0]]
  nodes = (
    [f"--node-id={args.name}"] if args.slices == 1 else [f"--node-count={args.slices}", f"--node-prefix={args.name}"]
  )
  hosts = [args.name] if args.slices == 1 else [f"{args.name}-{i}" for i in range(args.slices)]
  gcloud, zone = ["gcloud", "compute", "tpus"], f"--zone={args.zone}"
  ask = [*gcloud, "queued-resources", "create", args.name, *nodes, zone, f"--accelerator-type={args.type}"]
  ask += [f"--runtime-version={runtime}"] + (["--spot"] if args.spot else [])
  wait = ["bash", "-c", f"until {shlex.join([*gcloud, 'queued-resources', 'describe', args.name, zone])}"
          " --format='value(state.state)' | grep -q ACTIVE; do sleep 30; done"]  # fmt: skip
  itune = shlex.join([".venv/bin/itune", *args.command, "--cluster=auto"])
  work = (
    f"git clone -q {shlex.quote(args.repo)} itune_jax 2>/dev/null; cd itune_jax && git pull -q; "
    "python3.11 -m venv .venv && .venv/bin/pip install -q -r requirements.lock && "
    f".venv/bin/pip install -q -e '.[tpu]' && {itune}"
  )
  run = [[*gcloud, "tpu-vm", "ssh", host, zone, "--worker=all", f"--command={work}"] for host in hosts]
  return [ask, wait, *run, [*gcloud, "queued-resources", "delete", args.name, zone, "--force"]]


def main(argv: list[str]) -> int:
  """Prints the commands or runs them."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--name", required=True, help="of the queued resource and its nodes")
  parser.add_argument("--zone", required=True)
  parser.add_argument("--type", required=True, help="accelerator type, such as v5litepod-16, v5p-128, v6e-256")
  parser.add_argument("--slices", type=int, default=1)
  parser.add_argument("--repo", required=True, help="where the hosts clone the project from")
  parser.add_argument("--spot", action="store_true", help="cheaper, and may be taken away: the run saves and resumes")
  parser.add_argument("--dry_run", action="store_true", help="print the commands, run nothing")
  parser.add_argument("command", nargs="+", help="an itune command and its flags, after --")
  args = parser.parse_args(argv)
  if args.type.split("-")[0] not in RUNTIMES:
    parser.error(f"--type={args.type}: known are {', '.join(f'{kind}-N' for kind in RUNTIMES)}")
  *todo, give_back = commands(args)
  for command in todo if args.dry_run else ():
    print(shlex.join(command))
  if not args.dry_run:
    *before, last = todo[: -args.slices], todo[-args.slices :]
    for command in before:
      subprocess.run(command, check=True)
    codes = [process.wait() for process in [subprocess.Popen(command) for command in last]]
    if any(codes):
      print("a host failed; the same command, run again on these hosts, resumes the run", file=sys.stderr)
      return 1
  print(("# to give it back:\n" if args.dry_run else "to give it back: ") + shlex.join(give_back))
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
