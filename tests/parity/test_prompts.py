"""Prompts character for character as lm-eval 0.4.13 builds them: its own task files, its own templates, the same rows.

`python -m pytest -m parity -s tests/parity/test_prompts.py` prints how many were compared. Rows are made up; with
ITUNE_DATA real ones of GSM8K and MMLU are compared as well.
"""

import importlib.metadata
import json
import math
import os
import pathlib
import random

import pytest

lm_eval = pytest.importorskip("lm_eval")
datasets = pytest.importorskip("datasets")

from lm_eval.api import metrics as their_metrics  # noqa: E402
from lm_eval.api import task as their_task  # noqa: E402
from lm_eval.tasks import _yaml_loader  # noqa: E402

from itune_jax.evals import official  # noqa: E402
from itune_jax.evals.benchmarks import registry  # noqa: E402
from itune_jax.evals.benchmarks.utility import mmlu  # noqa: E402
from itune_jax.grading import bbh  # noqa: E402
from itune_jax.sampling import requests as requests_lib  # noqa: E402
from tests.evals.benchmarks import fixtures  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
TASKS = pathlib.Path(lm_eval.__file__).parent / "tasks"
DATA = os.environ.get("ITUNE_DATA", "")


def theirs(path, splits, **changes):
  """A task of lm-eval on rows given here."""
  config = _yaml_loader.load_yaml(TASKS / path, resolve_func=True)
  config.pop("group", None)
  made = {name: datasets.Dataset.from_list(rows) for name, rows in splits.items()}
  config |= {"custom_dataset": lambda **_: made, **changes}
  return their_task.ConfigurableTask(config=config)


def prompts(task, rows, shots):
  """What it asks a model, and with which choices behind."""
  for doc in rows:
    context = task.fewshot_context(doc, shots)
    asked = task.construct_requests(doc=doc, ctx=context, metadata=(None, 0, 1))
    choices = tuple(one.args[1] for one in asked) if isinstance(asked, list) else ()
    yield context, choices


def ours(folder, name, **settings):
  """The items of a benchmark of made-up or real files."""
  return list(registry.find(name).benchmark((str(folder),), official.Settings(**settings)).items())


def compare(items, expected):
  """Raises AssertionError at the first difference; returns how many there are."""
  expected = list(expected)
  assert len(items) == len(expected)
  for item, (prompt, choices) in zip(items, expected, strict=True):
    assert item.prompt("plain") == prompt
    assert item.choices == choices
  return len(items)


GSM8K = {"cot": "gsm8k-cot.yaml", "lm_eval": "gsm8k.yaml", "cot_zeroshot": "gsm8k-cot-zeroshot.yaml"}


@pytest.mark.parametrize("variant", GSM8K)
def test_gsm8k(tmp_path, variant):
  folder = fixtures.gsm8k(tmp_path)
  rows = {split: fixtures.lines(folder / "gsm8k" / f"{split}.jsonl") for split in ("test", "train")}
  first = {} if variant == "cot" else {"fewshot_config": {"sampler": "first_n"}}  # it draws them for each question
  task = theirs(f"gsm8k/{GSM8K[variant]}", rows, **first)
  count = task.config.num_fewshot
  found = compare(ours(folder, "gsm8k", variant=variant), prompts(task, rows["test"], count))
  if os.path.isdir(DATA):
    rows = {"test": fixtures.lines(pathlib.Path(DATA, "gsm8k/test.jsonl")),
            "train": fixtures.lines(pathlib.Path(DATA, "gsm8k/train_first1500.jsonl"))}  # fmt: skip
    task = theirs(f"gsm8k/{GSM8K[variant]}", rows, **first)
    found += compare(ours(DATA, "gsm8k", variant=variant)[:200], prompts(task, rows["test"][:200], count))
  print(f"\ngsm8k {variant}: {found} prompts equal lm-eval's at {count} shots")


MMLU = {"letter": "default", "text": "continuation", "generate": "generative"}


