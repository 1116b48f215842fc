"""IFBench's format from its file to its figures; verdicts are held to the official checkers in tests/parity."""

import json

import pytest

from itune_jax.core import errors
from itune_jax.evals.benchmarks.utility import ifbench as benchmark
from itune_jax.grading.ifeval import ifbench
from itune_jax.grading.ifeval import japanese_words
from itune_jax.grading.ifeval import kinds
from tests.evals.benchmarks import said


def folder(path, *rows):
  """Rows of (kind, arguments), each with null for an argument of another kind, as the official file has it."""
  (path / "ifbench").mkdir()
  lines = []
  for k, (kind, given) in enumerate(rows):
    kwargs = {"N": None, "num_words": None, "keyword1": None, **given}
    lines.append({"key": str(k), "prompt": f"Prompt {k}", "instruction_id_list": [kind], "kwargs": [kwargs]})
  (path / "ifbench" / "IFBench_test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
  return path


def test_from_file_to_figures(tmp_path, capsys):
  benchmark._say.cache_clear()
  rows = (
    ("count:numbers", {"N": 2.0}),
    ("words:start_verb", {}),
    ("repeat:repeat_span", {"prompt_to_repeat": "explain it", "n_start": 0, "n_end": 6}),
    ("format:no_whitespace", {}),
  )
  answers = {"Prompt 0": "Of 3 and 4,5 one.", "Prompt 2": "* EXPLAIN *", "Prompt 3": "so it is"}
  figures, found = said.measured(folder(tmp_path, *rows), "ifbench", said.Said(answers.__getitem__))
  assert [row["id"] for row in found.rows] == ["0", "2", "3"] and found.rows[0]["tags"]["kind"] == ("count:numbers",)
  assert figures["prompt_level_strict_acc"] == pytest.approx(1 / 3)
  assert figures["prompt_level_loose_acc"] == figures["inst_level_loose_acc"] == pytest.approx(2 / 3)
  told = capsys.readouterr().err
  assert "1 prompts are left out: their check needs NLTK's trained tagger" in told
  assert f"3 kinds are tested; none of the {len(kinds.KINDS)} that constraints are trained on is among them" in told


def test_what_is_trained_on_is_not_tested():
  assert len(ifbench.KINDS) == 57 and not set(ifbench.KINDS) & set(kinds.KINDS)
  with pytest.raises(errors.InputError, match="keywords:existence is a kind of IFEval too"):
    benchmark.disjoint({"keywords:existence", "words:vowel"})


@pytest.mark.parametrize("row, words", [
  (("count:number", {"N": 1}), "unknown instruction 'count:number'"),
  (("count:numbers", {}), "argument `N` is missing"),
  (("repeat:repeat_span", {"prompt_to_repeat": "so", "n_start": 3, "n_end": 1}), "places from 0 on"),
])  # fmt: skip
def test_a_row_that_cannot_be_judged_is_refused_with_its_line(row, words, tmp_path):
  with pytest.raises(errors.InputError, match=rf"IFBench_test.jsonl:1: .*{words}"):
    said.measured(folder(tmp_path, row), "ifbench", said.Said())


def test_japanese_sentences_are_cut_by_rules():
  text = "これは本です。「はい。いいえ。」と言った！\n明日の\n天気は？（あ。い）  終わり"
  assert japanese_words.sentences(text) == [
    *("これは本です。", "「はい。いいえ。」と言った!", "明日の天気は?", "(あ。い)終わり")
  ]
