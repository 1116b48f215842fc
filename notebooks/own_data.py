# %% [markdown]
# # itune_jax: your own data
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/)
#
# A file of rows, what is wrong in it, what will be trained, and what training changed on rows that were held out. A
# CPU is enough. In Colab choose *File → Upload notebook* and take this file.

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
# SmolLM2-135M-Instruct, and steps that take a minute or two on a CPU.

# %%
RECIPE = os.environ.get("ITUNE_RECIPE", "recipes/smollm2_lora.gin")
STEPS = int(os.environ.get("ITUNE_STEPS", "16"))
FOLDER = os.environ.get("ITUNE_FOLDER", "own_data")
os.makedirs(FOLDER, exist_ok=True)

# %% [markdown]
# ## Rows
#
# Messages to a shop, and which team they are for: 54 rows, in two formats. Three more are broken, as rows of real
# files are.

# %%
import json  # noqa: E402  # a cell of its own

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

TEST, TRAIN = ROWS[::4], [row for n, row in enumerate(ROWS) if n % 4]
chat = lambda row: {  # noqa: E731
  "messages": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]
}
BROKEN = [
  {"prompt": "Who is this?", "completion": None},
  {"messages": [{"role": "robot", "content": "Beep."}]},
  {"colour": "red"},
]
for name, rows in (("train", [*TRAIN[:20], *map(chat, TRAIN[20:]), *BROKEN]), ("test", TEST)):
  with open(f"{FOLDER}/{name}.jsonl", "w", encoding="utf-8") as f:
    f.writelines(json.dumps(row) + "\n" for row in rows)
len(TRAIN), len(TEST)

# %% [markdown]
# ## Prepare
#
# The rows are rendered by the model's own chat template and tokenised, once. Rows that cannot be read are named, with
# their line and the reason; none is left out in silence.

# %%
from itune_jax import api  # noqa: E402

DATA = f"--gin_file={RECIPE} --data={FOLDER}/train.jsonl"
(source,) = api.command(f"itune prepare {DATA}")["sources"]
{name: source[name] for name in ("rows", "kept", "dropped", "trained_tokens")}

# %% [markdown]
# ## What is trained
#
# Trained stretches stand between ⟦ and ⟧: the answer, and the token that ends it. Prompts are never trained.

# %%
api.command(f"itune inspect data {DATA} --examples=2")

# %% [markdown]
# ## Before
#
# The held-out rows, asked of the model as it is. `exact` wants the answer and nothing else.

# %%
TESTED = f"{DATA} --gin_file=overlays/own_data.gin --gin_file=decode/greedy.gin --eval_data={FOLDER}/test.jsonl"
TESTED += f" --run_dir={FOLDER}/run --gin.decode.Decode.max_new_tokens=6"
api.command(f"itune eval {TESTED} --name=before")

# %% [markdown]
# ## Train, and ask again
#
# The same command goes on where it was, should it be stopped.

# %%
RATE = "--gin.schedule.Schedule.rate=1e-3 --gin.schedule.Schedule.warmup=0.1"
api.command(f"itune train {DATA} --steps={STEPS} {RATE} --run_dir={FOLDER}/run")

# %%
api.command(f"itune eval {TESTED} --adapter={FOLDER}/run --name=after")

# %% [markdown]
# ## What it changed
#
# The difference on the same rows, with its interval of 95 %.

# %%
told = api.command(f"itune report --run_dir={FOLDER}/run")
{name: told[name] for name in ("exact_match_before", "exact_match_after", "gain", "gain_ci_low", "gain_ci_high")}

# %% [markdown]
# ## Use it
#
# `report.html` in the run directory shows all of it. `itune export` writes the adapter, or a whole model, as a folder
# of Hugging Face.

# %%
api.load(f"{FOLDER}/run").generate([ASKED + "The bill for the lamp is too high."], max_new_tokens=6)
