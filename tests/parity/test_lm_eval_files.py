"""Files of lm-eval itself beside ours: equal keys and hashes; its utilities read ours, and ours read its own."""

import glob
import json
import os
import types

import pytest

pytest.importorskip("lm_eval")

import datasets  # noqa: E402
import lm_eval  # noqa: E402
from lm_eval import utils as lm_eval_utils  # noqa: E402
from lm_eval.loggers import evaluation_tracker  # noqa: E402
from lm_eval.models import dummy  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

from itune_jax.core import contracts  # noqa: E402
from itune_jax.core import files  # noqa: E402
from itune_jax.evals import lm_eval_files  # noqa: E402
from itune_jax.evals import lm_eval_results  # noqa: E402
from itune_jax.run import lm_eval_out  # noqa: E402
from tests.parts import lm_eval_tasks  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
TASKS = ("it_uses", "it_continue", "it_rolling", "it_last_word")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory, smollm2_tokenizer):
  """The files of lm-eval's own run of its dummy model, with a tokenizer to tell of: results, samples, folder."""
  folder = tmp_path_factory.mktemp("tasks")
  manager = TaskManager(include_path=lm_eval_tasks.write(folder), include_defaults=False)
  lm, out = dummy.DummyLM(), str(folder / "out")
  lm.tokenizer = smollm2_tokenizer
  lm.get_model_info = lambda: dict.fromkeys(("model_num_parameters", "model_dtype", "model_revision", "model_sha"))
  tracker = evaluation_tracker.EvaluationTracker(output_path=out)
  args = {"model_args": "pretrained=org/dummy", "evaluation_tracker": tracker, "bootstrap_iters": 2}
  found = lm_eval.simple_evaluate(model=lm, tasks=list(TASKS), task_manager=manager, **args)
  samples = found.pop("samples")
  tracker.save_results_aggregated(results=found, samples=samples)
  for task in TASKS:
    tracker.save_results_samples(task_name=task, samples=samples[task])
  return files.read_json(glob.glob(f"{out}/*/results_*.json")[0]), samples, os.path.join(out, "org__dummy")


def lines(folder, task):
  """The samples of a task as they stand in the file of a folder."""
  (path,) = glob.glob(f"{folder}/samples_{task}_*.jsonl")
  with open(path, encoding="utf-8") as f:
    return [json.loads(line) for line in f]


def row(sample):
  """A row of ours that says what a sample of lm-eval's says."""
  values = {name: sample[name] for name in sample["metrics"] if isinstance(sample[name], (int, float))}
  asked = [list(one.values()) for one in sample["arguments"].values()]
  own = {"id": str(sample["doc_id"]), "cluster": "", "tags": {}, "values": values, "doc": sample["doc"]}
  own |= {"prompt": asked[0][0], "answer": sample["target"]}
  if len(asked[0]) == 1:
    return own | {"logprob": float(sample["resps"][0][0]), "words": 1}
  if isinstance(asked[0][1], dict):
    return own | {"output": sample["resps"][0][0]}
  logprobs, greedy = zip(*((float(one[0][0]), one[0][1] == "True") for one in sample["resps"]), strict=True)
  if len(asked) == 1:
    return own | {"logprob": logprobs[0], "greedy": greedy[0], "answer": asked[0][1]}
  return own | {"choices": [one[1] for one in asked], "logprobs": logprobs, "greedy": greedy}


@pytest.fixture(scope="module")
def written(theirs, smollm2_tokenizer, tmp_path_factory):
  """The same run as ours: the folder and the results."""
  results, samples, _ = theirs
  tasks = []
  for name in TASKS:
    rows = [row(sample) for sample in samples[name]]
    found = [
      contracts.Result(name, k.split(",")[0], v)
      for k, v in results["results"][name].items()
      if ",none" in k and "_stderr" not in k
    ]
    generation = dict(samples[name][0]["arguments"]["gen_args_0"]).get("arg_1")
    generation = generation if isinstance(generation, dict) else {}
    better = {k: "higher" if v else "lower" for k, v in results["higher_is_better"][name].items()}
    tasks.append(
      lm_eval_results.Task(name=name, rows=rows, figures=found, better=better, generation=generation, version=1.0)
    )
  out = str(tmp_path_factory.mktemp("out"))
  base = types.SimpleNamespace(params={}, digest="x", cfg=types.SimpleNamespace(max_length=8192))
  model = types.SimpleNamespace(base="org/dummy"), types.SimpleNamespace(compute="float32")
  session = types.SimpleNamespace(model=model[0], binder=model[1], base=base, tokenizer=smollm2_tokenizer)
  path = lm_eval_out.write(out, tasks, name="org/dummy", started=1e9, session=session, template="{{x}}")
  return out, files.read_json(path)


