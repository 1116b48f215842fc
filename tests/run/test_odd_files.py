"""Odd files that commands read, each with what is said of it: a value that means two things, or none, is one line."""

import json
import math
import types

import pytest

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import jsontext
from itune_jax.core import tomltext
from itune_jax.evals import annotated
from itune_jax.evals import tables
from itune_jax.evals.benchmarks import registry
from itune_jax.run import exits
from itune_jax.run import results
from itune_jax.run.commands import constraint_pairs
from itune_jax.run.commands import convert
from itune_jax.run.comparison import own_folders
from itune_jax.run.dashboard import scan
from itune_jax.run.monitor import watching
from itune_jax.run.sweep import cells
from itune_jax.run.sweep import space


def said(run, *given):
  """The one line that a call is refused in."""
  with pytest.raises(errors.InputError) as caught:
    run(*given)
  assert "\n" not in str(caught.value)
  return str(caught.value)


SWEEPS = {
  "[grid]\nx = [8, 8.0]": "has a value twice",
  "[grid]\nx = [1, true]": "has a value twice",
  "[[paired]]\na = [1, 1]\nb = [2, 2]": "paired has a = 1, b = 2 twice",
  "paired = [1]": "paired is a table of lists",
  "[[paired]]": "paired is a table of lists",
  "[draws]\ncount = 4\na = {low = 1, high = inf}": "needs numbers low < high",
  "[draws]\ncount = 4\na = {low = true, high = 5}": "needs numbers low < high",
  "[draws]\ncount = 4\na = {low = 1e-5, high = 1e-4, whole = true}": "is of whole numbers",
  "[draws]\ncount = 1000000000\na = {low = 1, high = 2}": "draws.count is how many",
  "[grid]\n'' = [1]": "is no name of a value",
  "[grid]\n'a=b' = [1]": "is no name of a value",
  '[grid]\na = ["x\\ny"]': "text is one line",
  "[grid]\nseed = [1]": "seeds stand in `seeds`",
  "seeds = [-1]\n[grid]\na = [1]": "0 or more",
  "[grid]\nEPOCHS = [1]\n[halving]\nsteps = [1, 2]": "the steps of halving in its rungs",
  "x = " + "[" * 2000: "nested too deep",
  "\n".join(["[grid]", *(f"x{k} = [{', '.join(map(str, range(10)))}]" for k in range(7))]): "has 10,000,000 points",
}


@pytest.mark.parametrize("text", SWEEPS, ids=SWEEPS.values())
def test_a_sweep_that_is_none(text, tmp_path):
  (tmp_path / "s.toml").write_text(text)
  assert SWEEPS[text] in said(space.read, str(tmp_path / "s.toml"))


def test_equal_points_that_are_drawn_are_run_once(tmp_path, capsys):
  (tmp_path / "s.toml").write_text("\ufeff[draws]\ncount = 8\na = {choices = [1, 2]}")
  assert len(space.read(str(tmp_path / "s.toml")).points) == 2
  assert "of 8 points that are drawn 2 differ" in capsys.readouterr().err


def test_a_macro_that_no_run_has_is_said_before_the_first(tmp_path):
  (tmp_path / "s.toml").write_text("[grid]\nSTEPSS = [1, 2]\n")
  found = space.read(str(tmp_path / "s.toml"))
  assert "no macro is called STEPSS; did you mean STEPS?" in said(
    cells.require_macros, found, ["--gin_file=llama_tiny"]
  )
  (tmp_path / "mine.gin").write_text("STEPSS = 3\n")
  cells.require_macros(found, [f"--gin_file={tmp_path / 'mine.gin'}"])


TRL = "model_name_or_path: m\nuse_peft: true\n"
BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "\n".join(
  f"{chr(98 + k)}: &{chr(98 + k)} [{','.join(['*' + chr(97 + k)] * 10)}]" for k in range(7)
)
YAMLS = {
  TRL + "use_peft: false\n": "the key 'use_peft' stands twice",
  TRL + "use-peft: false\n": "stands twice, with `-` and with `_`",
  BOMB: "more than 100,000 values",
  "a: " + "[" * 1000: "nested too deep",
  TRL + "bf16: 'false'\n": "bf16: 'false' is neither true nor false",
  TRL + "packing: [1]\n": "is neither true nor false",
  TRL + "gradient_checkpointing: maybe\n": "is neither true nor false",
  TRL + "loss_type: {a: 1}\nbeta: 0.1\n": "loss_type: {'a': 1} is no loss",
  TRL + "lora_target_modules: [{a: 1}]\n": "is no list of names",
  TRL + "per_device_train_batch_size: 0\n": "must be 1 or more",
  TRL + "num_train_epochs: 0\n": "must be above 0",
  TRL + "warmup_ratio: 2\n": "warmup_ratio: 2 is no share",
  TRL + "learning_rate: fast\n": "learning_rate: ",
  "base_model: m\nlearning_rate: 1e-4\ndatasets: 5\n": "is no list of data sets",
}


