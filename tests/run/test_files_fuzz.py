"""Files of the user's that commands read beside data: each is understood or refused in one line, whatever is in it."""

import functools
import json
import pathlib
import tempfile
from unittest import mock

from hypothesis import strategies as st

from itune_jax.core import jsontext
from itune_jax.evals import annotated
from itune_jax.evals import own
from itune_jax.evals import stored
from itune_jax.evals import tables
from itune_jax.grading.judging import rubrics
from itune_jax.grading.statistics import control_charts
from itune_jax.run.convert import dialect
from itune_jax.run.convert import yaml_file
from itune_jax.run.commands import compare
from itune_jax.run.commands import convert_flags
from itune_jax.run.label import reckoning
from itune_jax.run.label import saying
from itune_jax.run.label import settled_rows
from itune_jax.run.label import settling
from itune_jax.run.label import sheets
from itune_jax.run.monitor import watching
from itune_jax.run.sweep import cells
from itune_jax.run.sweep import space
from tests import fuzz

BITS = ["1", "-1", "0", "1.5", "true", "[]", "[1, 'a']", "[[1], [1]]", "{}", "{a = 1}", "{a: 1}", "nan", "inf", ".nan"]
BITS += [
  "''",
  '"a"',
  '"a\\nb"',
  '"\\u0000"',
  "'{x}'",
  "'{'",
  "2026-01-01",
  "null",
  "~",
  "*a",
  "&a [1]",
  "[",
  "1" * 5000,
]
BITS += ["\ud83d", "steps", "low", "name", "# x", "99999999999999999999", "1e400", "sgmoid", "!!set {1}", "<<: *x"]


def through(read):
  """(check, ending) → a check of bytes: a file of this ending is read and checked, or refused in one line."""

  def wrap(check, ending):
    def checked(data):
      with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / f"x{ending}"
        path.write_bytes(data)
        found = fuzz.outcome(lambda: read(str(path)))
        if found is not None:
          check(found)

    return checked

  return wrap


SWEEPS = [
  'question = "which?"\nseeds = [0, 1]\nmetric = "loss"\n[grid]\n"lora.Lora.rank" = [4, 8]\npeft = ["lora", "dora"]\n',
  "[[paired]]\nSTEPS = [10, 20]\nMICRO_BATCHES = [1, 2]\n[draws]\ncount = 4\nseed = 1\nhow = 'halton'\n"
  "'x.y' = { low = 1e-5, high = 1e-3, scale = 'log' }\n[halving]\nsteps = [2, 4]\nkeep = 0.5\nbetter = 'lower'\n",
]


@fuzz.given(st.one_of(fuzz.respelled(SWEEPS, BITS), *(fuzz.damaged(one.encode()) for one in SWEEPS)))
def test_a_sweep_is_points_that_differ_or_one_line(data):
  """Of a sweep that is read every run differs from every other, and has flags that a command line takes."""

  def check(found):
    runs = cells.cells(found, found.halving.steps[0] if found.halving else 0)
    flags = {tuple(sorted(flags)) for one in runs if (flags := fuzz.outcome(one.flags))}
    assert len(flags) == len(runs) or "peft" in found.factors or "gin_file" in found.factors
    assert all("\n" not in flag for each in flags for flag in each)

  through(space.read)(check, ".toml")(data)


YAMLS = [
  "model_name_or_path: m\nuse_peft: true\nlora_r: 8\nlora_target_modules: [q_proj]\nlearning_rate: 1e-4\nbeta: 0.1\n"
  "loss_type: [sigmoid]\nmax_steps: 5\nwarmup_ratio: 0.1\nbf16: true\npacking: true\nx: &x {seed: 1}\n",
  "model_name_or_path: m\nstage: dpo\nfinetuning_type: lora\nlora_target: all\npref_loss: simpo\ncutoff_len: 64\n"
  "template: llama3\nquantization_bit: 4\nnum_train_epochs: 1.0\ngradient_checkpointing: true\noptim: adamw_torch\n",
  "model_name_or_path: m\ndataset_name: a\nuse_peft: true\nbeta: 0.1\nloss_type: [sigmoid, sft]\n"
  "loss_weights: [1.0, 0.5]\nlabel_smoothing: 0.1\nf_divergence_type: js_divergence\nld_alpha: 0.5\n"
  "sync_ref_model: true\nref_model_sync_steps: 8\ndisable_dropout: true\n",
  "model_name_or_path: m\nstage: kto\nfinetuning_type: lora\npref_beta: 0.1\nkto_chosen_weight: 1.5\n"
  "gradient_accumulation_steps: 4\n",
  "base_model: m\nadapter: qlora\nlora_r: 8\nlora_alpha: 16\ndatasets: [{path: a.jsonl, type: alpaca}]\n"
  "learning_rate: 2e-4\nmicro_batch_size: 1\nval_set_size: 0.1\nsequence_len: 64\nbf16: auto\nlr_scheduler: cosine\n",
]