def test_keys_are_those_of_its_own_files(theirs, written):
  (results, samples, _), (out, ours) = theirs, written
  assert set(ours) == set(results)
  assert set(ours["config"]) == set(results["config"])
  for part in ("results", "configs", "versions", "n-shot", "higher_is_better", "n-samples", "task_hashes"):
    assert set(ours[part]) == set(results[part]) == set(TASKS)
  for task in TASKS:
    assert set(ours["results"][task]) == set(results["results"][task])
    assert ours["n-samples"][task] == results["n-samples"][task]
    assert set(ours["configs"][task]) <= set(results["configs"][task])
    for line, theirs_line in zip(lines(f"{out}/org__dummy", task), samples[task], strict=True):
      scalars = {k for k in theirs_line["metrics"] if not isinstance(theirs_line[k], (int, float))}
      assert set(line) == set(theirs_line) - scalars


def test_hashes_figures_and_lines_are_equal(theirs, written):
  (results, samples, _), (out, ours) = theirs, written
  for task in TASKS:
    for line, other in zip(lines(f"{out}/org__dummy", task), samples[task], strict=True):
      keys = {"doc_hash", "prompt_hash", "arguments", "filtered_resps", "resps", "filter", "doc", "doc_id"}
      keys |= set() if task == "it_last_word" else {"target", "target_hash"}
      other = json.loads(json.dumps(other, default=str))
      assert {k: line[k] for k in keys} == {k: other[k] for k in keys}
    if task != "it_last_word":
      assert ours["task_hashes"][task] == results["task_hashes"][task]
  for name in ("acc", "acc_norm"):
    a, b = (one["results"]["it_uses"][f"{name}_stderr,none"] for one in (ours, results))
    assert a == pytest.approx(b, abs=1e-12)


def test_its_utilities_read_ours(written):
  out, ours = written
  table = lm_eval_utils.make_table(ours)
  assert all(task in table for task in TASKS) and "acc_norm" in table
  paths = glob.glob(f"{out}/*/*")
  (results,), samples = lm_eval_utils.get_results_filenames(paths), lm_eval_utils.get_sample_results_filenames(paths)
  assert {lm_eval_utils.get_file_task_name(os.path.basename(path)) for path in samples} == set(TASKS)
  times = {
    lm_eval_utils.get_file_datetime(os.path.basename(path)).removesuffix(".json") for path in (results, *samples)
  }
  assert len(times) == 1 and lm_eval_utils.get_latest_filename(samples) in samples
  for path in samples:
    assert len(datasets.load_dataset("json", data_files=path, split="train", cache_dir=f"{out}/cache")) > 0
  names = ["org/name", 'a"b<c>d:e|f?g*h[i]', "/x//y"]
  assert list(map(lm_eval_results.sanitized, names)) == list(map(lm_eval_utils.sanitize_model_name, names))


def test_its_files_are_read(theirs):
  _, samples, folder = theirs
  for task in TASKS:
    (path,) = glob.glob(f"{folder}/samples_{task}_*.jsonl")
    rows = lm_eval_files.read(path)
    assert [r.doc_hash for r in rows] == [s["doc_hash"] for s in samples[task]]
    assert [r.prompt for r in rows] == [s["arguments"]["gen_args_0"]["arg_0"] for s in samples[task]]
    if task == "it_continue":
      assert {r.response for r in rows} == {"lol"} and rows[0].filtered == ("lol",)
    else:
      assert not rows[0].responses and len(rows[0].logprobs) == (2 if task == "it_uses" else 1)
    if task == "it_uses":
      assert [r.metrics["acc"] for r in rows] == [s["acc"] for s in samples[task]]
      assert rows[0].continuations == tuple(a["arg_1"] for a in samples[task][0]["arguments"].values())
