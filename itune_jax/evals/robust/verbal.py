"""How sure a model says that it is: each answer is put back to it, and it is asked how likely it is right.

So the answers and their figures are those of the benchmark itself (Tian et al. 2023, "Just Ask for Calibration", in two
stages). What it says is set beside what the answer is worth, as `calibration` has it.
"""

from collections.abc import Mapping, Sequence
import re
from typing import Any

from itune_jax.core import contracts
from itune_jax.core import conversation as conversation_lib
from itune_jax.grading.statistics import calibration
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests as requests_lib

QUESTION = (
  "How likely is it that your answer above is correct? Reply with a percentage between 0% and 100%, and nothing else."
)
LIMIT = 16  # tokens
_NUMBER = re.compile(r"(?<![\d.,])(\d+(?:[.,]\d+)?)\s*(%|percent\b|/\s*100\b)?", re.IGNORECASE)


def confidence(text: str) -> float | None:
  """The first number of a text as a probability; None where there is none, or it is out of range.

  A percentage is asked for, so whole numbers are percentages, with a sign or without; a bare number with a decimal
  point that is at most 1 is the probability itself.
  """
  found = _NUMBER.search(text)
  if found is None:
    return None
  number, bare = float(found[1].replace(",", ".")), found[2] is None
  value = number if bare and number <= 1 and re.search("[.,]", found[1]) else number / 100
  return value if 0 <= value <= 1 else None


def askable(rows: Sequence[Mapping[str, Any]], metric: str) -> list[Mapping[str, Any]]:
  """The rows that were answered in text, and are right or wrong by the metric; none where it is no share."""
  values = [row["values"].get(metric) for row in rows]
  if not metrics_lib.shares([value for value in values if value is not None]):
    return []
  return [
    row for row, value in zip(rows, values, strict=True) if value is not None and row.get("output") and _turns(row)
  ]


def request(row: Mapping[str, Any], id: str) -> requests_lib.Request:
  """What is asked of an answer."""
  said = ({"role": "assistant", "content": row["output"]}, {"role": "user", "content": QUESTION})
  asked = conversation_lib.Conversation((*_turns(row), *said))
  return requests_lib.Request(conversation=asked, id=id, limit=LIMIT, temperature=0.0)


def _turns(row: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
  """What was asked as messages of text; nothing where it was more than text, or ended with the answer begun."""
  given = row.get("messages") or ([{"role": "user", "content": row["prompt"]}] if row.get("prompt") else [])
  plain = all(isinstance(one, dict) and isinstance(one.get("content"), str) for one in given)
  return tuple(given) if given and plain and given[-1].get("role") == "user" else ()


def figures(
  benchmark: str, metric: str, rows: Sequence[Mapping[str, Any]], said: Sequence[float | None], of: int
) -> list[contracts.Result]:
  """`calibration.METRICS` of what was said, called as `verbal_ece_METRIC`, and the share that said no percentage."""
  clusters = [row["cluster"] for row in rows]
  known = [(c, row) for c, row in zip(said, rows, strict=True) if c is not None]
  pairs = [(c, float(row["values"][metric])) for c, row in known]
  found = calibration.figures(benchmark, metric, pairs, [row["cluster"] for _, row in known], of)
  unread = metrics_lib.Mean("lower")([float(one is None) for one in said], clusters)
  told = contracts.Result(benchmark, f"verbal_unread_{metric}", unread.value, "", unread.low, unread.high, unread.n, of)
  return [*(one._replace(metric=f"verbal_{one.metric}") for one in found), told]
