"""All evaluations of a run as one table."""

from collections.abc import Iterator
import os
from typing import Any

from itune_jax.core import files
from itune_jax.run import results


def rows(run_dir: str) -> list[dict[str, Any]]:
  """Every metric of every evaluation as one row, its interval beside it."""
  return [row for label in results.labels(run_dir) for row in _of(run_dir, label)]


def _of(run_dir: str, label: str) -> Iterator[dict[str, Any]]:
  names = files.names(os.path.join(run_dir, "evals", label))
  for evaluator in (name.removesuffix(".json") for name in names if name.endswith(".json")):
    for one in results.read(run_dir, label, evaluator).results:
      yield {"label": label, "name": one.name, "items": one.n, **one._asdict()}
