"""`itune eval --responses`: stored answers are scored without a model, for published benchmarks and for one's own."""

import json

import pytest

from itune_jax.run import cli
from tests.docs import blocks
from tests.evals import ifeval_rows

PAGE = "docs/guides/evaluate_own.md"


def result(capsys, *flags):
  """The last line, and what was said beside it."""
  code = cli.main(["eval", *flags])
  said = capsys.readouterr()
  assert code == 0, said.err
  return json.loads(said.out.strip().splitlines()[-1]), said.err


@pytest.fixture
def ifeval(tmp_path, monkeypatch):
  """Official rows by ITUNE_DATA, and a file with answers to two of them, and one more."""
  monkeypatch.setenv("ITUNE_DATA", ifeval_rows.write(tmp_path))
  answers = [{"id": key, "response": text} for key, text in ifeval_rows.RESPONSES.items() if key > 1]
  path = tmp_path / "answers.jsonl"
  path.write_text("".join(json.dumps(row) + "\n" for row in [*answers, {"id": 9, "response": "?"}]))
  return str(path)


@pytest.mark.parametrize("asked", ["--suite=ifeval", "--gin_file=evals/ifeval.gin"])
def test_ifeval_in_percent(ifeval, capsys, asked):
  figures, said = result(capsys, asked, f"--responses={ifeval}")
  expected = {
    "prompt_level_strict_acc": 50,
    "inst_level_strict_acc": 200 / 3,
    "prompt_level_loose_acc": 100,
    "inst_level_loose_acc": 100,
  }
  assert {name: figures[name] for name in expected} == pytest.approx(expected)
  assert (figures["n"], figures["of"], figures["missing"], figures["unmatched"]) == (2, 3, 1, 1)
  assert "1 items have no response (1); 1 rows match no item" in said


def test_what_has_no_response_did_not_end_in_any_way(ifeval, capsys, tmp_path):
  out = tmp_path / "figures"
  result(capsys, "--suite=ifeval", f"--responses={ifeval}", f"--out={out}")
  rows = [row for path in out.rglob("*.json") for row in json.loads(path.read_text()) if isinstance(row, dict)]
  counted = {row["metric"]: row["n"] for row in rows if row.get("metric") in ("cut_off", "empty")}
  assert counted == {"cut_off": 2, "empty": 2}


def test_modules_of_ones_own_are_imported_or_refused(ifeval, capsys):
  assert cli.main(["eval", "--suite=ifeval", f"--responses={ifeval}", "--import=no_such_module"]) == 2
  assert "import no_such_module: no such module" in capsys.readouterr().err


def test_figures_as_lm_eval_writes_them_are_answers_again(ifeval, capsys, tmp_path):
  """What is written as lm-eval's samples is scored as stored answers are, with the same figures."""
  out = tmp_path / "lm_eval"
  figures, said = result(capsys, "--suite=ifeval", f"--responses={ifeval}", f"--lm_eval_out={out}")
  (path,), (samples,) = out.glob("answers/results_*.json"), out.glob("answers/samples_ifeval_*.jsonl")
  assert str(path) in said
  found = json.loads(path.read_text())
  assert found["n-samples"]["ifeval"] == {"original": 3, "effective": 2} and found["model_source"] == "itune_jax"
  assert found["results"]["ifeval"]["prompt_level_strict_acc,none"] == figures["prompt_level_strict_acc"] / 100
  assert found["results"]["ifeval"]["prompt_level_strict_acc_stderr,none"] == pytest.approx(0.5)
  assert found["config"]["gen_kwargs"] is None and "chat_template" in found
  again, _ = result(capsys, "--suite=ifeval", f"--responses={samples}")
  assert again == {**figures, "unmatched": 0}


def test_the_guide_to_ones_own_benchmark(tmp_path, capsys, monkeypatch):
  """Table, description and answers as the page has them."""
  of = lambda language: next(block.text for block in blocks.in_language(language) if block.page == PAGE)
  folder = tmp_path / "capitals"
  folder.mkdir()
  (folder / "questions.csv").write_text(of("csv"))
  (folder / "benchmark.toml").write_text(of("toml"))
  (tmp_path / "answers.jsonl").write_text(of("jsonl"))
  monkeypatch.chdir(tmp_path)
  figures, said = result(capsys, "--suite=./capitals", "--responses=answers.jsonl")
  assert figures["accuracy"] == 50
  assert (figures["n"], figures["of"]) == (2, 3)
  assert "1 items have no response (3)" in said
  both, _ = result(capsys, "--suite=capitals", "--responses=capitals=answers.jsonl")
  assert both == figures


def test_a_wrong_key_is_one_line(tmp_path, capsys):
  (tmp_path / "benchmark.toml").write_text('name = "x"\nfil = "y.csv"\n')
  assert cli.main(["eval", f"--suite={tmp_path}", "--responses=none.jsonl"]) == 2
  assert "benchmark.toml: unknown key 'fil'; did you mean file?" in capsys.readouterr().err
