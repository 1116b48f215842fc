# %% [markdown]
# # itune_jax: learning from preferences
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/)
#
# Direct preference optimisation (DPO) on pairs of answers: what a pair is, where the loss must begin, and what it
# does to the two answers. The model is tiny and random, the pairs are those of the starter set; `ITUNE_MODEL` takes
# others: the flags of a model and of its data.

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
MODEL = os.environ.get("ITUNE_MODEL", "--gin_file=overlays/smoke_pairs.gin")
FOLDER = os.environ.get("ITUNE_FOLDER", "preferences")
os.makedirs(FOLDER, exist_ok=True)

# %% [markdown]
# ## Pairs
#
# A prompt, an answer that is preferred, and one that is not. Both lie in one row with their prompt once, and the
# gradients are those of two rows. Pairs that are none are counted by reason.

# %%
from itune_jax import api  # noqa: E402

HOW = f"--gin_file=preference {MODEL}"
(source,) = api.command(f"itune prepare {HOW}")["sources"]
{name: source[name] for name in ("rows", "kept", "dropped", "trained_tokens")}

# %% [markdown]
# ## Train
#
# The reference is the base with its adapter off: the same weights, no copy. So the loss begins at log 2 = 0.693, and
# a run where it does not is refused.

# %%
RATE = "--gin.schedule.Schedule.rate=1e-2 --gin.schedule.Schedule.warmup=1"
api.command(f"itune train {HOW} --steps=12 {RATE} --run_dir={FOLDER}/dpo")

# %%
import json  # noqa: E402
import pathlib  # noqa: E402

lines = pathlib.Path(f"{FOLDER}/dpo/metrics.jsonl").read_text(encoding="utf-8").splitlines()
steps = [json.loads(line) for line in lines]
shown = [name for name in steps[0] if name == "loss" or "margin" in name or "accuracy" in name or "reward" in name]
for line in steps[::4] + steps[-1:]:
  print(line["step"], {name: round(line[name], 4) for name in shown})

# %% [markdown]
# ## Another loss
#
# The losses of the family are values of one class, others are parts of `gin_configs/objective`.

# %%
api.command("itune config dpo.Dpo.losses")

# %%
api.command(f"itune train --gin_file=preference --gin_file=objective/simpo.gin {MODEL} --run_dir={FOLDER}/simpo")