@pytest.mark.parametrize("shots", (0, 5))
@pytest.mark.parametrize("variant", MMLU)
def test_mmlu(tmp_path, variant, shots):
  """Every subject: its description, choices and examples."""
  folder, found = fixtures.mmlu(tmp_path, mmlu.CATEGORIES), 0
  real = os.path.isdir(DATA) and shots == 5
  places = [folder, *([pathlib.Path(DATA)] if real else ())]
  for place in places:
    rows = {split: fixtures.lines(fixtures.there(place / "mmlu" / f"{split}.jsonl")) for split in ("test", "dev")}
    items = ours(place, "mmlu", variant=variant, shots=shots)
    for subject in mmlu.CATEGORIES:
      own = {split: [row for row in given if row["subject"] == subject] for split, given in rows.items()}
      task = theirs(f"mmlu/{MMLU[variant]}/mmlu_{subject}.yaml", own)
      asked = own["test"][:4]
      chosen = [item for item in items if item.tags["subject"] == subject][: len(asked)]
      found += compare(chosen, prompts(task, asked, shots))
  print(f"\nmmlu {variant}: {found} prompts and their choices equal lm-eval's at {shots} shots, all 57 subjects")


@pytest.mark.parametrize("variant", ("cot_fewshot", "fewshot", "cot_zeroshot", "zeroshot"))
def test_bbh(tmp_path, variant):
  """Made-up questions; the examples are those of lm-eval's task files, written in the official form."""
  examples = {}
  for name in bbh.TASKS:
    config = _yaml_loader.load_yaml(TASKS / f"bbh/cot_fewshot/{name}.yaml", resolve_func=False)
    examples[name] = (config["description"], config["fewshot_config"]["samples"])
  folder, found = fixtures.bbh(tmp_path, examples), 0
  items = ours(folder, "bbh", variant=variant)
  for name in bbh.TASKS:
    rows = json.loads((folder / "bbh" / "bbh" / f"{name}.json").read_text())["examples"]
    task = theirs(f"bbh/{variant}/{name}.yaml", {"test": rows})
    found += compare(
      [item for item in items if item.tags["task"] == name], prompts(task, rows, task.config.num_fewshot)
    )
  print(f"\nbbh {variant}: {found} prompts of 27 tasks equal lm-eval's")


@pytest.mark.parametrize(
  ("variant", "path"),
  [("minerva", "minerva_math/minerva_math_algebra.yaml"), ("hendrycks", "hendrycks_math/hendrycks_math_algebra.yaml")],
)
def test_math(tmp_path, monkeypatch, variant, path):
  real = importlib.metadata.version  # see tests/parity/test_answers.py
  monkeypatch.setattr(importlib.metadata, "version", lambda name: "4.11" if name.startswith("antlr4") else real(name))
  folder = fixtures.math(tmp_path)
  rows = fixtures.lines(folder / "math" / "test.jsonl")
  task = theirs(path, {"test": rows, "train": rows})
  count = task.config.num_fewshot or 0
  found = compare(ours(folder, "math", variant=variant), prompts(task, task.test_docs(), count))
  print(f"\nmath {variant}: {found} prompts equal lm-eval's at {count} shots")


def test_perplexity(tmp_path):
  """lm-eval's counts of words and bytes, and its aggregation over documents, on made-up log-probabilities."""
  folder, rng = fixtures.texts(tmp_path), random.Random(0)
  benchmark = registry.find("perplexity").benchmark((str(folder),))
  items = list(benchmark.items())
  scores = [requests_lib.Score(-rng.uniform(1, 900), False, 7) for _ in items]
  graded = benchmark.grade(items, scores)
  task = theirs("wikitext/wikitext.yaml", {"test": [{"page": item.question} for item in items]}, training_split=None,
                validation_split=None, process_results=None, doc_to_target="{{page}}")  # fmt: skip
  results = [
    task.process_results({"page": item.question}, [one.logprob]) for item, one in zip(items, scores, strict=True)
  ]
  for name, metric in benchmark.metrics.items():
    expected = their_metrics.weighted_perplexity if "perplexity" in name else their_metrics.bits_per_byte
    value = metric([one.values[name] for one in graded], [item.id for item in items]).value
    assert math.isclose(value, expected([one[name] for one in results]), rel_tol=1e-12)
  print(
    f"\nperplexity: word_perplexity, byte_perplexity and bits_per_byte of {len(items)} texts equal lm-eval's to 1e-12"
  )
