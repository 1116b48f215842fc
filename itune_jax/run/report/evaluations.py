"""All evaluations of a run as one table."""

from collections.abc import Iterator
import os
from typing import Any

from itune_jax.core import files
from itune_jax.run import results


def rows(run_dir: str) -> list[dict[str, Any]]:
  """Every metric of every evaluation as one row, its interval beside it."""
  return [row for label in results.labels(run_dir) for row in _of(label, os.path.join(run_dir, "evals", label))]


def _of(label: str, folder: str) -> Iterator[dict[str, Any]]:
  for file in (f for f in files.names(folder) if f.endswith(".json")):
    figures = files.read_json(os.path.join(folder, file))
    for name, value in figures.items():
      if name.endswith(("_low", "_high", "/items")):
        continue
      low, high = figures.get(f"{name}_low"), figures.get(f"{name}_high")
      items = figures.get(name.rsplit("/", 1)[0] + "/items")
      yield {"label": label, "name": name, "value": value, "low": low, "high": high, "items": items}
