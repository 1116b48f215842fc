"""What a run changed: evaluations before and after on the same items, with paired intervals."""

from collections.abc import Mapping, Sequence
import os
from typing import Any

from itune_jax.core import files
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.run import results

SAMPLES = 12  # items of an evaluation whose answers are shown
_DOMAINS = 60  # a table of more domains says nothing

Rows = Sequence[Mapping[str, Any]]


def gains(run_dir: str) -> list[dict[str, Any]]:
  """before → after of every evaluator that judged the same items in both."""
  pairs = {name: _pair(run_dir, name) for name in _in_both(run_dir)}
  judged = lambda rows: all("correct" in row for row in rows)
  return [_gain(name, *pair) for name, pair in pairs.items() if all(map(judged, pair))]


def samples(run_dir: str, found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
  """Some items of each of these gains with the answers before and after, spread over the set."""
  return [sample for gain in found for sample in _samples(*_pair(run_dir, gain["name"]))]


def _in_both(run_dir: str) -> list[str]:
  """Evaluators that ran before and after."""
  rows = lambda label: [f for f in files.names(os.path.join(run_dir, "evals", label)) if f.endswith(".jsonl")]
  after = rows("after")
  return [file.removesuffix(".jsonl") for file in rows("before") if file in after]


def _pair(run_dir: str, name: str) -> tuple[Rows, Rows]:
  return results.read_rows(run_dir, "before", name), results.read_rows(run_dir, "after", name)


def _gain(name: str, before: Rows, after: Rows) -> dict[str, Any]:
  score = lambda rows: {row["id"]: float(row["correct"]) for row in rows}
  first, second, clusters = score(before), score(after), {row["id"]: row["cluster"] for row in before}
  shared = [one for one in first if one in second]
  names = [clusters[one] for one in shared]
  found = metrics_lib.Mean().paired([first[one] for one in shared], [second[one] for one in shared], names)
  gain, low, high = _bounds(found.figure)
  b, a = (
    _bounds(metrics_lib.Mean()(list(score(rows).values()), [row["cluster"] for row in rows]))
    for rows in (before, after)
  )
  return {
    "name": name,
    "items": len(before),
    "exact_match_before": b[0],
    "before_low": b[1],
    "before_high": b[2],
    "exact_match_after": a[0],
    "after_low": a[1],
    "after_high": a[2],
    "gain": gain,
    "gain_ci_low": low,
    "gain_ci_high": high,
    "domains": _by_domain(before, after),
  }


def _bounds(figure: metrics_lib.Figure) -> tuple[float, float, float]:
  """(value, low, high); NaN for bounds where there is no interval."""
  if figure.low is None or figure.high is None:
    return figure.value, float("nan"), float("nan")
  return figure.value, figure.low, figure.high


def _by_domain(before: Rows, after: Rows) -> list[dict[str, Any]]:
  """Share correct before and after, by domain."""
  domains = list(dict.fromkeys(row["domain"] for row in before))
  if len(domains) >= _DOMAINS:
    return []
  share = lambda rows, domain: sum(r["correct"] for r in rows if r["domain"] == domain) / max(
    1, sum(r["domain"] == domain for r in rows)
  )
  return [{"domain": d or "(none)", "before": share(before, d), "after": share(after, d)} for d in domains]


def _samples(before: Rows, after: Rows) -> list[dict[str, Any]]:
  outputs = {row["id"]: row for row in before}
  stride = max(1, len(after) // SAMPLES)
  return [
    {"prompt": row["prompt"], "answer": row["answer"], "before": outputs[row["id"]], "after": row}
    for row in after[::stride][:SAMPLES]
    if {"prompt", "answer", "output"} <= row.keys() and "output" in outputs.get(row["id"], ())
  ]
