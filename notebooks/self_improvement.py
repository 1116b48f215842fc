# %% [markdown]
# # itune_jax: a round of self-improvement
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/)
#
# A model makes data, the data is filtered, an adapter is trained on it, and it is compared with one on as many tokens
# of real rows, and with the model untouched. In small: a tiny random model, data of a teacher that this notebook
# starts, two steps. It shows how a round is run and read; its figures mean nothing.

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
FOLDER = os.environ.get("ITUNE_FOLDER", "self_improvement")
os.makedirs(FOLDER, exist_ok=True)
if not RECIPE:  # a tiny model with an adapter; a real round leaves it out, for SmolLM2
  RECIPE = f"{FOLDER}/tiny.gin"
  with open(RECIPE, "w", encoding="utf-8") as f:
    f.write('include "recipes/llama_tiny.gin"\ninclude "peft/lora.gin"\n')

# %% [markdown]
# ## Rows
#
# Real ones, held-out ones, and questions for which answers will be made. Held-out rows that the made ones resemble
# would flatter: near ones are taken out, so the questions for made rows have words of their own.

# %%
import json  # noqa: E402

WORDS = "stone river lamp chair apple bread cloud tiger paper glass honey iron chess music snow tea".split()  # noqa: SIM905
OTHERS = "door brush sand wolf engine candle rope valley pencil bird violin mirror bottle ship garden wool".split()  # noqa: SIM905


def row(n, words):
  first, second = words[n % 16], words[(n * 5 + 3) % 16]
  return {"question": f"Which is longer, item {n}: {first} or {second}?", "answer": max(first, second, key=len)}


PARTS = {"real": (range(40), WORDS), "heldout": (range(40, 60), WORDS), "questions": (range(60, 90), OTHERS)}
for name, (numbers, words) in PARTS.items():
  with open(f"{FOLDER}/{name}.jsonl", "w", encoding="utf-8") as f:
    f.writelines(json.dumps(row(n, words)) + "\n" for n in numbers)

# %% [markdown]
# ## A teacher
#
# In earnest the base itself makes the data: leave out `--responder`. Here a server answers, since a random model has
# nothing to say.

# %%
import http.server  # noqa: E402
import re  # noqa: E402
import threading  # noqa: E402


class Teacher(http.server.BaseHTTPRequestHandler):
  def do_POST(self):
    asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
    words = re.findall(r": (\w+) or (\w+)\?", asked["messages"][-1]["content"])
    content = f"The longer one is {max(words[0], key=len)}." if words else "Neither."
    choices = [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}]
    reply = json.dumps({"choices": choices, "usage": {"prompt_tokens": 9, "completion_tokens": 6}}).encode()
    self.send_response(200)
    self.send_header("Content-Length", str(len(reply)))
    self.end_headers()
    self.wfile.write(reply)

  def log_message(self, *args):
    pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Teacher)
threading.Thread(target=server.serve_forever, daemon=True).start()

# %% [markdown]
# ## The round
#
# One seed and two steps; a round that should tell something has three seeds and a few hundred.

# %%
from itune_jax import api  # noqa: E402

VALUES = {"generators": ("synth/teacher_answers.gin",), "accept": 12, "seeds": 1, "steps": 2}
HOW = " ".join(f'--gin.improve.Improve.{name}="{value!r}"' for name, value in VALUES.items())
HOW += f" --data={FOLDER}/questions.jsonl --real={FOLDER}/real.jsonl --eval_data={FOLDER}/heldout.jsonl"
HOW += f" --responder=http://127.0.0.1:{server.server_port}/v1 --responder_model=canned"
told = api.command(f"itune improve --recipe={RECIPE} --check=contains {HOW} --run_dir={FOLDER}/round")
server.shutdown()

# %% [markdown]
# ## What it says
#
# How many rows were made and kept, the tokens of both arms, and the comparison on the same held-out rows.

# %%
print(told["rows"])
for seed, arms in told["arms"].items():
  print(seed, arms)

# %%
from itune_jax.core import files  # noqa: E402

steps = files.read_json(f"{FOLDER}/round/improve.json")["commands"]
print("\n".join(line[:110] for line in steps))
