"""Runs one itune command as a JobSet on Google Kubernetes Engine: one pod a TPU host, one job a slice.

    python scripts/launch/gke.py --name=tune --chip=v5e --topology=4x4 --image=REGISTRY/itune_jax --dry_run -- \
        train --gin_file=recipes/llama3_8b_lora_qv.gin --run_dir=/data/run

With --dry_run the manifest is printed (xpk and kubectl take it as it is); without it, it is given to `kubectl apply`.
The image is that of scripts/launch/Dockerfile. A pod that is told to go (SIGTERM) saves; the JobSet starts all again,
and the same command resumes.
"""

import argparse
import math
import shlex
import subprocess
import sys
from typing import Any

import yaml

ACCELERATORS = {"v4": "tpu-v4-podslice", "v5e": "tpu-v5-lite-podslice", "v5p": "tpu-v5p-slice", "v6e": "tpu-v6e-slice"}
CHIPS_A_HOST = 4
_JOB_INDEX = "metadata.annotations['jobset.sigs.k8s.io/job-index']"
GRACE_S = 300  # between SIGTERM and SIGKILL: time to save


def job(args) -> dict[str, Any]:
  """The job of one slice, `batch/v1`."""
  hosts = max(1, math.prod(int(n) for n in args.topology.split("x")) // CHIPS_A_HOST)
  container = {
    "name": "itune",
    "image": args.image,
    "command": _command(args),
    "env": [{"name": "PART", "valueFrom": {"fieldRef": {"fieldPath": _JOB_INDEX}}}] if args.parts else [],
    "ports": [{"containerPort": 8471}, {"containerPort": 8080}],
    "resources": {"limits": {"google.com/tpu": CHIPS_A_HOST}},
    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
  }
  pod = {
    "restartPolicy": "Never",
    "terminationGracePeriodSeconds": GRACE_S,
    "nodeSelector": {
      "cloud.google.com/gke-tpu-accelerator": ACCELERATORS[args.chip],
      "cloud.google.com/gke-tpu-topology": args.topology,
    },
    "containers": [container],
    "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": args.claim}}],
  }
  return {"parallelism": hosts, "completions": hosts, "backoffLimit": 0, "template": {"spec": pod}}


def _command(args) -> list[str]:
  """What a pod runs. The jobs of a sweep are its parts, which join nobody; a shell puts the job's number in."""
  if not args.parts:
    return ["itune", *args.command, "--cluster=auto"]
  return ["sh", "-c", f'exec itune {shlex.join(args.command)} --part="$PART/{args.slices}"']


def manifest(args) -> dict[str, Any]:
  """The JobSet, `jobset.x-k8s.io/v1alpha2`."""
  slices = {"name": "slice", "replicas": args.slices, "template": {"spec": job(args)}}
  return {
    "apiVersion": "jobset.x-k8s.io/v1alpha2",
    "kind": "JobSet",
    "metadata": {
      "name": args.name,
      # One slice belongs to one job: pods of a job are placed together, and apart from others.
      "annotations": {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"},
    },
    "spec": {"failurePolicy": {"maxRestarts": args.restarts}, "replicatedJobs": [slices]},
  }


def parse(argv: list[str]) -> argparse.Namespace:
  """The flags."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--name", required=True)
  parser.add_argument("--chip", required=True, choices=ACCELERATORS)
  parser.add_argument("--topology", required=True, help="of a slice, such as 4x4 or 4x4x4")
  parser.add_argument("--slices", type=int, default=1)
  parser.add_argument("--image", required=True)
  parser.add_argument("--claim", default="itune-data", help="persistent volume for data and runs, mounted at /data")
  parser.add_argument("--restarts", type=int, default=20, help="how often all pods are started again")
  text = "each slice, of one host, runs its part of `sweep` (its --part); give `sweep … --summary` when all have ended"
  parser.add_argument("--parts", action="store_true", help=text)
  parser.add_argument("--dry_run", action="store_true", help="print the manifest, apply nothing")
  parser.add_argument("command", nargs="+", help="an itune command and its flags, after --")
  args = parser.parse_args(argv)
  if args.parts and math.prod(int(n) for n in args.topology.split("x")) > CHIPS_A_HOST:
    parser.error(f"--parts: runs of a sweep are on one host each, of {CHIPS_A_HOST} chips; {args.topology} has more")
  return args


def main(argv: list[str]) -> int:
  """Prints the manifest or applies it."""
  args = parse(argv)
  text = yaml.safe_dump(manifest(args), sort_keys=False)
  if args.dry_run:
    print(text, end="")
    return 0
  return subprocess.run(["kubectl", "apply", "-f", "-"], input=text, text=True, check=False).returncode


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
