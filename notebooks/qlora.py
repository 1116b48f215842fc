# %% [markdown]
# # itune_jax: QLoRA on one GPU
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/)
#
# The frozen weights in 4 bits, an adapter in float32: what fits, what it costs, and how it leaves. On a GPU or TPU
# the same cells take a model of billions; here they run on a CPU with a small one.

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
#
# On a GPU: `ITUNE_BASE=meta-llama/Llama-3.2-1B-Instruct` (a hub id or a folder), and a few hundred steps.
# `mesh/auto.gin` of the recipe takes the devices that are there. On a T4, `--gin_file=precision/bf16_base.gin` is
# left out: it computes bfloat16 slowly.

# %%
BASE = os.environ.get("ITUNE_BASE", "smollm2-135m-instruct")
STEPS = int(os.environ.get("ITUNE_STEPS", "6"))
FOLDER = os.environ.get("ITUNE_FOLDER", "qlora")
os.makedirs(FOLDER, exist_ok=True)

# %% [markdown]
# ## How small
#
# The same model three times: its weights in float32, in bfloat16, and its kernels packed as 4-bit NormalFloat with
# double quantisation. Tables of tokens stay whole.

# %%
from itune_jax import api  # noqa: E402
from itune_jax.nn import quant  # noqa: E402

sizes = {}
for name, how in {
  "float32": {},
  "bfloat16": {"dtype": "bfloat16"},
  "nf4": {"dtype": "bfloat16", "quant": quant.Quant(kind="nf4")},
}.items():
  params = api.load(BASE, **how).session.base.params
  sizes[name] = sum(array.nbytes for array in params.values())
  print(f"{name:9} {sizes[name] / 2**20:8.1f} MiB")

# %% [markdown]
# ## Train
#
# The overlay packs the base of any recipe. Gradients go through the packed kernels to the adapter, and only the
# packed ones are kept for the backward pass.

# %%
import json  # noqa: E402

with open(f"{FOLDER}/rows.jsonl", "w", encoding="utf-8") as f:
  f.writelines(
    json.dumps({"prompt": f"Spell {word} backwards.", "completion": word[::-1]}) + "\n"
    for word in ("lamp", "desk", "river", "stone", "apple", "cloud", "tiger", "paper", "glass", "north")
  )
HOW = f"--gin_file=any_lora --gin_file=overlays/qlora.gin --base={BASE} --data={FOLDER}/rows.jsonl"
api.command(f"itune prepare {HOW}")
api.command(f"itune train {HOW} --steps={STEPS} --gin.schedule.Schedule.warmup=1 --run_dir={FOLDER}/run")

# %% [markdown]
# ## Ask
#
# The adapter remembers how its base was packed.

# %%
api.load(f"{FOLDER}/run").generate(["Spell stone backwards."], max_new_tokens=8)

# %% [markdown]
# ## Out
#
# The adapter leaves as it is. Merged into the full weights it is not quite the model that was trained: the weights
# that it learned beside were rounded. So that is refused, unless you say it.

# %%
from itune_jax.core import errors  # noqa: E402

api.command(f"itune export --adapter={FOLDER}/run --format=peft --base_name=owner/base --out={FOLDER}/peft")
try:
  api.command(f"itune export --adapter={FOLDER}/run --format=hf --out={FOLDER}/whole")
except errors.RunError as e:
  print(e)
