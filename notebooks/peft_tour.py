# %% [markdown]
# # itune_jax: a tour of adapters
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/)
#
# The same data, several parameter-efficient methods: how much each trains, how it is combined, and how it leaves. The
# model is tiny and random, so that all of it takes a minute: its losses say nothing of methods. For that see
# `experiments/peft_comparison`.

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
# `ITUNE_RECIPE=recipes/smollm2_lora.gin` takes a real model.

# %%
RECIPE = os.environ.get("ITUNE_RECIPE", "recipes/llama_tiny.gin")
METHODS = os.environ.get("ITUNE_METHODS", "lora,dora,ia3,oft,prefix").split(",")
FOLDER = os.environ.get("ITUNE_FOLDER", "peft_tour")

# %% [markdown]
# ## Which there are
#
# Each is a part of `gin_configs/peft`. A value of it is explained by `itune config`.

# %%
from itune_jax import api  # noqa: E402

api.command("itune recipes peft")

# %%
api.command("itune config lora.Lora.rank")

# %% [markdown]
# ## Train each
#
# `--peft` chooses. The learning rate is the method's own, unless you set it.

# %%
api.command(f"itune prepare --gin_file={RECIPE}")
found = {}
for method in METHODS:
  how = f"--gin_file={RECIPE} --peft={method} --steps=4 --gin.schedule.Schedule.warmup=1"
  found[method] = api.command(f"itune train {how} --run_dir={FOLDER}/{method}")

# %%
from itune_jax.core import files  # noqa: E402

for method, figures in found.items():
  facts = files.read_json(f"{FOLDER}/{method}/run.json")["facts"]
  share = facts["trainable_parameters"] / facts["parameters"]
  print(f"{method:10} trains {facts['trainable_parameters']:>9,} = {share:6.2%}; loss {figures['loss']:.3f}")

# %% [markdown]
# ## Several adapters, one model
#
# One batch may take another adapter for each of its rows, where the methods allow it.

# %%
base = api.load(f"{FOLDER}/{METHODS[0]}")
several = base.with_adapters({"first": f"{FOLDER}/{METHODS[0]}"})
several.generate(["Name a fruit.", "Name a fruit."], adapters=["first", None], max_new_tokens=4)

# %% [markdown]
# ## Out
#
# A folder of Hugging Face's peft; what was written is read again, and its logits are compared. `as_lora` makes a LoRA
# of another method, and says what is lost.

# %%
manifest = api.export_peft(base, f"{FOLDER}/out")
lora, lost = api.load(f"{FOLDER}/{METHODS[1]}").as_lora(4)
manifest["logit_parity"], lost

# %% [markdown]
# ## Together
#
# Two adapters into one model, or into one LoRA.

# %%
both = f"--adapter={FOLDER}/{METHODS[0]} --adapter={FOLDER}/{METHODS[1]}"
api.command(f"itune merge {both} --how=linear --weight=0.5 --weight=0.5 --out={FOLDER}/merged")