def converted(path):
  given = yaml_file.read(path)
  tool, _ = dialect.chosen(given, convert_flags.DIALECTS, "")
  return dialect.text(path, *tool.draft(given), tool.name)


@fuzz.given(st.one_of(fuzz.respelled(YAMLS, BITS), *(fuzz.damaged(one.encode()) for one in YAMLS)))
def test_a_configuration_is_a_recipe_or_one_line(data):
  """What is written has no line that is neither a remark, nor an include, nor a value."""

  def check(text):
    for line in text.splitlines():
      assert line.startswith(("# ", "include ")) or " = " in line, line

  through(converted)(check, ".yaml")(data)


OWN = (
  'name = "c"\nask = "generate"\nfile = "t.jsonl"\nquestion = "Capital of {country}?"\nanswer = "capital"\n'
  'check = "exact"\nmetrics = ["accuracy"]\ntags = ["continent"]\nlimit = 2\nstop = ["x"]\nversion = 1\n',
  'name = "c"\nask = "choose"\nfile = "t.jsonl"\nquestion = "{country}"\nchoices = ["{a}", "{b}"]\nanswer = "right"\n'
  'answer_is = "number"\nform = "chat"\nid = "key"\ncluster = "continent"\n',
)
ROW = {"country": "Peru", "capital": "Lima", "continent": "A", "a": "x", "b": "y", "right": "1", "key": "k"}


@fuzz.given(st.sampled_from([".toml", "rows"]), fuzz.respelled(OWN, BITS), fuzz.mutated([ROW]), st.sampled_from(OWN))
def test_a_benchmark_of_ones_own_has_items_or_one_line(damages, toml, row, whole):
  """The description or a row of the table is damaged."""
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder)
    (path / own.FILE).write_bytes(toml if damages == ".toml" else whole.encode())
    (path / "t.jsonl").write_text(json.dumps(ROW if damages == ".toml" else row[3]) + "\n")

    def items():
      return list(own.find(folder).benchmark(()).items())

    for item in fuzz.outcome(items) or ():
      assert "nan" not in str(item.question) and item.id


JUDGE = 'name = "n"\nkind = "score"\ntemplate = "{q}"\nfields = ["q"]\nreads = "number"\n'


@fuzz.given(fuzz.respelled([JUDGE], BITS))
def test_a_judges_prompt_is_one_or_one_line(data):
  """A file of one."""
  through(rubrics.named)(lambda found: None, ".toml")(data)


LOG = [{"prompt": f"words {k}", "completion": "said", "at": f"2026-01-{k + 1:02d}", "judge": 0.5} for k in range(6)]


@fuzz.given(fuzz.mutated([LOG]), st.sampled_from(["at", "judge", ""]), st.sampled_from(["judge", ""]))
def test_a_log_is_charts_or_one_line(case, time, score):
  """Rows by their time, with scores, as windows."""
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "x.json"
    path.write_text(json.dumps(case[3]))
    if (read := fuzz.outcome(functools.partial(watching.read, str(path), time, score))) is not None:
      entries, dropped = read
      assert [one.order for one in entries] == sorted(one.order for one in entries)
      assert len(entries) + sum(dropped.values()) >= len(case[3] if isinstance(case[3], list) else [0])
      with mock.patch.object(control_charts, "DRAWS", 4):  # the limits are of no matter here
        fuzz.outcome(lambda: watching.watch(entries, 2, 1, 5))


ITEMS = (
  sheets.Item(id="a", turns=(("user", "q"),), answer="x", row={"instruction": "q", "output": "x"}, judges={"j": 2}),
  sheets.Item(id="b", turns=(("user", "r"),), answer="y", row={"instruction": "r", "output": "y"}, gold=3.0),
)
SHEETS = {
  "rating": sheets.Sheet(kind="rating", question="?", values=tuple("12345"), items=ITEMS, origin={"columns": []}),
  "answer": sheets.Sheet(kind="answer", question="?", values=(), items=ITEMS[:1], origin={"columns": []}),
}
LABELLED = {"rating": [3, 5], "answer": ["better", "best"]}
SAID = [
  {"sheet": SHEETS[kind].digest, "id": "a", "annotator": name, "value": value, "seconds": 2.5, "comment": ""}
  for kind in SHEETS
  for name, value in zip(("ann", "bob"), LABELLED[kind], strict=True)
]


@fuzz.given(st.sampled_from(sorted(SHEETS)), st.booleans(), st.data())
def test_a_key_and_answers_of_people_are_rows_or_one_line(kind, of_key, data):
  """The key of a page, or a line of answers to it."""
  key, lines = SHEETS[kind].to_key(), [one for one in SAID if one["sheet"] == SHEETS[kind].digest]
  changed = data.draw(fuzz.mutated([key] if of_key else lines))[3]
  with tempfile.TemporaryDirectory() as folder:
    at = {name: pathlib.Path(folder) / name for name in ("key.json", "said.jsonl")}
    at["key.json"].write_text(json.dumps(changed if of_key else key))
    at["said.jsonl"].write_text("".join(json.dumps(one) + "\n" for one in ([] if of_key else [changed]) + lines[1:]))

    def rows():
      said = saying.read([str(at["said.jsonl"])], [sheets.read(str(at["key.json"]))])
      assert said.lines == len(lines) - of_key
      people = settling.controls(said.said)
      told = [reckoning.among_people(one) | reckoning.of_people([one], people) for one in said.said]
      json.dumps(told, allow_nan=False)
      found = [(one, settling.settle(one, settling.Threshold())[0]) for one in said.said]
      return [row for one, settled in found for row in settled_rows.rows(one, settled)]

    for row in fuzz.outcome(rows) or ():
      jsontext.dumps(row).encode()


