"""Benchmarks as SeqIO tasks: figures of SeqIO's own evaluator are those of the suite; registering reads nothing."""

import json
import subprocess
import sys

import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.evals import official
from itune_jax.evals import own
from itune_jax.evals import stored
from itune_jax.evals import suite
from itune_jax.evals.benchmarks import registry
from itune_jax.sampling import requests as requests_lib
from tests.evals import ifeval_rows

tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed: the extra prep installs it")
seqio = pytest.importorskip("seqio", reason="SeqIO is not installed: the extra prep installs it")
pytestmark = [pytest.mark.heavy, pytest.mark.filterwarnings("ignore")]


def rows(count):
  """Official rows and responses, every third of which follows nothing."""
  found = []
  for n in range(count):
    one = ifeval_rows.ROWS[n % 3]
    text = ifeval_rows.RESPONSES[one["key"]] if n % 3 else f"Sea, {n}"
    found.append(({**one, "key": n, "prompt": f"{n}. {one['prompt']}"}, text))
  return found


def test_figures_are_those_of_the_suite(tmp_path, monkeypatch):
  """Twenty stored responses, through `seqio.Evaluator` and through `suite.measure`."""
  from itune_jax.evals import seqio_tasks

  given = rows(20)
  root = ifeval_rows.write(tmp_path, [row for row, _ in given])
  (tmp_path / "responses.jsonl").write_text(
    "".join(json.dumps({"id": row["key"], "response": text}) + "\n" for row, text in given)
  )
  benchmark = registry.find("ifeval").benchmark([root], official.Settings(form="plain"))
  ours = suite.measure(benchmark, stored.Stored(str(tmp_path / "responses.jsonl")))

  monkeypatch.setenv("ITUNE_DATA", root)
  assert "itune_ifeval" in seqio_tasks.register()
  task = seqio.get_mixture_or_task("itune_ifeval")
  assert set(task.output_features) == {"inputs", "targets"}
  examples = list(task.get_dataset(None, split="test", shuffle=False).as_numpy_iterator())
  assert [one["inputs_pretokenized"].decode() for one in examples] == [row["prompt"] for row, _ in given]
  vocabulary = task.output_features["targets"].vocabulary
  tokens = np.zeros((20, 64), int)  # as a model gives them: an end, and padding behind it
  for row, (_, text) in zip(tokens, given, strict=True):
    ids = [*vocabulary.encode(text), vocabulary.eos_id]
    row[: len(ids)] = ids
  evaluator = seqio.Evaluator("itune_ifeval", seqio.EncDecFeatureConverter(pack=False), eval_split="test")
  metrics, _ = evaluator.evaluate(
    compute_metrics=True, step=0, predict_fn=lambda dataset: list(enumerate(tokens)), score_fn=None
  )
  found = metrics.result()["itune_ifeval"]
  expected = {one.metric: one.value for one in ours.results if not one.tag}
  assert {name: float(value.value if hasattr(value, "value") else value) for name, value in found.items()} == expected
  assert 0 < expected["inst_level_strict_acc"] < expected["inst_level_loose_acc"] < 1


def test_choices_are_scored(tmp_path):
  """Each choice is an example; figures of their log-likelihoods are those of the suite with the same ones."""
  from itune_jax.evals import seqio_tasks
  from tests.evals import test_own

  path = test_own.folder(tmp_path, test_own.CHOOSE.replace('shots = "shots.jsonl"', ""))
  assert seqio_tasks.register([path], prefix="my_") == ["my_capitals"]
  task = seqio.get_mixture_or_task("my_capitals")
  examples = list(task.get_dataset(None, split="test", shuffle=False).as_numpy_iterator())
  assert [one["targets_pretokenized"].decode() for one in examples[:2]] == [" Lyon", " Paris"]
  knows = test_own.Known()
  of = lambda one: requests_lib.Pair("", one["targets_pretokenized"].decode())
  scores = [score.logprob for score in knows.score([of(one) for one in examples])]
  (metric,) = task.score_metric_fns
  targets = [task.postprocess_fn("", example=one, is_target=True) for one in examples]
  ours = suite.measure(own.find(path).benchmark(()), knows)
  assert metric(targets, scores) == {one.metric: one.value for one in ours.results if not one.tag}
  assert not task.predict_metric_fns


def test_every_benchmark_whose_files_are_there_gives_examples(itune_data, capsys):
  """Real files: the first examples of each, or the line that says what is missing."""
  from itune_jax.evals import seqio_tasks

  seqio_tasks.register(data=[itune_data])
  said = {}
  for name in registry.ROWS:
    task = seqio.get_mixture_or_task(f"itune_{name}")
    try:
      first = next(task.get_dataset(None, split="test", shuffle=False).take(1).as_numpy_iterator())
      said[name] = f"{len(first['inputs'])} bytes, {task.metric_fns[0].__name__}"
    except errors.InputError as e:
      said[name] = str(e)[:100]
    except tf.errors.InvalidArgumentError as e:  # TensorFlow wraps what is raised while items are read
      assert "InputError" in str(e)
      said[name] = next(line for line in str(e).splitlines() if "InputError: " in line)[-100:]
  with capsys.disabled():
    print("", *(f"{name}: {text}" for name, text in said.items()), sep="\n")
  assert sum("bytes" in text for text in said.values()) >= 5


def test_registering_needs_no_data_and_nothing_else_imports_tensorflow(tmp_path):
  program = (
    "import sys\n"
    "from itune_jax.evals import suite\n"
    "from itune_jax.evals.benchmarks import registry\n"
    "assert registry.table() and 'tensorflow' not in sys.modules\n"
    "import itune_jax.evals.seqio_tasks, seqio\n"
    "assert seqio.get_mixture_or_task('itune_ifeval').predict_metric_fns\n"
    "assert seqio.get_mixture_or_task('itune_mmlu').score_metric_fns\n"
    "assert {f'itune_{name}' for name in registry.ROWS} <= seqio.TaskRegistry.names()\n"
  )
  env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": ":".join(sys.path)}
  done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=env)
  assert done.returncode == 0, done.stderr[-2000:]
