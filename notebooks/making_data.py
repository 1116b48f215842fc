# %% [markdown]
# # itune_jax: making and choosing data
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/)
#
# Rows from a teacher, with every candidate that was dropped and why; then the best of them. The teacher is a server
# that this notebook starts: it gives canned answers, some of them faulty, so that you see what becomes of those. Put
# a model in its place by `--base=FOLDER`, or a real endpoint by its address.

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
FOLDER = os.environ.get("ITUNE_FOLDER", "making_data")
os.makedirs(FOLDER, exist_ok=True)

# %% [markdown]
# ## A teacher
#
# It speaks OpenAI's protocol on this machine. Every fifth answer is a refusal, every seventh repeats itself for ever.

# %%
import http.server  # noqa: E402
import json  # noqa: E402
import threading  # noqa: E402


def answer(question):
  n = sum(map(ord, question))
  if n % 5 == 0:
    return "I'm sorry, but I can't help with that."
  if n % 7 == 0:
    return "very " * 200
  return f"In short: {question.rstrip('?').lower()} is a question of {len(question.split())} words, asked in earnest."


class Teacher(http.server.BaseHTTPRequestHandler):
  def do_POST(self):
    asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
    message = {"role": "assistant", "content": answer(asked["messages"][-1]["content"])}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    reply = json.dumps({"choices": choices, "usage": {"prompt_tokens": 9, "completion_tokens": 12}}).encode()
    self.send_response(200)
    self.send_header("Content-Length", str(len(reply)))
    self.end_headers()
    self.wfile.write(reply)

  def log_message(self, *args):
    pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Teacher)
threading.Thread(target=server.serve_forever, daemon=True).start()
URL = f"http://127.0.0.1:{server.server_port}/v1"

# %% [markdown]
# ## Make
#
# The funnel at the end says how many candidates there were and what became of them. `dropped.jsonl` holds each of
# those, with its reason.

# %%
from itune_jax import api  # noqa: E402

WORDS = ("rain", "bread", "music", "chess", "snow", "tea", "paper", "glass", "honey", "iron")
QUESTIONS = [f"{how} {word} {what}?" for word in WORDS for how, what in (("Why is", "useful"), ("How is", "made"))]
with open(f"{FOLDER}/questions.jsonl", "w", encoding="utf-8") as f:
  f.writelines(json.dumps({"prompt": question, "completion": "-"}) + "\n" for question in QUESTIONS)
HOW = f"--gin_file=synth/teacher_answers.gin --data={FOLDER}/questions.jsonl --candidates={len(QUESTIONS)}"
made = api.command(
  f"itune synth {HOW} --responder={URL} --responder_model=canned --licence=CC0-1.0 --out={FOLDER}/made"
)
{name: made[name] for name in ("candidates", "rows", "dropped", "teacher", "ended")}

# %% [markdown]
# The same command asks nothing again: what was answered is kept.

# %%
again = api.command(
  f"itune synth {HOW} --responder={URL} --responder_model=canned --licence=CC0-1.0 --out={FOLDER}/made"
)
{"the same rows": again["rows_sha256"] == made["rows_sha256"]}

# %% [markdown]
# ## Choose
#
# Duplicates go, and of the rest the longest half stays. What chance would have kept stands beside it, in the
# manifest.

# %%
import pathlib  # noqa: E402

from itune_jax.core import files  # noqa: E402

rows = [json.loads(line) for line in pathlib.Path(f"{FOLDER}/made/rows.jsonl").read_text(encoding="utf-8").splitlines()]
with open(f"{FOLDER}/all.jsonl", "w", encoding="utf-8") as f:
  f.writelines(json.dumps(row) + "\n" for row in [*rows, *rows[:3]])
HOW = f"--gin_file=data/select/exact.gin --input={FOLDER}/all.jsonl --output={FOLDER}/kept.jsonl"
api.command(f"itune select {HOW} --by=length --keep=50%")
manifest = files.read_json(f"{FOLDER}/kept.manifest.json")
[(one["step"], one["given"], one["kept"], one["dropped"]) for one in manifest["passes"]]

# %% [markdown]
# ## Show it to others
#
# A folder for the Hugging Face hub, with a card made of the manifest. A dry run asks nothing of a network.

# %%
api.command(f"itune push {FOLDER}/made --repo=owner/questions --licence=cc0-1.0 --dry_run")
print(pathlib.Path(f"{FOLDER}/made_hub/README.md").read_text(encoding="utf-8")[:900])
server.shutdown()
