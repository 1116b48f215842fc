# %% [markdown]
# # itune_jax: an ablation, from grid to table
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/)
#
# Two methods by two rates by two seeds on data of your own, and what each value did, with intervals. The model is
# tiny and random so that eight runs take two minutes; `ITUNE_RECIPE=recipes/smollm2_lora.gin` takes a real one.

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
RECIPE = os.environ.get("ITUNE_RECIPE", "")
SEEDS = [int(seed) for seed in os.environ.get("ITUNE_SEEDS", "0,1").split(",")]
FOLDER = os.environ.get("ITUNE_FOLDER", "ablation")
os.makedirs(FOLDER, exist_ok=True)
if not RECIPE:
  RECIPE = f"{FOLDER}/tiny.gin"
  with open(RECIPE, "w", encoding="utf-8") as f:
    f.write('include "recipes/llama_tiny.gin"\ninclude "peft/lora.gin"\ninclude "data/jsonl.gin"\n')

# %% [markdown]
# ## Rows
#
# Messages to a shop, and which team they are for.

# %%
import json  # noqa: E402  # a cell of its own
import pathlib  # noqa: E402

PARTS = {
  "billing": ("I was charged twice for {}.", "The invoice for {} is wrong.", "Please refund {}."),
  "delivery": ("Where is my parcel with {}?", "{} arrived broken.", "{} should have come last week."),
  "account": ("I cannot log in to order {}.", "Delete my data about {}.", "My password for {} does not work."),
}
THINGS = ("a lamp", "two chairs", "the red desk", "a kettle", "my new bike", "the blue rug")
ASKED = "Which team is this for: billing, delivery or account? Answer with one word.\n"
ROWS = [
  {"prompt": ASKED + text.format(thing), "completion": team}
  for team, texts in PARTS.items()
  for text in texts
  for thing in THINGS
]

with open(f"{FOLDER}/rows.jsonl", "w", encoding="utf-8") as f:
  f.writelines(json.dumps(row) + "\n" for row in ROWS)
len(ROWS)

# %% [markdown]
# ## What varies
#
# A file of values; no program.

# %%
with open(f"{FOLDER}/methods.toml", "w", encoding="utf-8") as f:
  f.write(f"""question = "LoRA or DoRA, at which rate?"
seeds = {SEEDS}
metric = "validation/loss"

[grid]
peft = ["lora", "dora"]
"schedule.Schedule.rate" = [3e-4, 1e-2]
""")

# %% [markdown]
# ## The plan
#
# What would run, before anything does. A fifth of the rows is held out, by the hash of their text.

# %%
from itune_jax import api  # noqa: E402

HOW = f"--sweep={FOLDER}/methods.toml --out={FOLDER}/methods --gin_file={RECIPE} --data={FOLDER}/rows.jsonl"
HOW += " --val_fraction=0.2 --steps=6 --gin.schedule.Schedule.warmup=1"
planned = api.command(f"itune sweep {HOW} --dry_run")

# %% [markdown]
# ## Run
#
# What is done stays: give the command again after a stop, or with more values.

# %%
done = api.command(f"itune sweep {HOW}")

# %% [markdown]
# ## What it tells
#
# A main effect is the mean difference of runs that are equal in all else; × is an interaction. `sweep.html` is the
# page, and the same table is there as LaTeX, CSV and JSON.

# %%
print(pathlib.Path(f"{FOLDER}/methods/sweep.md").read_text(encoding="utf-8"))