ANSWERS = [
  {"id": "a", "response": "x", "prompt": "p"},
  {"id": 2, "responses": ["x", "y"]},
  {"doc_id": 1, "doc": {"id": "d"}, "resps": [["x"]], "filter": "none", "arguments": {"gen_args_0": {"arg_0": "p"}}},
  {"question_id": 5, "choices": [{"turns": ["x", "y"]}]},
]


@fuzz.given(fuzz.mutated(ANSWERS))
def test_stored_answers_are_read_or_one_line(case):
  """A row of any of the forms that are known."""
  through(lambda path: stored.Stored(path))(lambda found: found.said(), ".jsonl")((json.dumps(case[3]) + "\n").encode())


ANNOTATIONS = [
  [
    {"instruction": f"i{k}", "output_1": "x", "output_2": "yy", "generator_1": "b", "generator_2": "m"}
    | {"preference": 1.0 + k % 2, "annotator": "j", "index": k}
    for k in range(3)
  ]
]


@fuzz.given(fuzz.mutated(ANNOTATIONS))
def test_annotations_are_figures_or_one_line(case):
  """Figures that JSON holds, and rows with ids that differ."""

  def check(found):
    json.dumps(annotated.measure(found), allow_nan=False)
    ids = [row["id"] for row in annotated.rows(found)]
    assert len(set(ids)) == len(ids)

  through(annotated.read)(check, ".json")(json.dumps(case[3]).encode())


FIGURES = [[{"benchmark": "b", "metric": "acc", "value": 0.5, "tag": "", "low": 0.1, "high": None, "n": 2, "of": 2}]]
OWN_ROW = {"id": "a", "values": {"acc": 1.0}, "tags": {"kind": "x"}, "prompt": "p", "output": "o", "answer": "o"}
OWN_ROW |= {"choices": ["x", "y"], "logprobs": [-1.0, -2.0], "verdict": "empty", "cluster": "c", "judge": "j"}
SAMPLE = {"doc_id": 0, "doc": {"q": 1}, "target": "x", "arguments": {"gen_args_0": {"arg_0": "p", "arg_1": "c"}}}
SAMPLE |= {"resps": [["x"]], "filtered_resps": [["-1.0", "True"]], "filter": "none", "metrics": ["acc"], "acc": 1.0}
TOLD = {"results": {"t": {"acc,none": 0.5}}, "n-samples": {"t": {"original": 1}}, "versions": {"t": 1}}
TOLD |= {"higher_is_better": {"t": {"acc": True}}, "n-shot": {"t": 0}}
NAMES = {
  "own": ("b.json", "b.jsonl"),
  "lm-eval": ("results_2026-01-01T00-00-00.json", "samples_t_2026-01-01T00-00-00.jsonl"),
}


@fuzz.given(st.one_of(fuzz.mutated(FIGURES), fuzz.mutated([OWN_ROW]), fuzz.mutated([SAMPLE]), fuzz.mutated([TOLD])))
def test_a_folder_of_evaluations_is_read_or_one_line(case):
  """A file of figures, or a row of answers, of ours and of lm-evaluation-harness."""
  base, changed = case[0], case[3]
  whole, row = (FIGURES[0], OWN_ROW) if base in (FIGURES[0], OWN_ROW) else (TOLD, SAMPLE)
  with tempfile.TemporaryDirectory() as folder:
    figures, rows = NAMES["own" if row is OWN_ROW else "lm-eval"]
    (pathlib.Path(folder) / figures).write_text(json.dumps(changed if base == whole else whole))
    (pathlib.Path(folder) / rows).write_text(json.dumps(changed if base == row else row) + "\n")
    for one in (fuzz.outcome(lambda: compare.read(folder)) or {}).values():
      for item in one.items.values():
        assert isinstance(item.answer, str) and isinstance(item.id, str)


@fuzz.given(st.sampled_from([".csv", ".tsv", ".jsonl", ".json"]), fuzz.damaged(b'a,b\n"x\ny",2\n{"a": NaN}\n[1]\t3\n'))
def test_a_table_is_rows_or_one_line(ending, data):
  """Every cell is text or a value, and NaN is nothing."""

  def check(rows):
    for where, row in rows:
      for name in row:
        fuzz.outcome(lambda: tables.text(row, name, where).encode())  # noqa: B023  # called at once

  through(lambda path: list(tables.rows(path)))(check, ending)(data)
