"""`itune eval --with_base`: the base and an adapter in one run are what each is in a run of its own, and a page."""

import json
import pathlib

import jax
from jax._src import monitoring
import pytest

from itune_jax.core import errors
from itune_jax.run import cli
from itune_jax.run import suites

ASK = {
  "said": 'ask = "generate"\nquestion = "What is the capital of {land}?"\nanswer = "capital"\ncheck = "exact"\n',
  "chosen": 'ask = "choose"\nquestion = "The capital of {land} is"\nchoices = ["C0", "C1 or C2"]\nanswer = "right"\n'
  'answer_is = "number"\n',
  "read": 'ask = "rolling"\nquestion = "{land} and {capital}"\n',
}


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
  """Three benchmarks of a user's own, one of each way of asking."""
  top = tmp_path_factory.mktemp("own")
  rows = [{"land": f"Land {i} of many", "capital": f"C{i % 3}", "right": str(i % 2)} for i in range(6)]
  for name, ask in ASK.items():
    (top / name).mkdir()
    (top / name / "benchmark.toml").write_text(f'name = "{name}"\nfile = "rows.jsonl"\n{ask}')
    (top / name / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  return "--suite=" + ",".join(str(top / name) for name in ASK)


def _trained(tmp_path, peft):
  flags = ["--gin_file=recipes/llama_tiny.gin", f"--peft={peft}", "--steps=3", "--gin.schedule.Schedule.rate=0.3"]
  for command in (["prepare", *flags], ["train", *flags, f"--run_dir={tmp_path}/run"]):
    assert cli.main(command) == 0
  return f"{tmp_path}/run"


@pytest.fixture
def compiled(monkeypatch):
  """Names of the programs that were compiled in each asking of a suite."""
  names: list[str] = []
  each: list[list[str]] = []

  def note(event, duration_secs, **told):
    if "backend_compile" in event:
      names.append(str(told.get("fun_name", "")))

  def run(*args, **how):
    names.clear()
    found = asked(*args, **how)
    each.append(list(names))
    return found

  asked = suites.run
  jax.monitoring.register_event_duration_secs_listener(note)
  monkeypatch.setattr(suites, "run", run)
  yield each
  monitoring.unregister_event_duration_listener(note)


def _rows(path):
  return _rounded([json.loads(line) for line in path.with_suffix(".jsonl").read_text().splitlines()])


def _rounded(value):
  """Figures to three digits: of two programs the last ones differ."""
  if isinstance(value, dict):
    return {name: _rounded(one) for name, one in value.items()}
  if isinstance(value, list):
    return [_rounded(one) for one in value]
  return float(f"{value:.3g}") if isinstance(value, float) else value


@pytest.mark.heavy
@pytest.mark.parametrize("peft", ["lora", "norms"])  # one rides on the base, the other changes it
def test_both_are_what_each_is_alone_and_one_that_rides_compiles_nothing_again(suite, tmp_path, capsys, peft, compiled):
  run, model = _trained(tmp_path, peft), ["--gin_file=recipes/llama_tiny.gin", "--max_new_tokens=6"]
  alone = {"base": [], "adapter": [f"--adapter={run}"]}
  for name, given in alone.items():
    assert cli.main(["eval", suite, *model, *given, f"--out={tmp_path}/alone/{name}"]) == 0
  capsys.readouterr()
  jax.clear_caches()
  assert cli.main(["eval", suite, *model, f"--adapter={run}", "--with_base", f"--out={tmp_path}/both"]) == 0
  said = capsys.readouterr()
  assert ("loaded one after the other" in said.err) == (peft == "norms")
  figures = json.loads(said.out.strip().splitlines()[-1])
  assert pathlib.Path(figures["page"]).read_text().count("<table") >= 1
  for name in alone:
    for benchmark in ASK:
      one, two = (pathlib.Path(tmp_path, place, name, benchmark) for place in ("alone", "both"))
      assert one.with_suffix(".key").read_bytes() == two.with_suffix(".key").read_bytes()
      rows = [
        _rounded([json.loads(line) for line in path.with_suffix(".jsonl").read_text().splitlines()])
        for path in (one, two)
      ]
      assert rows[0] == rows[1]
  answers = [pathlib.Path(tmp_path, "both", name, "said.jsonl").read_text() for name in alone]
  assert answers[0] != answers[1], "the adapter changes nothing: it proves nothing"
  base, adapter = compiled[-2:]
  assert "jit(convert_element_type)" not in base, "arrays of the host are made on the host"
  assert len(base) > 10 and (peft != "lora" or not adapter), adapter


@pytest.mark.parametrize(
  ("flags", "says"),
  [
    (["--suite=gsm8k", "--base=smollm2-135m-instruct", "--with_base", "--out=x"], "give --adapter"),
    (["--suite=gsm8k", "--adapter=x", "--with_base"], "give --out or --run_dir"),
    (["--suite=gsm8k", "--responses=x", "--with_base", "--out=x"], "give --adapter"),
    (["--gin_file=llama_tiny", "--adapter=x", "--with_base", "--out=x"], "--(out|with_base) is for published"),
  ],
)
def test_what_cannot_be_compared_is_refused_before_a_model_is_loaded(flags, says):
  with pytest.raises(errors.InputError, match=says):
    cli.find("eval").parse(flags)
