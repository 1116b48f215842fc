"""What evaluators share: where their items come from, and the figures of a yes-or-no metric."""

import dataclasses
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.data import example as example_lib
from itune_jax.data import mixture
from itune_jax.grading import stats


@dataclasses.dataclass(frozen=True, kw_only=True)
class Items:
  """The items of an evaluation: a source (file or `starter:heldout`), and a check for rows without one."""

  source: mixture.Source
  default_check: str = "exact"

  def __post_init__(self):
    check.check_types(self)

  def load(self) -> list[example_lib.Example]:
    """The examples, each with a check. Raises InputError with file and line of a bad row, or when there are none."""
    found = []
    for row in self.source.rows():
      if row.example is None:
        raise errors.InputError(f"{row.file}:{row.line}: {row.problem}")
      one = row.example
      if not one.check:
        one = dataclasses.replace(one, check={"name": self.default_check, "answer": one.answer})
      found.append(one)
    if not found:
      raise errors.InputError(f"evaluation source {self.source.name} ({self.source.path}) has no rows")
    return found


def figures(name: str, metric: str, rows: list[dict[str, Any]], key: str = "correct") -> dict[str, float]:
  """Mean and 95 % interval of a per-row metric, clustered by the row's template."""
  mean, low, high = stats.interval([float(row[key]) for row in rows], [row["cluster"] for row in rows])
  return {
    f"{name}/{metric}": mean,
    f"{name}/{metric}_low": low,
    f"{name}/{metric}_high": high,
    f"{name}/items": float(len(rows)),
  }


def cluster(example: example_lib.Example) -> str:
  """What an item is drawn together with: its template, else itself."""
  return example.source.get("template") or example.id
