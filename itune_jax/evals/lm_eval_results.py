"""Results of this project as lm-evaluation-harness writes its own: its viewers and leaderboards read them.

`results_TIME.json` holds the figures of all benchmarks, `samples_TASK_TIME.jsonl` a line for each item. Key sets and
hashes are those of lm-eval 0.4.13 (`evaluator.evaluate`, `loggers/evaluation_tracker.py`, `result_schema.py`).
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import datetime
import hashlib
import math
import os
import re
from typing import Any

import numpy as np

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import conversation as conversation_lib
from itune_jax.core import files
from itune_jax.core import jsontext
from itune_jax.evals import ask as ask_lib
from itune_jax.evals import lm_eval_files
from itune_jax.evals import protocol

SCHEMA = "0.4.13"  # of lm-eval, whose files these are like
NOT_KNOWN = "N/A"  # lm-eval's word where a figure has no standard error
Sample = dict[str, Any]
# What of a row is the item's: documents of two models must be equal, whatever those said.
_OF_ITEM = ("id", "tags", "prompt", "messages", "choices", "answer")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
  """What was measured, and how it was asked.

  name: the benchmark's. rows: one an item (`contracts.EvalResult`). figures: over all items and by tag. better: which
  way each metric goes. prompts: by id, what the model read, where a row shows less. chat: whether prompts are
  conversations, behind which choices stand without the space in front of them. generation: what a generated answer was
  asked with (lm-eval's `generation_kwargs`). shots: examples in front. version: of the benchmark. items: how many it
  has in all, 0 for as many as were asked.
  """

  name: str
  rows: Sequence[Mapping[str, Any]]
  figures: Sequence[contracts.Result]
  better: Mapping[str, contracts.Better] = dataclasses.field(default_factory=dict)
  prompts: Mapping[str, str] = dataclasses.field(default_factory=dict)
  chat: bool = False
  generation: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  shots: int = 0
  version: str | float = 0.0
  items: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """What lm-eval says of a run beside its figures.

  model: the name of the model, after which the folder is called. arguments: what it was loaded with. config: of the
  evaluation. facts: environment, tokenizer and prompts, by lm-eval's names. start: when it began. seconds: how long it
  took.
  """

  model: str
  arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  start: datetime.datetime
  seconds: float


Written = Callable[[conversation_lib.Conversation | str], str]


def task_of(benchmark: protocol.Benchmark, result: contracts.EvalResult, written: Written) -> Task:
  """A benchmark that was measured. written: what the model reads of a question, as text. Items that nobody answered are
  no samples: they show in `n-samples`, as all that were not asked do."""
  rows = {row["id"]: row for row in result.rows if row.get("verdict") != "missing"}
  prompts, chat = {}, False
  for item in benchmark.items():
    if item.id in rows:  # the shots that had room
      asked = prompt_of(benchmark, item, rows[item.id].get("shots", 0))
      prompts[item.id], chat = written(asked), chat or not isinstance(asked, str)
  return Task(
    name=benchmark.name,
    rows=list(rows.values()),
    figures=result.results,
    better={name: metric.better for name, metric in benchmark.metrics.items()},
    prompts=prompts,
    chat=chat,
    generation=_generation(benchmark.ask),
    shots=max((row.get("shots", 0) for row in result.rows), default=0),
    version=benchmark.version,
    items=benchmark.total or len(result.rows),
  )


def prompt_of(benchmark: protocol.Benchmark, item: protocol.Item, shots: int) -> conversation_lib.Conversation | str:
  """What a benchmark puts to its responder for an item, with so many shots in front."""
  asks = benchmark.ask
  form = asks.form if isinstance(asks, (ask_lib.Generate, ask_lib.Choose, ask_lib.Score)) else "plain"
  return item.prompt(form, shots)


def _generation(ask: protocol.Ask) -> dict[str, Any]:
  """lm-eval's arguments of a generated answer; what the responder decides is left open."""
  if not isinstance(ask, ask_lib.Generate):
    return {}
  found = {"max_gen_toks": ask.limit or None, "temperature": ask.temperature, "top_p": ask.top_p}
  return {"until": list(ask.stop), **{name: value for name, value in found.items() if value is not None}}


def digest(text: str) -> str:
  """lm-eval's `hash_string`: SHA-256 of the text as UTF-8."""
  return hashlib.sha256(text.encode()).hexdigest()


def doc_hash(doc: Any) -> str:
  """lm-eval's hash of a document: of its JSON, indented by two, letters as they are."""
  return digest(jsontext.dumps(doc, indent=2, default=_plain))


def samples(task: Task) -> list[Sample]:
  """A line of the samples file for each row, in their order."""
  return [_sample(task, number, row) for number, row in enumerate(task.rows)]


def _sample(task: Task, number: int, row: Mapping[str, Any]) -> Sample:
  doc = row.get("doc") or {key: row[key] for key in _OF_ITEM if key in row}
  target, (asked, said, filtered) = str(row.get("answer", "")), _asked(task, row)
  metrics = {name: value for name, value in row["values"].items() if value is not None}
  taken = sorted({"doc", "target", "resps", "filter", "metrics"} & set(metrics))
  check.require(not taken, f"{task.name}: lm-eval's samples have other things under {', '.join(taken)}: rename it")
  return {
    "doc_id": number,
    "doc": doc,
    "target": target,
    "arguments": {f"gen_args_{i}": {f"arg_{j}": one for j, one in enumerate(own)} for i, own in enumerate(asked)},
    "resps": said,
    "filtered_resps": filtered,
    "filter": lm_eval_files.FILTER,
    "metrics": list(metrics),
    "doc_hash": doc_hash(doc),
    "prompt_hash": digest(str(asked[0][0])),
    "target_hash": digest(target),
    **metrics,
  }


def _asked(task: Task, row: Mapping[str, Any]) -> tuple[list[list[Any]], list[Any], list[Any]]:
  """Arguments of each request, what came back for each repeat, and the same behind the filter, as lm-eval spells it."""
  prompt = task.prompts.get(row["id"], row["prompt"])
  behind = lambda text: text.lstrip() if task.chat else text
  if "choices" in row:
    greedy = row.get("greedy") or [None] * len(row["choices"])
    found = [[str(one), str(hit)] for one, hit in zip(row["logprobs"], greedy, strict=True)]
    return [[prompt, behind(choice)] for choice in row["choices"]], [[one] for one in found], found
  if "output" in row:
    texts = list(map(str, row.get("outputs") or [row["output"]]))
    return [[prompt, dict(task.generation)]], [texts], texts[:1]
  check.require("logprob" in row, f"{task.name}: item {row['id']} has neither an answer nor a log-probability")
  if "words" in row:  # a whole text
    return [[prompt]], [[str(row["logprob"])]], [str(row["logprob"])]
  found = [str(row["logprob"]), str(row.get("greedy"))]
  return [[prompt, behind(str(row["answer"]))]], [[found]], [found]


def results(tasks: Sequence[Task], run: Run) -> dict[str, Any]:
  """What the results file says of them all."""
  by_name = {task.name: task for task in tasks}
  check.require(len(by_name) == len(tasks), "two benchmarks have one name: lm-eval's file has a place for each name")
  of = lambda value: {name: value(task) for name, task in sorted(by_name.items())}
  lines = of(samples)
  hashes = {
    name: digest("".join(s["doc_hash"] + s["prompt_hash"] + s["target_hash"] for s in own))
    for name, own in lines.items()
  }
  return {
    "results": of(_figures),
    "group_subtasks": {},
    "configs": of(_config),
    "versions": of(lambda task: task.version),
    "n-shot": of(lambda task: task.shots),
    "higher_is_better": of(lambda task: {name: better == "higher" for name, better in task.better.items()}),
    "n-samples": of(lambda task: {"original": task.items or len(task.rows), "effective": len(task.rows)}),
    "config": {"model": "itune_jax", "model_args": dict(run.arguments), **run.config},
    "date": run.start.timestamp(),
    **run.facts,
    "task_hashes": hashes,
    "model_source": "itune_jax",
    "model_name": run.model,
    "model_name_sanitized": sanitized(run.model),
    "total_evaluation_time_seconds": str(run.seconds),
  }


def _figures(task: Task) -> dict[str, Any]:
  """Figures over all items, with the standard error of those that are means."""
  found: dict[str, Any] = {"name": task.name, "alias": task.name, "sample_len": len(task.rows)}
  for figure in task.figures:
    if not figure.tag:
      values = [row["values"].get(figure.metric) for row in task.rows]
      found[f"{figure.metric},{lm_eval_files.FILTER}"] = figure.value
      found[f"{figure.metric}_stderr,{lm_eval_files.FILTER}"] = _stderr(figure.value, values)
  return found


def _stderr(value: float, values: Sequence[Any]) -> float | str:
  """lm-eval's standard error of a mean (sample variance over n); none where the figure is no mean of the values."""
  known = [one for one in values if isinstance(one, (int, float))]
  if len(known) < 2 or len(known) < len([one for one in values if one is not None]):
    return NOT_KNOWN
  if not math.isclose(float(np.mean(known)), value, rel_tol=1e-9, abs_tol=1e-12):
    return NOT_KNOWN
  return float(np.std(known, ddof=1) / math.sqrt(len(known)))


def _config(task: Task) -> dict[str, Any]:
  row = task.rows[0] if task.rows else {}
  kinds = {"choices": "multiple_choice", "output": "generate_until", "words": "loglikelihood_rolling"}
  kind = next((kind for key, kind in kinds.items() if key in row), "loglikelihood")
  metrics = [{"metric": name, "higher_is_better": better == "higher"} for name, better in task.better.items()]
  more = {"generation_kwargs": dict(task.generation)} if kind == "generate_until" else {}
  own = {"task": task.name, "output_type": kind, "num_fewshot": task.shots, "metric_list": metrics, **more}
  return {
    **own,
    "repeats": max((len(row.get("outputs", [""])) for row in task.rows), default=1),
    "metadata": {"version": task.version},
  }


def sanitized(model: str) -> str:
  """A model's name as lm-eval calls its folder."""
  return re.sub(r'["<>:/|\\?*\[\]]+', "__", model)


def write(folder: str, tasks: Sequence[Task], run: Run) -> str:
  """Writes the files below a folder as lm-eval places them; returns the path of the results."""
  check.require(tasks, "nothing was measured: no file for lm-eval's viewers is written")
  found, where = results(tasks, run), os.path.join(folder, sanitized(run.model))
  at = run.start.isoformat().replace(":", "-")
  for task in tasks:
    text = "".join(jsontext.dumps(one, default=_plain) + "\n" for one in samples(task))
    files.write_text(os.path.join(where, f"samples_{task.name}_{at}.jsonl"), text)
  path = os.path.join(where, f"results_{at}.json")
  files.write_text(path, jsontext.dumps(found, indent=2, default=_plain))
  return path


def _plain(value: Any) -> Any:
  """As lm-eval writes what JSON does not know."""
  if isinstance(value, np.generic):
    return value.item()
  return list(value) if isinstance(value, set) else str(value)
