# %% [markdown]
# # itune_jax: quickstart
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/)
#
# Train an adapter, ask the model, score, and write a folder for Hugging Face's peft. A CPU is enough.
# A GPU or TPU is used if there is one. In Colab choose *File → Upload notebook* and take this file.

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
# SmolLM2-135M-Instruct and 60 steps take some minutes on a CPU. Fewer steps show the same, with less to see in the
# answers.

# %%
RECIPE, STEPS = os.environ.get("ITUNE_RECIPE", "recipes/demo.gin"), int(os.environ.get("ITUNE_STEPS", "60"))
FOLDER = os.environ.get("ITUNE_FOLDER", "quickstart")

# %% [markdown]
# ## Train
#
# `api.train` does what `itune prepare`, `itune train` and `itune report` do. Any value of the recipe can be set by
# name.

# %%
from itune_jax import api  # noqa: E402  # a cell of its own

run = api.train(RECIPE, {"STEPS": STEPS}, run_dir=f"{FOLDER}/run")
{name: round(value, 3) for name, value in run.metrics.items() if isinstance(value, float)}

# %% [markdown]
# ## Ask

# %%
m = run.model()
prompts = ["Sort these words alphabetically: pear, apple, fig", "Answer with the largest number: 4, 17, 9"]
for prompt, answer in zip(prompts, m.generate(prompts, max_new_tokens=16), strict=True):
  print(f"{prompt}\n→ {answer}\n")

# %% [markdown]
# ## Score
#
# The sum of log-probabilities of a text behind another, and whether it is what the model would have said.

# %%
m.loglikelihood([("The capital of France is", " Paris"), ("The capital of France is", " Rome")])

# %% [markdown]
# ## Write a PEFT folder
#
# Hugging Face's peft loads it; so does `api.load`.

# %%
manifest = api.export_peft(m, f"{FOLDER}/adapter")
sorted(os.listdir(f"{FOLDER}/adapter"))

# %% [markdown]
# ## Go on
#
# The documentation has guides: your own data, PEFT and QLoRA, resume and pods, export and merge. `report.html` in the
# run directory shows the whole run.

# %%
print(run.report_path)
