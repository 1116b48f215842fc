"""A user's task of SeqIO is evaluated by its own metrics: figures are those of SeqIO's Evaluator, in a child."""

import dataclasses
import json
import subprocess
import sys
import types
import typing

import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.evals import foreign_tasks
from itune_jax.evals import official
from itune_jax.evals import suite
from itune_jax.evals.benchmarks import registry
from itune_jax.sampling import requests as requests_lib
from tests.parts import endpoint

MODULE = "tests.evals.my_foreign_tasks"


def said(asked):
  n = int(asked.split()[0])
  return f"It is {2 * n}" if n % 3 else "I do not know"


def test_names_say_task_split_and_modules():
  assert foreign_tasks.parsed("seqio:a/test@m+n.o") == ("a", "test", ("m", "n.o"))
  assert foreign_tasks.parsed("seqio:a.b:c") == ("a.b:c", "", ())
  assert foreign_tasks.named(("gsm8k", "seqio:a", "seqio:b@m"), ("x", "y")) == ("gsm8k", "seqio:a@x+y", "seqio:b@m")
  for bad in ("seqio:", "seqio:@m", "seqio:a/"):
    with pytest.raises(errors.InputError, match="write it as seqio:NAME"):
      foreign_tasks.parsed(bad)


class Scores(requests_lib.Responder):
  """Says what `said` says, and scores by the length of what continues."""

  def answer(self, requests, progress=lambda n: None):
    texts = [said(one.conversation.messages[-1]["content"]) for one in requests]
    return [
      requests_lib.Response(r.id, (requests_lib.Sample(t, "stop"),)) for r, t in zip(requests, texts, strict=True)
    ]

  def score(self, pairs, progress=lambda n: None):
    return [requests_lib.Score(-0.5 * len(one.continuation), False, 1) for one in pairs]


def opened(name, split="", module=MODULE):
  return {"open": {"path": sys.path, "modules": [module], "name": name, "split": split}}


REFUSED = [
  (opened("sums_none"), "SeqIO has no task or mixture 'sums_none'"),
  (opened("sums_both", "dev"), "has no split 'dev'; it has train, validation, test"),
  (opened("sums_mixture"), "is a mixture: name one of its tasks"),
  (opened("sums_aux"), "has no metric_fns of predictions or scores: with_aux (it wants aux_values)"),
  (opened("sums_broken"), "its broken: ZeroDivisionError: division by zero"),
  (opened("sums_both", module="no_such_module"), "import no_such_module: ModuleNotFoundError"),
]


