"""`itune report`: one static page of a run, readable in ten years: no scripts, no network."""

import base64
import io
import os
from typing import Any

import jinja2
import matplotlib

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.grading import stats
from itune_jax.run import results
from itune_jax.train import hooks

matplotlib.use("Agg")
from matplotlib import figure as figure_lib  # noqa: E402  # the backend must be chosen first

SAMPLES = 12


def write(run_dir: str) -> tuple[str, dict[str, float]]:
  """Writes report.html into a run directory; returns its path and the figures of before against after.

  Raises InputError when there is no run.
  """
  metrics = hooks.Jsonl.read(os.path.join(run_dir, "metrics.jsonl"))
  if not metrics and not results.labels(run_dir):
    raise errors.InputError(f"{run_dir}: no metrics.jsonl and no evaluations: not a run directory")
  steps = [line for line in metrics if "loss" in line]
  gains = _gains(run_dir)
  environment = jinja2.Environment(
    autoescape=True, trim_blocks=True, lstrip_blocks=True, loader=jinja2.FileSystemLoader(os.path.dirname(__file__))
  )
  page = environment.get_template("report.html.j2").render(
    run=os.path.basename(files.absolute(run_dir).rstrip("/")),
    facts=_json(run_dir, "run.json").get("facts", {}),
    info=_json(run_dir, "run.json"),
    train=_json(run_dir, "train.json"),
    data=_json(run_dir, "data.json"),
    operative=_text(run_dir, "operative.gin"),
    charts=[_chart(steps, *chart) for chart in _CHARTS if len(steps) > 1],
    evals=_tables(run_dir),
    gains=gains,
    samples=_samples(run_dir),
  )
  path = os.path.join(run_dir, "report.html")
  files.write_text(path, page)
  return path, {k: v for g in gains for k, v in g.items() if isinstance(v, float)}


_CHARTS = (
  ("Loss", "loss", "nats a trained token"),
  ("Learning rate", "learning_rate", ""),
  ("Throughput", "trained_tokens_per_s", "trained tokens a second"),
)


def _chart(steps: list[dict[str, Any]], title: str, key: str, unit: str) -> dict[str, str]:
  """A line over steps as an inline SVG."""
  fig = figure_lib.Figure(figsize=(4.2, 2.6))
  axes = fig.add_subplot()
  points = [(line["step"], line[key]) for line in steps if key in line]
  axes.plot(*zip(*points, strict=True), color="#2a6f97", linewidth=1.6)
  axes.set_xlabel("step")
  axes.set_ylabel(unit)
  axes.set_ylim(bottom=0)
  axes.spines[["top", "right"]].set_visible(False)
  fig.tight_layout()
  out = io.BytesIO()
  fig.savefig(out, format="svg")
  return {
    "title": title,
    "src": "data:image/svg+xml;base64," + base64.b64encode(out.getvalue()).decode(),
    "alt": f"{title} over {len(points)} steps",
  }


def _tables(run_dir: str) -> list[dict[str, Any]]:
  """Every metric of every evaluation as one row, its interval beside it."""
  rows = []
  for label in results.labels(run_dir):
    folder = os.path.join(run_dir, "evals", label)
    for file in (f for f in files.names(folder) if f.endswith(".json")):
      figures = files.read_json(os.path.join(folder, file))
      for name, value in figures.items():
        if not name.endswith(("_low", "_high", "/items")):
          low, high = figures.get(f"{name}_low"), figures.get(f"{name}_high")
          rows.append(
            {
              "label": label,
              "name": name,
              "value": value,
              "low": low,
              "high": high,
              "items": figures.get(name.rsplit("/", 1)[0] + "/items"),
            }
          )
  return rows


def _gains(run_dir: str) -> list[dict[str, Any]]:
  """before → after of every evaluator that judged the same items in both, with paired intervals."""
  labels = results.labels(run_dir)
  if "before" not in labels or "after" not in labels:
    return []
  found = []
  for file in files.names(os.path.join(run_dir, "evals", "before")):
    name = file.removesuffix(".jsonl")
    if not file.endswith(".jsonl") or not files.exists(os.path.join(run_dir, "evals", "after", file)):
      continue
    before, after = results.read_rows(run_dir, "before", name), results.read_rows(run_dir, "after", name)
    if not all("correct" in row for row in before + after):
      continue
    score = lambda rows: {row["id"]: float(row["correct"]) for row in rows}
    clusters = {row["id"]: row["cluster"] for row in before}
    mean, low, high = stats.paired_interval(score(before), score(after), clusters)
    each = lambda rows: stats.interval([float(r["correct"]) for r in rows], [r["cluster"] for r in rows])
    b, a = each(before), each(after)
    found.append(
      {
        "name": name,
        "items": len(before),
        "exact_match_before": b[0],
        "before_low": b[1],
        "before_high": b[2],
        "exact_match_after": a[0],
        "after_low": a[1],
        "after_high": a[2],
        "gain": mean,
        "gain_ci_low": low,
        "gain_ci_high": high,
        "domains": _by_domain(before, after),
      }
    )
  return found


def _by_domain(before, after) -> list[dict[str, Any]]:
  """Share correct before and after, by domain."""
  share = lambda rows, domain: sum(r["correct"] for r in rows if r["domain"] == domain) / max(
    1, sum(r["domain"] == domain for r in rows)
  )
  domains = list(dict.fromkeys(row["domain"] for row in before))
  return (
    [{"domain": d or "(none)", "before": share(before, d), "after": share(after, d)} for d in domains]
    if len(domains) < 60
    else []
  )


def _samples(run_dir: str) -> list[dict[str, Any]]:
  """Some items with the answers before and after, spread over the set."""
  labels = results.labels(run_dir)
  if "before" not in labels or "after" not in labels:
    return []
  found = []
  for gain in _gains(run_dir):
    before, after = (results.read_rows(run_dir, label, gain["name"]) for label in ("before", "after"))
    outputs = {row["id"]: row for row in before}
    stride = max(1, len(after) // SAMPLES)
    found += [
      {"prompt": row["prompt"], "answer": row["answer"], "before": outputs[row["id"]], "after": row}
      for row in after[::stride][:SAMPLES]
      if "output" in row and row["id"] in outputs
    ]
  return found


def _json(run_dir, name) -> dict[str, Any]:
  path = os.path.join(run_dir, name)
  return files.read_json(path) if files.exists(path) else {}


def _text(run_dir, name) -> str:
  path = os.path.join(run_dir, name)
  if not files.exists(path):
    return ""
  with files.opened(path) as f:
    return f.read()
