"""Made-up files in the official forms of benchmarks."""

import gzip
import json
import pathlib


def lines(path):
  """The rows of a file of JSON lines."""
  opened = gzip.open if str(path).endswith(".gz") else open
  with opened(path, "rt", encoding="utf-8") as f:
    return [json.loads(line) for line in f if line.strip()]


def there(path):
  """A file, or what of it is there compressed."""
  return path if path.exists() else pathlib.Path(f"{path}.gz")


def _write(path, rows):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def gsm8k(folder):
  """Six problems to ask, six solved ones."""
  for split in ("test", "train"):
    rows = [
      {
        "question": f" How many are {k} {split}s and {k}?\n",
        "answer": f"{k}+{k}=<<{k}+{k}={2 * k}>>{2 * k}\n#### {2 * k},000",
      }
      for k in range(6)
    ]
    _write(folder / "gsm8k" / f"{split}.jsonl", rows)
  return folder


def choice(subject, k):
  """A question with four choices."""
  choices = [f"{k}", f" about {k}\n", "none {{of}} these", f"{subject} {k}"]
  return {"subject": subject, "question": f"  Which {subject} is {k}? ", "choices": choices, "answer": k % 4}


def mmlu(folder, subjects):
  """Two questions and five examples of each subject."""
  for split, count in (("test", 2), ("dev", 5)):
    _write(
      folder / "mmlu" / f"{split}.jsonl", [choice(subject, k + count) for subject in subjects for k in range(count)]
    )
  return folder


def bbh(folder, examples):
  """Two questions of each task, and its examples (description, [{input, target}]) in the official form."""
  for task, (description, solved) in examples.items():
    rows = [{"input": f"Is {k} {task}?\nOptions:\n(A) yes\n(B) no", "target": "(A)"} for k in range(2)]
    path = folder / "bbh" / "bbh" / f"{task}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"canary": "none", "examples": rows}))
    shots = [f"Q: {one['input']}\nA: Let's think step by step.\n{one['target']}" for one in solved]
    path = folder / "bbh" / "cot-prompts" / f"{task}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("A warning.\n-----\n" + "\n\n".join([description.strip(), *shots]))
  return folder


def math(folder):
  """Three problems as rows."""
  rows = [
    {
      "problem": f"What is ${k}^2$?",
      "solution": f"It is $\\boxed{{{k * k}}}$.",
      "level": f"Level {k}",
      "type": "Algebra",
    }
    for k in (1, 2, 3)
  ]
  _write(folder / "math" / "test.jsonl", rows)
  return folder


def texts(folder):
  """Texts with white space at ends, of several scripts."""
  rows = ["one two  three\n", " east 東京", "a", "\n\n", "naïve — yes"]
  _write(folder / "perplexity" / "some.jsonl", [{"text": text} for text in rows])
  return folder


def super_ni(folder):
  """Two tasks."""
  for name, category in (("task001_up", ["Text Modification"]), ("task002_sum", "Program Execution")):
    task = {
      "Definition": ["Do it"],
      "Categories": category,
      "Input_language": ["English"],
      "Positive Examples": [{"input": f"in {k}", "output": "out!", "explanation": ""} for k in range(3)],
      "Negative Examples": [],
      "Instances": [{"id": f"{name}-{k}", "input": f" word {k}? ", "output": [f"WORD {k}", "words"]} for k in range(3)],
    }
    path = folder / "super_ni" / "tasks" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(task))
  return folder
