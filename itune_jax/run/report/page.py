"""The report of a run: one static page, readable in ten years: no scripts, no network."""

from collections.abc import Mapping
import os
import re
import shlex
from typing import Any

import jinja2

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import jsontext
from itune_jax.run import results
from itune_jax.run.report import charts
from itune_jax.run.report import evaluations
from itune_jax.run.report import gains as gains_lib
from itune_jax.train import hooks


def write(run_dir: str) -> tuple[str, dict[str, float]]:
  """Writes report.html into a run directory; returns its path and the figures of before against after.

  Raises InputError when there is no run.
  """
  metrics = hooks.Jsonl.read(os.path.join(run_dir, "metrics.jsonl"))
  if not metrics and not results.labels(run_dir):
    raise errors.InputError(f"{run_dir}: no metrics.jsonl and no evaluations: not a run directory")
  gains, info = gains_lib.gains(run_dir), _json(run_dir, "run.json")
  told: dict[str, Any] = dict(
    run=os.path.basename(files.absolute(run_dir).rstrip("/")),
    facts=info.get("facts", {}),
    taken=max((line["step"] for line in metrics), default=0),
    told=_told(info),
    info=info,
    train=_json(run_dir, "train.json"),
    data=_json(run_dir, "data.json"),
    operative=_text(run_dir, "operative.gin"),
    charts=charts.charts(metrics),
    evals=evaluations.rows(run_dir),
    gains=gains,
    samples=gains_lib.samples(run_dir, gains),
  )
  try:
    page = _template().render(told)
  except (jinja2.UndefinedError, TypeError, ValueError, LookupError, AttributeError) as e:  # a figure that is none
    raise errors.InputError(
      f"{run_dir}: run.json, train.json, data.json or a row of evals/ holds what no run writes ({jsontext.said(e)})"
    ) from None
  path = os.path.join(run_dir, "report.html")
  files.write_text(path, page)
  return path, {k: v for g in gains for k, v in g.items() if isinstance(v, float)}


def _told(info: Mapping[str, Any]) -> dict[str, str]:
  """What a run was, of its run.json: the base, the methods that trained, and the command that began it."""
  values, argv = info.get("values", {}), info.get("argv", [])
  methods = [values[name].rpartition(".")[2] for name in values if re.fullmatch(r"peft\[\d+\]\.type", name)]
  told = {
    "base": values.get("model.base", "").strip("'"),
    "methods": ", ".join(methods),
    "begun by": f"itune {shlex.join(argv)}" if argv else "",
  }
  return {name: text for name, text in told.items() if text}


def _template() -> jinja2.Template:
  loader = jinja2.FileSystemLoader(os.path.dirname(__file__))
  environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, loader=loader)
  return environment.get_template("report.html.j2")


def _json(run_dir: str, name: str) -> dict[str, Any]:
  path = os.path.join(run_dir, name)
  return files.read_object(path) if files.exists(path) else {}


def _text(run_dir: str, name: str) -> str:
  path = os.path.join(run_dir, name)
  if not files.exists(path):
    return ""
  try:
    with files.opened(path) as f:
      return f.read()
  except UnicodeDecodeError:
    raise errors.InputError(f"{path}: is no text in UTF-8 (damaged?)") from None
