# %% [markdown]
# # itune_jax: a TPU pod, from a notebook
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/)
#
# What a slice will do, before you rent it: does the model fit, how fast is it, and which commands start it. Nothing
# here needs a TPU. The commands at the end are printed, not run.

# %% [markdown]
# ## Install
#
# From the copy of the repository around this notebook; elsewhere, as in Colab, from the package index. `ITUNE_SOURCE`
# names another folder, wheel or address.

# %%
import importlib.util
import os
import subprocess
import sys

HERE = ".." if os.path.exists("../setup.cfg") else "itune_jax"
SOURCE = os.environ.get("ITUNE_SOURCE", HERE)
if importlib.util.find_spec("itune_jax") is None:
  folder = ["-e"] if os.path.isdir(SOURCE) else []
  subprocess.run([sys.executable, "-m", "pip", "install", "-q", *folder, SOURCE], check=True)

# %% [markdown]
# ## Settings

# %%
RECIPE = os.environ.get("ITUNE_RECIPE", "recipes/llama3_8b_lora_qv.gin")
SLICE = os.environ.get("ITUNE_SLICE", "v5e:4x4")
COMPILE = os.environ.get("ITUNE_COMPILE", "1") == "1"

# %% [markdown]
# ## Meshes
#
# A mesh part names the axes of a slice: data, fsdp, tensor, sequence, expert, stage. A recipe includes one.

# %%
from itune_jax import api  # noqa: E402

api.command("itune recipes mesh")

# %% [markdown]
# ## Does it fit?
#
# The training step of Llama 3.1 8B, made of shapes alone. The TPU compiler (`pip install libtpu`) runs on any
# machine; it compiles the very program that the slice would run. Without it, `--dry_run` traces and compiles nothing.

# %%
LIBTPU = importlib.util.find_spec("libtpu") is not None
dry = "" if COMPILE and LIBTPU else " --dry_run"
plan = api.command(f"itune plan --gin_file={RECIPE} --topology={SLICE}{dry}")

# %% [markdown]
# ## How it is started
#
# One command for a Cloud TPU slice: a queued resource, the project on every host, one process a host. `--dry_run`
# prints what would be run. The launchers are scripts of the repository.

# %%
LAUNCH = os.path.join(HERE if os.path.isdir(HERE) else os.environ.get("ITUNE_REPOSITORY", "."), "scripts", "launch")


def launch(script, *words):
  """Prints what a launcher would do."""
  path = os.path.join(LAUNCH, script)
  if not os.path.exists(path):
    return print(f"{path} is not here: set ITUNE_REPOSITORY to a copy of the repository")
  done = subprocess.run([sys.executable, path, *words], capture_output=True, text=True, check=True)
  return print(done.stdout)


TRAIN = ["train", f"--gin_file={RECIPE}", "--data=/data/train.jsonl", "--run_dir=gs://bucket/runs/pod"]
where = ["--name=tune", "--zone=us-west4-a", "--type=v5litepod-16", "--repo=https://example.org/itune_jax.git"]
launch("tpu_vm.py", *where, "--dry_run", "--", *TRAIN)

# %% [markdown]
# ## The same on Kubernetes
#
# A JobSet; xpk and kubectl take the manifest.

# %%
where = ["--name=tune", "--chip=v5e", "--topology=4x4", "--image=REGISTRY/itune_jax", "--dry_run"]
launch("gke.py", *where, "--", *TRAIN)

# %% [markdown]
# ## When a host goes
#
# A run that lost a process ends in one line everywhere, and goes on from its last checkpoint by the same command, on
# as many processes as there are then. A SIGTERM, as spot capacity gives it, saves first.