@pytest.mark.full
def test_figures_are_those_of_seqios_own_evaluator():
  """Predictions and scores of one task, through our suite and through `seqio.Evaluator`; then what is refused."""
  pytest.importorskip("seqio", reason="SeqIO is not installed: the extra prep installs it")
  benchmark = registry.find(f"seqio:sums_both@{MODULE}").benchmark((), official.Settings())
  result = suite.measure(benchmark, Scores())
  found = {one.metric: one.value for one in result.results}
  assert [row["prompt"] for row in result.rows] == [f"{n} + {n} = " for n in range(12)], "the split is validation"
  theirs = json.loads(evaluated([row["output"] for row in result.rows]))
  assert found["right"] == theirs["right"] == pytest.approx(8 / 12) and found["asked"] == theirs["asked"]
  assert found["mean_score"] == pytest.approx(theirs["mean_score"]) and "note" not in found and "aux" not in found
  bound = suite.Suite(names=(f"seqio:sums_both@{MODULE}",), every=10).bind(typing.cast(typing.Any, None), 0)
  live = dataclasses.replace(bound, respond=lambda view: Scores()).run(types.SimpleNamespace(progress=lambda n: None))
  assert {one.metric: one.value for one in live.results} == found, "as training runs it"
  limited = registry.find(f"seqio:sums_both@{MODULE}").benchmark((), official.Settings(limit=4))
  assert len(suite.measure(limited, Scores()).rows) == 4
  asked = [opened("sums_predicted", "test"), opened("sums_scored"), *(one for one, _ in REFUSED)]
  lines = "".join(json.dumps(one) + "\n" for one in asked)
  program = [sys.executable, "-m", "itune_jax.data.origins.seqio_metrics"]
  done = subprocess.run(program, input=lines, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr[-2000:]
  test, scored, *refused = map(json.loads, done.stdout.splitlines())
  assert test["reply"]["items"] == [{"inputs": f"{n} + {n} = ", "targets": str(2 * n)} for n in range(3)]
  assert test["reply"]["names"] == {"predictions": ["right", "asked"]}
  assert scored["reply"]["names"] == {"scores": ["mean_score"]} and "printed" not in done.stdout
  for one, (_, line) in zip(refused, REFUSED, strict=True):
    assert line in one["error"] and "\n" not in one["error"]


def evaluated(texts):
  """The metrics of SeqIO's Evaluator for these answers and the same scores, in a process that may import it."""
  program = f"""
import json, sys
import numpy as np, seqio
import {MODULE} as mine
texts = json.load(sys.stdin)
ids = [[*mine.VOCABULARY.encode(text), mine.VOCABULARY.eos_id] for text in texts]
tokens = np.zeros((len(ids), 64), int)
for row, one in zip(tokens, ids):
  row[: len(one)] = one
mine.seqio.TaskRegistry.remove("both")
mine.seqio.TaskRegistry.add("both", mine.SOURCE, preprocessors=mine.HOW, output_features=mine.FEATURES,
                            postprocess_fn=mine.number, metric_fns=[mine.right, mine.likelihood])
task = seqio.get_mixture_or_task("both")
targets = [bytes(one["targets_pretokenized"]).decode() for one in
           task.get_dataset(None, split="validation", shuffle=False).as_numpy_iterator()]
evaluator = seqio.Evaluator("both", seqio.EncDecFeatureConverter(pack=False), eval_split="validation")
found, _ = evaluator.evaluate(compute_metrics=True, step=0, predict_fn=lambda dataset: list(enumerate(tokens)),
                              score_fn=lambda dataset: list(enumerate(-0.5 * len(one) for one in targets)))
values = {{name: getattr(value, "value", value) for name, value in found.result()["both"].items()}}
print(json.dumps({{name: float(value) for name, value in values.items() if not hasattr(value, "textdata")}}))
"""
  done = subprocess.run(
    [sys.executable, "-c", program], input=json.dumps(texts), capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr[-2000:]
  return done.stdout.splitlines()[-1]


COMMAND = """
import sys
from itune_jax.run import cli
code = cli.main(sys.argv[1:])
assert not {"tensorflow", "seqio"} & set(sys.modules), "the metrics run in a process of their own"
sys.exit(code)
"""


@pytest.mark.heavy
def test_a_foreign_task_is_evaluated_from_the_command_line(tmp_path):
  pytest.importorskip("seqio", reason="SeqIO is not installed: the extra prep installs it")
  with endpoint.serving(lambda text, tries, count: endpoint.Does(text=said(text))) as at:
    flags = ["eval", "--suite=seqio:sums_predicted", f"--import={MODULE}", f"--responder={at.url}"]
    flags += ["--responder_model=adds", f"--out={tmp_path}"]
    done = subprocess.run([sys.executable, "-c", COMMAND, *flags], capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr[-2000:]
  told = json.loads(done.stdout.splitlines()[-1])
  assert told["seqio.sums_predicted/right"] == pytest.approx(8 / 12)
  rows = [json.loads(line) for line in (tmp_path / "seqio.sums_predicted.jsonl").read_text().splitlines()]
  assert len(rows) == 12 and np.mean([row["output"].startswith("It is") for row in rows]) == pytest.approx(8 / 12)
