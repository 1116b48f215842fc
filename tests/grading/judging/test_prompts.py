"""Rubrics are the official ones to the letter, and what fills them stays text."""

import hashlib
import json
import os

import pytest

from itune_jax.core import errors
from itune_jax.grading.judging import mt_bench_prompts
from itune_jax.grading.judging import judge_prompt as prompt_lib
from itune_jax.grading.judging import rubrics

# SHA-256 of the official files' system text, a zero byte, and template (fields under the names that they have here).
OFFICIAL = {
  "pair-v2": "b40285ee2bd28eb7",
  "pair-v2-multi-turn": "b68c6e33f67f870b",
  "pair-math-v1": "bf7685d4fdd94736",
  "pair-math-v1-multi-turn": "ebe9b04d041444e8",
  "single-v1": "7d276fe1d4b3f18f",
  "single-math-v1": "226191a3df0fe7a9",
  "single-v1-multi-turn": "a91a5b4266b4e377",
  "single-math-v1-multi-turn": "572e584361120697",
  "alpaca_eval": "ee101cf8d30faa66",
  "arena": "98e5895ee500b096",
  "arena_creative": "042821aea861d7ca",
  "llmbar": "48ed7a487883578f",
  "llmbar_cot": "c220e107e23650bf",
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_rubrics_are_the_official_ones(name):
  prompt = rubrics.named(name)
  assert hashlib.sha256(f"{prompt.system}\0{prompt.template}".encode()).hexdigest()[:16] == OFFICIAL[name]


def test_mt_benchs_are_those_of_its_file():
  path = os.path.join(os.environ.get("ITUNE_DATA", ""), "mt_bench", "judge_prompts.jsonl")
  if not os.path.exists(path):
    pytest.skip("ITUNE_DATA has no mt_bench")
  with open(path, encoding="utf-8") as f:
    rows = [json.loads(line) for line in f]
  assert {row["name"] for row in rows} == set(mt_bench_prompts.PROMPTS)
  for row in rows:
    ours = mt_bench_prompts.PROMPTS[row["name"]]
    assert (row["system_prompt"], row["prompt_template"]) == (ours.system, ours.template)
    names = {field: f"<{field}>" for field in ours.fields}
    assert ours.filled(names).messages[1]["content"] == row["prompt_template"].format(**names)


def test_braces_of_answers_stay_text():
  filled = rubrics.ALPACA_EVAL.filled({"question": "{answer_a}", "answer_a": "{}", "answer_b": "{question}"})
  text = filled.messages[1]["content"]
  assert (
    '"""{answer_a}"""' in text and '"""{}"""' in text and '"""{question}"""' in text and "{instruction}" not in text
  )
  with pytest.raises(errors.InputError, match="pair-v2 asks for answer_b, which this item lacks"):
    rubrics.named("pair-v2").filled({"question": "", "answer_a": ""})
  with pytest.raises(errors.InputError, match="no judge's prompt is called 'x'; known: alpaca_eval"):
    rubrics.named("x")
  with pytest.raises(errors.InputError, match="no parser 'x'"):
    prompt_lib.Prompt(name="p", kind="pair", template="", fields=(), reads="x")


def test_a_digest_is_of_everything():
  prompts = list(rubrics.PROMPTS.values())
  assert len({prompt.digest for prompt in prompts}) == len(prompts)


def test_a_rubric_of_ones_own_is_a_file(tmp_path):
  path = tmp_path / "polite.toml"
  text = 'name = "polite"\nkind = "single"\nreads = "digit"\nfields = ["answer"]\nscale = [1, 3]\n'
  path.write_text(text + "template = '''How polite is\n{answer}?'''\n[tokens]\n1 = 1\n2 = 2.0\n3 = 3\n")
  found = rubrics.named(str(path))
  assert found.filled({"answer": "{this}"}).messages[0]["content"] == "How polite is\n{this}?"
  assert (found.scale, found.tokens) == ((1, 3), {"1": 1, "2": 2.0, "3": 3})
  for change, says in (
    (text, "has no template"),
    (text + 'template = "{answer}"\nrubric = 1\n', "has rubric, which no judge's prompt has"),
    (text + 'template = "answer"\n', "its template has no {answer}"),
    (text.replace('"single"', "7") + 'template = "{answer}"\n', "Prompt.kind = 7 .int.; it takes one of"),
    ("name = ", "is no TOML"),
  ):
    path.write_text(change)
    with pytest.raises(errors.InputError, match=says) as e:
      rubrics.named(str(path))
    assert "\n" not in str(e.value) and str(path) in str(e.value)
