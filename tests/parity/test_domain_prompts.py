"""Prompts, choices and filters of the multilingual and medical benchmarks as lm-eval 0.4.13 has them.

`python -m pytest -m parity -s tests/parity/test_domain_prompts.py` prints how many were compared.
"""

import csv
import json
import os
import pathlib
import random

import pytest

pytest.importorskip("lm_eval")
pytest.importorskip("datasets")

from lm_eval.tasks.qasper import metrics as squad_metrics  # noqa: E402

from itune_jax.evals.benchmarks.multilingual import mgsm  # noqa: E402
from itune_jax.evals.benchmarks.multilingual import xquad  # noqa: E402
from itune_jax.grading import squad  # noqa: E402
from itune_jax.sampling import requests as requests_lib  # noqa: E402
from tests.evals.benchmarks import domain_files  # noqa: E402
from tests.parity import test_prompts as prompts_lib  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
DATA = os.environ.get("ITUNE_DATA", "")
needs_data = pytest.mark.skipif(not os.path.isdir(DATA), reason="ITUNE_DATA names no folder")
PLACES = {"native_cot": "native_cot/mgsm_native_cot", "en_cot": "en_cot/mgsm_en_cot", "direct": "direct/mgsm_direct"}


def mgsm_rows(code):
  with open(os.path.join(DATA, "mgsm", f"mgsm_{code}.tsv"), newline="") as f:
    cells = list(csv.reader(f, delimiter="\t", quoting=csv.QUOTE_NONE))
  return [{"question": q, "answer_number": int(a.replace(",", "")), "answer": None} for q, a in cells]


@needs_data
@pytest.mark.parametrize("variant", PLACES)
def test_mgsm(variant):
  """Prompts of all rows in five languages; the filters on answers around the languages' sentences."""
  rng, count, strings = random.Random(0), 0, 0
  items = prompts_lib.ours(DATA, "mgsm", variant=variant)
  for code in ("de", "en", "fr", "sw", "zh"):
    rows = mgsm_rows(code)
    changes = {"training_split": None}
    task = prompts_lib.theirs(f"mgsm/{PLACES[variant]}_{code}.yaml", {"test": rows}, **changes)
    own = [item for item in items if item.shown["language"] == code]
    count += prompts_lib.compare(own, prompts_lib.prompts(task, rows, 0))
    words = [
      mgsm.WORDS[code].sentence.partition("(")[0],
      "The answer is ",
      "18",
      "18.",
      "1,800",
      "-3",
      "。",
      "\n",
      "$5.0",
    ]
    for _ in range(200):
      item, doc = rng.choice(list(zip(own, rows, strict=True)))
      text = " ".join(rng.choice([*words, item.answer, f"{item.answer}。"]) for _ in range(rng.randrange(7)))
      said = requests_lib.Response(item.id, (requests_lib.Sample(text, "stop"),))
      values = mgsm.grade(item, said, variant=variant).values
      for name, filtered in filters(task, doc, text):
        expected = task.process_results(doc, [filtered])["exact_match"]
        own_name = "flexible_extract" if name == "flexible-extract" else "strict_match"
        assert float(values[own_name]) == expected, (code, name, text)
        strings += 1
  print(f"MGSM {variant}: {count} prompts, {strings} filtered answers, 0 differ")


def filters(task, doc, text):
  """(name, what a filter makes of a text)."""
  for ensemble in task._filters:
    found = [[text]]
    for one in ensemble.filters:
      found = one().apply(found, [doc])
    yield ensemble.name, next(iter(found))


@needs_data
def test_xcopa():
  count, items = 0, prompts_lib.ours(DATA, "xcopa")
  for code in ("it", "sw", "zh"):
    rows = [json.loads(line) for line in pathlib.Path(DATA, f"xcopa/test.{code}.jsonl").read_text().splitlines()]
    task = prompts_lib.theirs(f"xcopa/default_{code}.yaml", {"test": rows}, validation_split=None)
    own = [item for item in items if item.tags["language"] == code]
    count += prompts_lib.compare(own, prompts_lib.prompts(task, rows, 0))
  print(f"XCOPA: {count} prompts with their choices, 0 differ")


@pytest.mark.parametrize("name", ["medqa", "medmcqa", "belebele", "global_mmlu", "pubmedqa"])
def test_choices(tmp_path, name):
  """Made-up rows in the official files, and the same rows as the hub has them."""
  folder, rows, path = domain_files.MAKERS[name](tmp_path)
  split = "validation" if name == "medmcqa" else "test"
  changes = {"training_split": None, "fewshot_split": split}
  task = prompts_lib.theirs(path, {split: rows} | ({"dev": rows} if name == "global_mmlu" else {}), **changes)
  found = prompts_lib.compare(prompts_lib.ours(folder, name), prompts_lib.prompts(task, rows, 0))
  print(f"{name}: {found} prompts with their choices, 0 differ")


def test_xquad(tmp_path):
  """Prompts of lm-eval's task files as text; SQuAD's official metrics, as lm-eval holds them, on perturbed answers."""
  folder, rows = domain_files.xquad(tmp_path)
  items = prompts_lib.ours(folder, "xquad")
  for code, row in rows.items():
    (line,) = (
      one for one in (prompts_lib.TASKS / f"xquad/xquad_{code}.yaml").read_text().splitlines() if "doc_to_text" in one
    )
    template = json.loads(line.partition(":")[2].strip())
    expected = template.replace("{{context}}", row["context"]).replace("{{question}}", row["question"])
    (item,) = (one for one in items if one.tags["language"] == code)
    assert item.question == expected
  rng, parts = random.Random(0), ["the", "A", "Fox", "fox,", "", "1,000", "Äpfel", "an", "狐狸", "!", "fox"]
  text = lambda: " ".join(rng.choice(parts) for _ in range(rng.randrange(6)))
  for _ in range(3000):
    gold, said = f"fox {text()}", text()
    assert squad.exact(said, [gold]) == (squad_metrics.normalize_answer(gold) == squad_metrics.normalize_answer(said))
    assert squad.f1(said, [gold]) == squad_metrics.f1_abstractive([said], [gold])
  print(f"XQuAD: {len(rows)} prompts of {len(xquad.WORDS)} languages, 3,000 scored answers, 0 differ")
