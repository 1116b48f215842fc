# %% [markdown]
# # itune_jax: evaluation
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/)
#
# A benchmark of your own, answers that are there already, two runs compared item by item, and a model. The first three
# need no accelerator. In Colab choose *File → Upload notebook* and take this file.

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
# `MODEL` are the flags that name a model.

# %%
MODEL = os.environ.get("ITUNE_MODEL", "--base=smollm2-135m-instruct").split()
FOLDER = os.environ.get("ITUNE_FOLDER", "evaluation")

# %% [markdown]
# ## Which benchmarks there are
#
# `itune eval --list` prints the same table. Their files are yours to bring; of what is missing one line says where it
# is had.

# %%
from itune_jax.run import cli  # noqa: E402  # a cell of its own

cli.main(["eval", "--list"])

# %% [markdown]
# ## A benchmark of your own
#
# A table, and some lines that say how it is asked.

# %%
import json  # noqa: E402

CAPITALS = {
  "France": "Paris",
  "Kenya": "Nairobi",
  "Peru": "Lima",
  "Japan": "Tokyo",
  "Egypt": "Cairo",
  "Chad": "N'Djamena",
}
OWN = f"{FOLDER}/capitals"
os.makedirs(OWN, exist_ok=True)
with open(f"{OWN}/questions.csv", "w", encoding="utf-8") as f:
  f.write("country,capital\n" + "".join(f"{country},{capital}\n" for country, capital in CAPITALS.items()))
with open(f"{OWN}/benchmark.toml", "w", encoding="utf-8") as f:
  f.write('name = "capitals"\nfile = "questions.csv"\nask = "generate"\ncheck = "contains"\nanswer = "capital"\n')
  f.write('question = "What is the capital of {country}?"\n')

# %% [markdown]
# ## Answers that are there already
#
# Each row has a prompt, or an id, and a response. What is missing is counted, not scored as wrong.

# %%
with open(f"{FOLDER}/answers.jsonl", "w", encoding="utf-8") as f:
  for country in list(CAPITALS)[:5]:
    row = {"prompt": f"What is the capital of {country}?", "response": "I believe it is Paris."}
    f.write(json.dumps(row) + "\n")
cli.main(["eval", f"--suite={OWN}", f"--responses={FOLDER}/answers.jsonl"])

# %% [markdown]
# ## A model
#
# Figures and rows are written into a folder. The same command again asks nothing: the figures are there.

# %%
cli.main(["eval", f"--suite={OWN}", *MODEL, f"--out={FOLDER}/short", "--max_new_tokens=4"])
cli.main(["eval", f"--suite={OWN}", *MODEL, f"--out={FOLDER}/long", "--max_new_tokens=16"])

# %% [markdown]
# ## Compare
#
# Both answered the same items, so the difference is tested item by item. The page holds both answers to each.

# %%
cli.main(["compare", f"{FOLDER}/short", f"{FOLDER}/long", f"--out={FOLDER}/compare.html"])
