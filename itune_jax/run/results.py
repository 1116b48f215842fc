"""Results on disk: evals/NAME/EVALUATOR.json and .jsonl in a run directory, and the summary of metrics.jsonl."""

from collections.abc import Iterable, Mapping
import math
import os
import re
import typing
from typing import Any

try:
  import wandb  # pyright: ignore[reportMissingImports]  # optional
except ImportError:
  wandb = None

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import jsontext
from itune_jax.core import log
from itune_jax.train import hooks


def write(run_dir: str, label: str, evaluator: str, result: contracts.EvalResult) -> None:
  """Writes the figures and the rows of one evaluation, in the lead process."""
  if not log.is_lead():
    return
  for name, part in _by_benchmark(evaluator, result).items():
    write_into(os.path.join(run_dir, "evals", label), name, part)


def write_into(folder: str, name: str, result: contracts.EvalResult) -> None:
  """Writes NAME.jsonl, the rows, and then NAME.json, the figures, into a folder."""
  files.write_text(os.path.join(folder, f"{name}.jsonl"), lines(result.rows))
  files.write_json(os.path.join(folder, f"{name}.json"), [one._asdict() for one in result.results])


def _by_benchmark(evaluator: str, result: contracts.EvalResult) -> dict[str, contracts.EvalResult]:
  """The result of an evaluator, that of a suite by its benchmarks: each has files of its own."""
  names = dict.fromkeys(row["benchmark"] for row in result.rows if "benchmark" in row)
  if not names:
    return {evaluator: result}
  rows = {name: [row for row in result.rows if row["benchmark"] == name] for name in names}
  figures = {name: [one for one in result.results if one.benchmark == name] for name in names}
  return {name: contracts.EvalResult(figures[name], rows[name]) for name in names}


def check_label(run_dir: str, label: str, overwrite: bool) -> None:
  """Raises InputError for an evaluation that is there already, unless it may be replaced, and for a label that is no
  name of a folder, or one that evaluations in training have."""
  plain = re.fullmatch(r"\w[\w.-]*", label) is not None and not re.fullmatch(r"step_\d+", label)
  check.require(
    plain, f"--name={label}: the name of an evaluation is one of letters, digits, dots and dashes (not step_N)"
  )
  if run_dir and files.names(os.path.join(run_dir, "evals", label)):
    check.require(
      overwrite, f"{run_dir} holds an evaluation {label} already: give --overwrite to replace it, or another --name"
    )


def read(run_dir: str, label: str, evaluator: str) -> contracts.EvalResult:
  """The figures of one evaluation, without its rows. Raises InputError when it was not run, or its file is damaged."""
  path = os.path.join(run_dir, "evals", label, f"{evaluator}.json")
  hints = typing.get_type_hints(contracts.Result)
  try:
    found = [contracts.Result(**one) for one in files.read_json(path)]
  except TypeError:
    raise errors.InputError(f"{path}: is no list of results; evaluate again") from None
  for one in found:
    for name, value in one._asdict().items():
      check.require(
        check.fits(value, hints[name]), f"{path}: {name} is {jsontext.shown(value)}, no such; evaluate again"
      )
  return contracts.EvalResult(found, [])


def lines(rows: Iterable[Any]) -> str:
  """JSON lines, one for each row."""
  return "".join(jsontext.dumps(row) + "\n" for row in rows)


def read_rows(run_dir: str, label: str, evaluator: str) -> list[dict[str, Any]]:
  """The rows of one evaluation. Raises InputError when it was not run, and, with its line, for what is no row of one:
  damaged JSON, a row without a name or with one that another has, a judgement that is no number."""
  path = os.path.join(run_dir, "evals", label, f"{evaluator}.jsonl")
  if not files.exists(path):
    raise errors.InputError(f"{path}: no such evaluation; run itune eval --run_dir={run_dir} --name={label}")
  found: dict[str, dict[str, Any]] = {}
  with files.opened(path, "rb") as f:
    for number, line in enumerate(f, 1):
      row = _row(line, f"{path}:{number}")
      check.require(row["id"] not in found, f"{path}:{number}: id {jsontext.shown(row['id'])} stands there twice")
      found[row["id"]] = row
  return list(found.values())


def _row(line: bytes, where: str) -> dict[str, Any]:
  try:
    row = jsontext.loads(line.decode())
  except ValueError as e:
    raise errors.InputError(f"{where}: is no JSON ({jsontext.said(e)}); evaluate again") from None
  check.require(isinstance(row, dict) and isinstance(row.get("id"), str), f"{where}: is no row with an id (text)")
  correct = row.get("correct", 0)
  number = isinstance(correct, (int, float)) and math.isfinite(correct)
  check.require(number, f"{where}: correct is {jsontext.shown(correct)}, no number; evaluate again")
  for name in ("cluster", "domain") if "correct" in row else ():
    check.require(isinstance(row.get(name), str), f"{where}: is judged, and has no {name} (text); evaluate again")
  return row


def labels(run_dir: str) -> list[str]:
  """Names of the evaluations of a run: those given by a person first as made, then the steps."""
  return sorted(files.names(os.path.join(run_dir, "evals")), key=lambda n: (n.startswith("step_"), n != "before", n))


def metrics_file(run_dir: str) -> str:
  """Where the figures of every step are."""
  return os.path.join(run_dir, "metrics.jsonl")


def summary(path: str) -> dict[str, float]:
  """Last loss, throughput over all steps but the first, goodput, memory, and the last figures of every evaluation."""
  metrics = hooks.Jsonl.read(path)
  steps = [line for line in metrics if "loss" in line]
  found: dict[str, float] = {k: v for line in metrics if "loss" not in line for k, v in line.items() if k != "step"}
  if steps:
    timed = [line for line in steps if "step_s" in line]
    seconds = sum(line["step_s"] for line in timed)
    found |= {
      "loss": steps[-1]["loss"],
      "first_loss": steps[0]["loss"],
      "trained_tokens_per_s": sum(line["trained_tokens"] for line in timed) / seconds if seconds else 0.0,
    }
    found |= {name: timed[-1][name] for name in ("goodput", "memory_gib", "mfu") if timed and name in timed[-1]}
  return found


def evaluations(path: str, done: int) -> list[dict[str, float]]:
  """Figures of the evaluations up to a step, in order: what early stopping has seen."""
  earlier = [line for line in hooks.Jsonl.read(path) if line["step"] <= done and "loss" not in line]
  return [{k: v for k, v in line.items() if k != "step"} for line in earlier]


def wandb_hook(project: str, run_dir: str, run_id: str, values: Mapping[str, str]) -> hooks.Wandb:
  """A Weights & Biases hook; a run that goes on keeps its id there. Raises InputError when the library is missing.

  values: of the run by their dotted names, which become its configuration.
  """
  if wandb is None:
    raise errors.InputError("WANDB_PROJECT is set, but wandb is not installed: pip install wandb")
  name, folder = os.path.basename(run_dir.rstrip("/")), None if files.is_remote(run_dir) else run_dir
  kept = dict(id=run_id, resume="allow", config=dict(values))
  return hooks.Wandb(wandb.init(project=project, dir=folder, name=name, tags=["itune_jax"], **kept))
