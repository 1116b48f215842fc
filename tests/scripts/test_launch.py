"""What the launchers would run: manifests that Kubernetes takes, scripts that a shell reads."""

import pathlib
import shlex
import subprocess

import kubernetes_validate
import pytest
import yaml

from scripts.launch import gke
from scripts.launch import local
from scripts.launch import slurm
from scripts.launch import tpu_vm

ROOT = pathlib.Path(__file__).parent.parent.parent
TRAIN = ["--", "train", "--gin_file=recipes/llama3_8b_lora_qv.gin", "--gin.DATA='a b.jsonl'", "--run_dir=/data/run"]
GKE = ["--name=tune", "--chip=v5e", "--topology=16x16", "--slices=2", "--image=here/itune", "--dry_run", *TRAIN]


def test_the_manifest_is_one_pod_a_host_and_valid(capsys):
  assert gke.main(GKE) == 0
  made = yaml.safe_load(capsys.readouterr().out)
  (slices,) = made["spec"]["replicatedJobs"]
  job = slices["template"]["spec"]
  assert (made["kind"], slices["replicas"], job["parallelism"], job["completions"]) == ("JobSet", 2, 64, 64)
  whole = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "slice"}, "spec": job}
  kubernetes_validate.validate(whole, kubernetes_validate.latest_version(), strict=True)
  assert job["template"]["spec"]["containers"][0]["command"] == ["itune", *TRAIN[1:], "--cluster=auto"]
  job["template"]["spec"]["containers"][0]["imag"] = "typo"
  with pytest.raises(kubernetes_validate.ValidationError):
    kubernetes_validate.validate(whole, kubernetes_validate.latest_version(), strict=True)


def test_the_batch_script_is_read_by_a_shell_and_keeps_the_command(capsys):
  assert slurm.main(["--nodes=4", "--dry_run", *TRAIN]) == 0
  text = capsys.readouterr().out
  subprocess.run(["bash", "-n"], input=text, text=True, check=True)
  (line,) = [line for line in text.splitlines() if line.startswith("srun")]
  assert shlex.split(line)[2:] == [".venv/bin/itune", *TRAIN[1:], "--cluster=auto"]
  assert "#SBATCH --nodes=4" in text and "#SBATCH --signal=TERM@300" in text


def test_an_array_of_slurm_and_slices_of_a_jobset_each_run_a_part_of_a_sweep(capsys):
  sweep = ["--", "sweep", "--sweep=s.toml", "--out=/data/s", "--gin_file=recipes/demo.gin"]
  assert slurm.main(["--nodes=1", "--array=8", "--dry_run", *sweep]) == 0
  text = capsys.readouterr().out
  subprocess.run(["bash", "-n"], input=text, text=True, check=True)
  assert "#SBATCH --array=0-7\n" in text and "--part=$SLURM_ARRAY_TASK_ID/8\n" in text and "--cluster" not in text
  flags = ["--name=tune", "--chip=v5e", "--slices=8", "--image=here/itune", "--dry_run", "--parts"]
  assert gke.main([*flags, "--topology=2x2", *sweep]) == 0
  made = yaml.safe_load(capsys.readouterr().out)
  job = made["spec"]["replicatedJobs"][0]["template"]["spec"]
  whole = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "slice"}, "spec": job}
  kubernetes_validate.validate(whole, kubernetes_validate.latest_version(), strict=True)
  assert job["template"]["spec"]["containers"][0]["command"][-1].endswith('--part="$PART/8"')
  with pytest.raises(SystemExit):
    gke.main([*flags, "--topology=4x4", *sweep])


def test_queued_resources_are_asked_for_and_every_host_starts(capsys):
  flags = ["--name=tune", "--zone=us-west4-a", "--type=v5litepod-16", "--repo=https://example.org/x.git", "--dry_run"]
  assert tpu_vm.main([*flags, "--slices=2", *TRAIN]) == 0
  lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]
  ask, wait, first, second, give_back = lines
  assert ask[3:6] == ["queued-resources", "create", "tune"] and "--node-count=2" in ask
  assert "--runtime-version=v2-alpha-tpuv5-lite" in ask and "ACTIVE" in wait[-1] and give_back[4] == "delete"
  assert first[5] == "tune-0" and second[5] == "tune-1" and "--worker=all" in first
  inside = first[-1].removeprefix("--command=")
  subprocess.run(["bash", "-n"], input=inside, text=True, check=True)
  assert shlex.split(inside)[-len(TRAIN) :] == [*TRAIN[1:], "--cluster=auto"]
  with pytest.raises(SystemExit):
    tpu_vm.main([*flags[:2], "--type=h100-8", *flags[3:], *TRAIN])


def test_the_image_copies_what_there_is():
  lines = (ROOT / "scripts" / "launch" / "Dockerfile").read_text().splitlines()
  copied = [name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]]
  assert copied and all((ROOT / name).exists() for name in copied)


@pytest.mark.heavy
def test_local_processes_report_the_worst(capfd):
  assert local.main(["2", "train", "--gin_file=recipes/no_such.gin", "--run_dir=x"]) == 2
  assert "2 processes: failed were 0 (code 2), 1 (code 2)" in capfd.readouterr().err
  assert local.main(["two"]) == 2