def converted(path, text, **more):
  (path / "c.yaml").write_text(text)
  given = {"file": str(path / "c.yaml"), "out": str(path / "o.gin"), "tool": "", "partial": True, "overwrite": True}
  return convert.from_flags(types.SimpleNamespace(**given | more))


@pytest.mark.parametrize("text", YAMLS, ids=YAMLS.values())
def test_a_configuration_that_is_none(text, tmp_path):
  assert YAMLS[text] in said(converted, tmp_path, text)
  assert not (tmp_path / "o.gin").exists()


def test_what_a_configuration_says_beside_its_values_is_told_and_is_no_gin(tmp_path, capsys):
  found = converted(
    tmp_path, TRL.replace("use_peft", "stage: sft\nload_best: false\ntemplate") + '"a\\nSTEPS = 5": 1\n'
  )
  told, text = capsys.readouterr().err, (tmp_path / "o.gin").read_text()
  assert found["without"] == ["a\nSTEPS = 5"] and "load_best: False is not taken over" in told
  assert all(line.startswith("note: ") for line in told.splitlines())
  assert "\nSTEPS = 5" not in text
  converted(tmp_path, "base_model: m\nlearning_rate: 1e-4\ndatasets: [{path: a, type: alpaca, split: train}]\n")
  assert "of its datasets these are not taken over: split, type" in capsys.readouterr().err


def log(path, *times, **more):
  rows = [{"prompt": f"p{k}", "completion": "c", "at": at, **more} for k, at in enumerate(times)]
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return str(path)


def test_times_of_a_log_are_of_one_kind_and_name_a_moment(tmp_path):
  path = tmp_path / "x.jsonl"
  for times, reason in (
    (["NaT"], "it must be a number, or a time"),
    (["now"], "it must be a number, or a time"),
    (["2026-01-01", 5], "rows of both kinds have no order"),
    (["2026-01-01T00:00:00", "2026-01-01T00:00:00Z"], "rows of both kinds have no order"),
  ):
    assert reason in said(watching.read, log(path, *times), "at", "")
  offset = log(path, "2026-01-01T09:00:00+02:00", "2026-01-01T08:00:00Z", "2026-01-01T06:59:59Z")
  entries, _ = watching.read(offset, "at", "")
  assert [one.prompt for one in entries] == ["p2", "p0", "p1"]
  assert "no row has a number in its column `judge`" in said(watching.read, log(path, 1, 2, judge=[1]), "at", "judge")


def test_halves_of_surrogate_pairs_are_kept_as_they_are(tmp_path):
  """An answer that an endpoint cut within a character."""
  rows = [{"text": "é \ud83d"}]
  files.write_text(str(tmp_path / "x.jsonl"), results.lines(rows))
  assert [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()] == rows
  assert jsontext.dumps(rows) == '[{"text": "é \\ud83d"}]'
  with pytest.raises(UnicodeEncodeError):
    files.write_text(str(tmp_path / "y"), "\ud83d")
  assert sorted(path.name for path in tmp_path.iterdir()) == ["x.jsonl"], "nothing half-written"


def test_cells_of_tables(tmp_path):
  (tmp_path / "x.jsonl").write_text('{"a": NaN}\n')
  ((where, row),) = tables.rows(str(tmp_path / "x.jsonl"))
  assert "column 'a' is null" in said(tables.text, row, "a", where)
  (tmp_path / "x.csv").write_text("a\n" + "x" * 200_000 + "\n")
  assert len(next(tables.rows(str(tmp_path / "x.csv")))[1]["a"]) == 200_000


def test_annotations_with_one_index_and_numbers_beyond_floats(tmp_path):
  row = {"instruction": "i", "output_1": "a", "output_2": "b", "preference": 2.0, "index": 0}
  (tmp_path / "x.json").write_text(json.dumps([row, {**row, "instruction": "j"}]))
  found = annotated.read(str(tmp_path / "x.json"))
  assert len(found.pairs) == 1 and "index that another instruction has" in next(iter(found.problems))
  (tmp_path / "x.json").write_text(json.dumps([{**row, "preference": 10**400}]))
  assert "neither number nor null" in said(annotated.read, str(tmp_path / "x.json"))


@pytest.mark.parametrize(
  "data",
  [b"\xff\xfe\x00", b"[" * 100_000, b'{"step": 1e400, "loss": 1}', b'{"step": 1, "loss": NaN}\n'],
  ids=["bytes", "deep", "huge", "nan"],
)
def test_a_damaged_run_is_one_line_of_the_dashboard(data, tmp_path):
  (tmp_path / "run" / "evals" / "a").mkdir(parents=True)
  (tmp_path / "run" / "metrics.jsonl").write_bytes(data)
  (tmp_path / "run" / "evals" / "a" / "b.jsonl").write_bytes(data)
  for name, path in scan.runs([str(tmp_path)]).items():
    json.dumps(scan.overview(name, path), allow_nan=False)
    json.dumps(scan.answers(path, 5), allow_nan=False)


