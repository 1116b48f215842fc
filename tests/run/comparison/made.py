"""Evaluations made up for tests: folders as `itune eval` writes them, and lm-eval's files of samples."""

import json
import pathlib
import random

from itune_jax.core import contracts
from itune_jax.grading.statistics import metrics
from itune_jax.grading.statistics import pair_metrics
from itune_jax.run import results

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)><!-- <b>bold</b>"
WAYS = {"exact": metrics.Mean(), "f1": pair_metrics.MacroF1()}


def rows(seed, n=40, share=0.5, judge="digest"):
  """Rows of questions in two languages; every fourth is a conversation, and a judge spoke of some."""
  rng, same = random.Random(seed), random.Random(0)
  found = []
  for i in range(n):
    label = same.choice(["yes", "no", "maybe"])
    right = rng.random() < share
    prompt = f"Question {i}: <b>how</b> many?"
    row = {
      "id": f"q{i}",
      "cluster": f"t{i // 2}",
      "tags": {"language": ("de", "en")[i % 2]},
      "values": {"exact": float(right), "f1": [label, label if right else rng.choice(["yes", "no", None])]},
      "prompt": prompt,
      "output": f"It is {i if right else i + 1}. " + (EVIL if i == 3 else ""),
      "answer": str(i),
      "verdict": "answered" if i % 9 else "cut_off",
      "stopped": bool(i % 9),
    }
    turns = ({"role": "system", "content": "Be terse."}, {"role": "user", "content": prompt})
    row |= {"messages": [*turns, {"role": "assistant", "content": "Of what?"}]} if i % 4 == 0 else {}
    words = [{"straight": f"Judge of {i}: {'right' if right else 'wrong'}", "swapped": "The same."}]
    found.append(row | ({"judge": judge, "verdicts": words} if i % 3 == 0 else {}))
  return found


def folder(path, given, name="apples", of=0, ways=WAYS, **told):
  """Writes an evaluation; told: what its key says that the figures hang on."""
  path = pathlib.Path(path)
  path.mkdir(parents=True, exist_ok=True)
  clusters = [row["cluster"] for row in given]
  figures = []
  for metric, way in ways.items():
    figure = way([row["values"][metric] for row in given], clusters)
    figures.append(
      contracts.Result(name, metric, figure.value, "", figure.low, figure.high, figure.n, of or len(given))
    )
  stored = [one._asdict() for one in figures]
  (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
  (path / f"{name}.json").write_text(json.dumps(stored))
  if told:
    (path / f"{name}.key").write_text(json.dumps({"key": str(told), "benchmark": name, "base": str(path), **told}))
  return str(path)


def samples(path, seed, task="sums", filters=("strict", "flexible"), n=30, hashes=True):
  """Writes samples of lm-eval, a row a document and filter."""
  rng = random.Random(seed)
  lines = []
  for i in range(n):
    for name in filters:
      text = f"The answer is {rng.randint(0, 3)}"
      own = {"doc_hash": f"{i:064x}", "prompt_hash": "p", "target_hash": "t"} if hashes else {}
      lines.append(
        {
          "doc_id": i,
          "doc": {"question": f"{i}?"},
          "target": "2",
          "arguments": {"gen_args_0": {"arg_0": f"Q: {i}?\nA:", "arg_1": {"until": ["\n"]}}},
          "resps": [[text]],
          "filtered_resps": [text[-1]],
          "filter": name,
          "metrics": ["exact_match"],
          **own,
          "exact_match": float(text[-1] == "2") if name == "strict" else rng.choice(["True", "False"]),
        }
      )
  file = pathlib.Path(path) / f"samples_{task}_2026-01-02T03-04-05.678.jsonl"
  file.parent.mkdir(parents=True, exist_ok=True)
  file.write_text(results.lines(lines))
  return str(file)
