"""Samples that lm-eval itself wrote: the figures that `itune compare` makes of them are those of its results file."""

import json
import pathlib

import pytest

from itune_jax.run.commands import compare
from itune_jax.run.comparison import comparing
from itune_jax.run.comparison import outcomes

lm_eval = pytest.importorskip("lm_eval")
tasks_lib = pytest.importorskip("lm_eval.tasks")
evaluation_tracker = pytest.importorskip("lm_eval.loggers.evaluation_tracker")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

CHOICE = """
task: colours
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: ["red", "green", "dark blue"]
doc_to_target: "{{answer}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
"""
GENERATE = """
task: numbers
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{text}}"
generation_kwargs: {until: ["\\n"]}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
filter_list:
  - {name: whole, filter: [{function: take_first}]}
  - {name: first, filter: [{function: regex, regex_pattern: "(l)"}, {function: take_first}]}
metadata: {version: 2.0}
"""


def evaluated(folder, tasks, seed):
  """Two tasks with lm-eval's own model of random answers, written by its own tracker."""
  manager = tasks_lib.TaskManager(include_path=str(tasks), include_defaults=False)
  seeds = dict(random_seed=seed, numpy_random_seed=seed, torch_random_seed=seed)
  found = lm_eval.simple_evaluate("dummy", tasks=["colours", "numbers"], task_manager=manager, limit=20, **seeds)
  samples = found.pop("samples")
  tracker = evaluation_tracker.EvaluationTracker(output_path=str(folder))
  tracker.general_config_tracker.model_name_sanitized = "dummy"
  tracker.save_results_aggregated(results=found, samples=samples)
  for task in samples:
    tracker.save_results_samples(task_name=task, samples=samples[task])
  return found["results"]


def test_figures_are_those_of_the_harness(tmp_path, monkeypatch):
  monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
  rows = [{"question": f"{i}?", "answer": i % 3, "text": "lol" if i % 2 else "l"} for i in range(24)]
  data = tmp_path / "rows.jsonl"
  data.write_text("".join(json.dumps(row) + "\n" for row in rows))
  (tasks := tmp_path / "tasks").mkdir()
  for name, text in (("colours", CHOICE), ("numbers", GENERATE)):
    (tasks / f"{name}.yaml").write_text(text.replace("DATA", str(data)))
  theirs = [evaluated(tmp_path / name, tasks, seed) for name, seed in (("one", 1), ("two", 2))]
  runs = compare.runs_of([str(tmp_path / "one"), str(tmp_path / "two")])
  found = comparing.compare(runs, [], outcomes.Asked())
  assert {(row.benchmark, row.metric) for row in found.rows} == {
    ("colours", "acc"), ("colours", "acc_norm"), ("numbers", "exact_match,whole"), ("numbers", "exact_match,first"),
  }  # fmt: skip
  worst = 0.0
  for row in found.rows:
    key = row.metric if "," in row.metric else f"{row.metric},none"
    for figure, told in ((row.one, theirs[0]), (row.two, theirs[1])):
      worst = max(worst, abs(figure.value - told[row.benchmark][key]))
    assert (row.shared, row.of, row.test) == (20, 24, "McNemar")
  print(
    f"\nfigures of lm-eval's samples: at most {worst:.1e} from its results; {len(found.rows)} metrics, 20 of 24 items"
  )
  assert worst <= 1e-12 and not found.notes
  item = next(iter(runs[0].evaluations["colours"].items.values()))
  assert item.prompt == (("", "Question: 0?\nAnswer:"),) and "dark blue" in item.answer and item.expected == "0"
  assert all(item.document for item in runs[0].evaluations["numbers"].items.values())
  assert pathlib.Path(runs[0].evaluations["numbers"].where).name.startswith("samples_numbers_")
