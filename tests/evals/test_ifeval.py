"""IFEval as a benchmark: the official file, stored responses, figures by kind, and rows that are refused."""

import gzip
import json
import re

import pytest

from itune_jax.core import errors
from itune_jax.evals import official
from itune_jax.evals import stored
from itune_jax.evals import suite
from itune_jax.evals.benchmarks import registry
from tests.evals import ifeval_rows


def scored(tmp_path, responses, **settings):
  """(figures by metric and tag, rows, what is said of the file) of a file of responses."""
  path = tmp_path / "responses.jsonl.gz"
  with gzip.open(path, "wt") as f:
    f.write("".join(json.dumps(row) + "\n" for row in responses))
  root = ifeval_rows.write(tmp_path)
  benchmark = registry.find("ifeval").benchmark([root], official.Settings(**settings))
  responder = stored.Stored(str(path))
  result = suite.measure(benchmark, responder)
  return {(one.metric, one.tag): one for one in result.results}, result.rows, responder.said()


BY_KEY = [{"key": key, "response": text} for key, text in ifeval_rows.RESPONSES.items()]
BY_PROMPT = [{"prompt": row["prompt"], "response": ifeval_rows.RESPONSES[row["key"]]} for row in ifeval_rows.ROWS]
OF_LM_EVAL = [
  {
    "doc_id": n,
    "doc": row,
    "target": 0,
    "arguments": {"gen_args_0": {"arg_0": row["prompt"], "arg_1": {"until": []}}},
    "resps": [[ifeval_rows.RESPONSES[row["key"]]]],
    "filtered_resps": [ifeval_rows.RESPONSES[row["key"]]],
    "prompt_level_strict_acc": False,
  }
  for n, row in enumerate(ifeval_rows.ROWS)
]


@pytest.mark.parametrize("responses", [BY_KEY, BY_PROMPT, OF_LM_EVAL], ids=["key", "prompt", "lm_eval"])
def test_stored_responses_are_scored(tmp_path, responses):
  figures, rows, said = scored(tmp_path, responses)
  value = lambda metric, tag="": pytest.approx(figures[metric, tag].value)
  assert value("prompt_level_strict_acc") == 1 / 3
  assert value("inst_level_strict_acc") == 2 / 5
  assert value("prompt_level_loose_acc") == 2 / 3
  assert value("inst_level_loose_acc") == 3 / 5
  assert value("inst_level_strict_acc", "instructions=2") == 2 / 4
  assert value("prompt_level_strict_acc", "kind=punctuation:no_comma") == 1 / 2
  assert [figures["inst_level_strict_acc", ""].n, figures["inst_level_strict_acc", ""].of] == [3, 3]
  assert said == ""
  assert rows[0]["followed"] == {"strict": [False, False], "loose": [False, False]}
  assert json.loads(json.dumps(rows)) and rows[1]["answer"][0]["kind"] == "detectable_format:title"


def test_several_responses_to_a_prompt_and_none(tmp_path):
  figures, rows, said = scored(
    tmp_path, [{"id": 3, "response": [ifeval_rows.RESPONSES[3], "A pear, so"]}, {"id": 9, "response": "x"}]
  )
  assert figures["prompt_level_strict_acc", ""].value == 0.5
  assert figures["inst_level_strict_acc", ""].value == 0.5
  assert (figures["inst_level_strict_acc", ""].n, figures["inst_level_strict_acc", ""].of) == (1, 3)
  assert rows[2]["followed"] == [
    {"strict": [True, True], "loose": [True, True]},
    {"strict": [False, False], "loose": [False, False]},
  ]
  assert "2 items have no response (1, 2); 1 rows match no item" in said


def test_how_it_is_asked():
  ask = registry.find("ifeval").make(None, official.Settings()).ask
  assert (ask.limit, ask.temperature, ask.form, ask.stop) == (1280, 0.0, "chat", ())


WRONG = {
  "prompt": ({"prompt": 3}, "input_data.jsonl:2: 'prompt' is a number (3); it must be text"),
  "column": ({"note": "x"}, "input_data.jsonl:2: unknown columns note; a row has key, prompt"),
  "kind": (
    {"instruction_id_list": ["detectable_format:titel"]},
    "jsonl:2: unknown instruction 'detectable_format:titel'",
  ),
  "kwargs": ({"kwargs": []}, "input_data.jsonl:2: 1 instructions, and 0 kwargs"),
  "argument": ({"kwargs": [{"num_words": 3}]}, "jsonl:2: detectable_format:title: unknown argument 'num_words'"),
  "none": ({"instruction_id_list": [], "kwargs": []}, "input_data.jsonl:2: 'instruction_id_list' is empty"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_row_that_cannot_be_judged_is_refused(tmp_path, name):
  change, message = WRONG[name]
  first, second, third = ifeval_rows.ROWS
  root = ifeval_rows.write(tmp_path, [first, {**second, **change}, third])
  with pytest.raises(errors.InputError, match=re.escape(message)) as error:
    list(registry.find("ifeval").benchmark([root]).items())
  assert "\n" not in str(error.value)


def test_the_official_file_is_read(itune_data):
  items = list(registry.find("ifeval").benchmark([itune_data]).items())
  assert len(items) == 541
  assert sum(len(item.answer) for item in items) == 834
  assert len({kind for item in items for kind in item.tags["kind"]}) == 25