@pytest.mark.heavy  # it imports what tells languages
def test_an_answer_without_a_question_makes_no_pairs_and_bad_rows_are_counted(tmp_path, capsys):
  rows = [{"messages": [{"role": "assistant", "content": "alone"}]}, {"question": "q", "answer": "a"}, {"x": 1}]
  (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  given = {"data": str(tmp_path / "x.jsonl"), "out": str(tmp_path / "o.jsonl"), "kinds": "added", "most": 1, "seed": 0}
  found = constraint_pairs.from_flags(types.SimpleNamespace(**given))
  assert (found["rows"], found["answers"], found["none"], found["bad_rows"]) == (3, 2, 1, 1)
  assert "1 rows left out: no known format" in capsys.readouterr().err


def test_an_error_is_one_printable_line():
  assert exits.explained(errors.InputError("a\n\x1b[31m\ud83d")) == (2, "a \\x1b[31m\\ud83d")
  assert math.isfinite(len(said(tomltext.read, "/nowhere.toml")))


OWN = 'name = "cap"\nfile = "t.csv"\nquestion = "Capital of {c}?"\nanswer = "a"\n'
OWNS = {
  "a question without a column": (OWN.replace("{c}", "x"), "1,Peru,Lima", "it names no column"),
  "a name over lines": (OWN.replace('"cap"', '"a\\nb"'), "1,Peru,Lima", "it is a word"),
  "the name of a published one": (OWN.replace('"cap"', '"mmlu"'), "1,Peru,Lima", "which is a published benchmark"),
  "a figure twice": (OWN + 'metrics = ["accuracy", "accuracy"]\n', "1,Peru,Lima", "one stands twice"),
  "an item without an id": (OWN, ",Peru,Lima", "which names the item, is empty"),
  "an item without an answer": (OWN, "1,Peru, ", "which says what is right, is empty"),
}


@pytest.mark.parametrize("name", OWNS)
def test_a_benchmark_of_ones_own_that_is_none(name, tmp_path):
  toml, row, reason = OWNS[name]
  (tmp_path / "benchmark.toml").write_text(toml)
  (tmp_path / "t.csv").write_text(f"id,c,a\n{row}\n")
  assert reason in said(lambda: list(registry.find(str(tmp_path)).benchmark(()).items()))


def test_a_file_that_ends_the_process_is_a_fault_of_the_file(tmp_path):
  (tmp_path / "b.py").write_text("raise SystemExit(3)")
  assert "SystemExit" in said(registry.find, str(tmp_path / "b.py"))


def test_a_log_without_answers_has_no_chart_of_their_words(tmp_path):
  rows = [{"prompt": f"words {k}", "completion": ""} for k in range(8)]
  (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  entries, _ = watching.read(str(tmp_path / "x.jsonl"), "", "")
  charts, _, _ = watching.watch(entries, 2, 2, 1)
  (note,) = watching.uncharted(charts)
  assert note.startswith("words of answers: fewer than two rows of the baseline have some")
  assert charts[0].name == "words of prompts"


@pytest.mark.parametrize("seed", [-1, 2**32, True, 1.0])
def test_seeds_are_of_32_bits(seed):
  """A generator would cut another one, so that two seeds would be one, or raise behind hours."""
  assert "from 0 to 4,294,967,295" in said(check.seed, seed)
  assert jsontext.finite({"a": [math.nan, 1.0]}) == {"a": [None, 1.0]}


def test_one_row_of_words_has_no_chart_of_them(tmp_path):
  rows = [{"prompt": "words" if k == 1 else [], "completion": "said"} for k in range(6)]
  rows = [
    row if row["prompt"] else {"messages": [{"role": "assistant", "content": f"said {k}"}]}
    for k, row in enumerate(rows)
  ]
  (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  entries, _ = watching.read(str(tmp_path / "x.jsonl"), "", "")
  charts, _, _ = watching.watch(entries, 2, 1, 1)
  assert "words of prompts: fewer than two rows" in " ".join(watching.uncharted(charts))


def test_a_message_is_one_line_whatever_it_repeats():
  assert str(errors.InputError("a\nb\ud83d\x1b")) == "a b\\ud83d\\x1b"


def test_a_tag_that_is_none_is_named():
  row = {"id": "a", "values": {"acc": 1.0}, "tags": {"kind": [[]]}}
  assert "x:1: the tag 'kind' is [[]]; it must be a text" in said(own_folders._tags, row, "x:1")
  assert own_folders._tags({"tags": {"a": "x", "b": ["y", "y"], "c": None, "d": 3}}, "") == {
    "a": ("x",), "b": ("y",), "c": (), "d": ("3",)
  }  # fmt: skip
