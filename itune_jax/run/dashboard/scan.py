"""What there is to see of runs: found below folders, read from the files that training and evaluation wrote."""

from collections.abc import Iterator, Mapping, Sequence
import json
import math
import os
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.run import results
from itune_jax.train import hooks

_DEEP = 4  # folders below a given one that are searched
_POINTS = 400  # of a curve: what a screen can show
# Pages that commands write, by what links call them.
_PAGES = {"report": "report.html", "comparison": "compare.html", "sweep": "sweep.html", "data": "data.html"}


def runs(roots: Sequence[str]) -> dict[str, str]:
  """Run directories by the name that pages call them: their path below the folder that was given.

  Raises InputError for a folder that is not there.
  """
  found: dict[str, str] = {}
  for root in roots:
    check.require(files.exists(root), f"{root}: there is no such folder")
    for path in _below(root, _DEEP):
      below = os.path.relpath(path, root) if not files.is_remote(path) else path.removeprefix(root).strip("/")
      name = os.path.basename(files.absolute(root).rstrip("/")) if below in (".", "") else below
      found[name if name not in found else path] = path
  return dict(sorted(found.items()))


def _below(folder: str, deep: int) -> Iterator[str]:
  try:
    names = files.names(folder)
  except OSError:
    yield folder  # its line says why it cannot be read
    return
  if {"metrics.jsonl", "run.json", "evals"} & set(names):
    yield folder
    return
  for name in names if deep else ():
    at = os.path.join(folder, name)
    if not name.startswith(".") and not files.is_file(at):
      yield from _below(at, deep - 1)


def overview(name: str, path: str) -> dict[str, Any]:
  """One line of the table: how far a run is, and its last figures. A damaged file is told in place of them."""
  try:
    metrics, info = hooks.Jsonl.read(results.metrics_file(path)), _json(path, "run.json")
    steps = [line for line in metrics if "loss" in line]
    last = steps[-1] if steps else {}
    facts = info.get("facts", {})
    steps_of = _finite(facts.get("steps")) if isinstance(facts, dict) else None
    if steps_of is None and info:
      raise errors.InputError(f"{path}/run.json: holds no number of steps")
    told = {k: v for line in metrics for k, v in line.items() if "/" in k}
    return {
      "name": name,
      "state": _state(path, last.get("step", 0), steps_of or 0),
      "step": last.get("step", 0),
      "steps": steps_of or 0,
      "loss": _finite(last.get("loss")),
      "tokens_per_s": _finite(last.get("trained_tokens_per_s")),
      "goodput": _finite(last.get("goodput")),
      "memory_gib": _finite(last.get("memory_gib")),
      "trained": _finite(facts.get("trainable_parameters")),
      "evaluations": {k: _finite(v) for k, v in told.items()},
      "labels": results.labels(path),
      "pages": [label for label, file in _PAGES.items() if files.exists(os.path.join(path, file))],
      "error": "",
    }
  except (errors.InputError, OSError) as e:
    return {"name": name, "state": "damaged", "error": str(e), "evaluations": {}, "labels": [], "pages": []}


def _state(path: str, step: int, steps: float) -> str:
  """Training holds `owner.json` for as long as it lives."""
  if files.exists(os.path.join(path, "owner.json")):
    return "training"
  return "done" if steps and step >= steps else "stopped" if step else "evaluated"


def curves(path: str) -> dict[str, list[list[float]]]:
  """Points [step, value] of every figure; of many, evenly chosen ones with the first and the last."""
  found: dict[str, list[list[float]]] = {}
  for line in hooks.Jsonl.read(results.metrics_file(path)):
    for name, value in line.items():
      if name != "step" and (number := _finite(value)) is not None:
        found.setdefault(name, []).append([line["step"], number])
  return {name: _thinned(points) for name, points in sorted(found.items())}


def _thinned(points: list[list[float]]) -> list[list[float]]:
  if len(points) <= _POINTS:
    return points
  return [points[round(k * (len(points) - 1) / (_POINTS - 1))] for k in range(_POINTS)]


def answers(path: str, limit: int) -> list[dict[str, Any]]:
  """Items as every evaluation of the run answered them, in the order of the labels: how answers change over time."""
  found: dict[tuple[str, str], dict[str, Any]] = {}
  for label in results.labels(path):
    for name in files.names(os.path.join(path, "evals", label)):
      if name.endswith(".jsonl"):
        for row in _rows(os.path.join(path, "evals", label, name), limit):
          key = (name.removesuffix(".jsonl"), str(row.get("id", "")))
          item = found.setdefault(key, {"evaluator": key[0], "id": key[1], "prompt": _text(row), "answers": []})
          item["answers"].append(
            {"label": label, "text": str(row.get("output", "")), "right": _right(row.get("correct"))}
          )
  return [item for item in found.values() if any(one["text"] for one in item["answers"])][:limit]


def _right(value: Any) -> bool | float | None:
  return value if isinstance(value, bool) else _finite(value)


def _rows(path: str, limit: int) -> Iterator[Mapping[str, Any]]:
  """The first rows of a file; a line that is being written yet is no row."""
  with files.opened(path, "rb") as f:
    for _, line in zip(range(limit), f, strict=False):
      try:
        row = json.loads(line)
      except (ValueError, RecursionError):
        return
      if isinstance(row, dict):
        yield row


def _text(row: Mapping[str, Any]) -> str:
  prompt = row.get("prompt", row.get("messages", ""))
  if isinstance(prompt, list):
    return "\n".join(str(one.get("content", one)) if isinstance(one, dict) else str(one) for one in prompt)
  return str(prompt)


def page(path: str, label: str) -> str:
  """The file of a page that a command wrote. Raises InputError when there is none."""
  check.require(label in _PAGES, f"{label}: no such page")
  file = os.path.join(path, _PAGES[label])
  check.require(files.exists(file), f"{file}: was not written")
  return file


def _json(path: str, name: str) -> dict[str, Any]:
  file = os.path.join(path, name)
  return files.read_object(file) if files.exists(file) else {}


def _finite(value: Any) -> float | None:
  number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300
  return float(value) if number and math.isfinite(value) else None
