"""Function calls beside bfcl-eval's own decoder, prompt and checker, on all of its stored answers.

`python -m pytest -m parity -s tests/parity/test_bfcl.py` prints how many verdicts differ.
"""

import copy
import importlib
import json
import random
import sys
import types

import pytest

pytest.importorskip("bfcl_eval")

from itune_jax.evals.benchmarks import registry  # noqa: E402
from itune_jax.grading import bfcl  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def theirs(monkeypatch):
  """The checker, without the models' clients and the parsers of Java that the package depends on."""
  config = types.ModuleType("bfcl_eval.constants.model_config")
  config.MODEL_CONFIG_MAPPING = {"any": types.SimpleNamespace(underscore_to_dot=False)}
  monkeypatch.setitem(sys.modules, config.__name__, config)
  for name in ("java_parser", "js_parser"):
    module = types.ModuleType(f"bfcl_eval.model_handler.parser.{name}")
    module.parse_java_function_call = module.parse_javascript_function_call = None
    monkeypatch.setitem(sys.modules, module.__name__, module)
  stand_in = types.ModuleType("tenacity")
  for name in (
    "retry",
    "retry_if_exception_message",
    "retry_if_exception_type",
    "stop_after_attempt",
    "wait_random_exponential",
  ):
    setattr(stand_in, name, None)
  monkeypatch.setitem(sys.modules, "tenacity", stand_in)
  checker = importlib.import_module("bfcl_eval.eval_checker.ast_eval.ast_checker")
  utils = importlib.import_module("bfcl_eval.model_handler.utils")
  return checker, utils


def call_of(answer, rng):
  """A possible answer as a model would write it: one of the possible values of each argument."""
  ((name, possible),) = answer.items()
  chosen = {key: rng.choice(values or [""]) for key, values in possible.items()}
  return {name: {key: first(value, rng) for key, value in chosen.items() if value != ""}}


def first(value, rng):
  """A dictionary of possible values as one of values, also within a list."""
  if isinstance(value, dict):
    chosen = {key: rng.choice(one or [""]) for key, one in value.items()}
    return {key: one for key, one in chosen.items() if one != ""}
  return [first(one, rng) for one in value] if isinstance(value, list) else value


def changed(calls, rng):
  """Calls with one thing changed: a value, its type, its case, an argument more or less, a call more or less, order."""
  calls = copy.deepcopy(calls)
  call = rng.choice(calls)
  ((name, given),) = call.items()
  what = rng.randrange(9)
  key = rng.choice(list(given)) if given else "x"
  if what == 0:
    given[key] = rng.choice((1, 2.0, "x", True, [1], ["a"], {"a": 1}, None, (1, 2), [{"a": [1]}]))
  elif what == 1:
    given["unknown"] = 1
  elif what == 2 and given:
    del given[key]
  elif what == 3:
    calls.append(copy.deepcopy(call))
  elif what == 4:
    calls.remove(call)
  elif what == 5:
    rng.shuffle(calls)
  elif what == 6 and isinstance(given.get(key), str):
    given[key] = f" {given[key].upper()}. -"
  elif what == 7 and isinstance(given.get(key), (int, float)):
    given[key] = rng.choice((str(given[key]), float(given[key]), given[key] + 1, [given[key]]))
  elif what == 8:
    call[f"{name}_"] = call.pop(name)
  return calls


def text_of(calls):
  """Calls as an answer writes them."""
  told = lambda given: ", ".join(f"{key}={value!r}" for key, value in given.items())
  return f"[{', '.join(f'{name}({told(given)})' for call in calls for name, given in call.items())}]"


def test_stored_answers(theirs):
  checker, utils = theirs
  rng, items = random.Random(0), list(registry.find("bfcl").benchmark(()).items())
  assert len(items) > 3400
  counts = dict.fromkeys(("checked", "right", "changed", "changed right", "differ", "texts", "texts differ"), 0)
  for item in items:
    functions, answers = item.answer["functions"], item.answer["answers"]
    if item.tags["group"] == "relevance":
      continue
    calls = [call_of(answer, rng) for answer in answers]
    for kind, given in (("checked", calls), ("changed", changed(calls, rng))):
      expected = checker.ast_checker(functions, given, answers, checker.Language.PYTHON, item.tags["category"], "any")
      ours = bfcl.right(item.tags["category"], functions, given, answers)
      counts[kind] += 1
      counts["right" if kind == "checked" else "changed right"] += ours
      counts["differ"] += ours != expected["valid"]
      text = rng.choice(("{}", "```{}```", "{}.", "I call {}", " {}\n")).format(text_of(given))
      try:
        decoded = utils.default_decode_ast_prompting(text)
      except Exception:
        decoded = None
      counts["texts"] += 1
      counts["texts differ"] += decoded != bfcl.decoded(text)
  print(f"BFCL v4, Python: {counts}")
  assert not counts["differ"] and not counts["texts differ"]
  # Of some lists of possible values one alone is right: what is drawn for one argument may not fit its type.
  assert counts["right"] > 0.99 * counts["checked"] and 0 < counts["changed right"] < counts["changed"]


def test_prompt(theirs):
  _, utils = theirs
  form = "ret_fmt=python&tool_call_tag=False&func_doc_fmt=json&prompt_fmt=plaintext&style=classic"
  items = list(registry.find("bfcl").benchmark(()).items())
  for item in random.Random(1).sample(items, 200):
    expected = utils.formulate_system_prompt(form, json.loads(json.dumps(item.answer["functions"])))
    assert item.question.messages[0]["content"].startswith(expected.rstrip("\n"))
