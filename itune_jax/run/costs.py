"""What the answers to benchmarks cost: tokens that were read and said, and seconds.

Benchmarks of a suite are asked together, so seconds are measured of all of them, apart for answers and for scores, and
shared by tokens: each benchmark has those of its own.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import os
import time
from typing import Any, TypeVar

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.sampling import requests as requests_lib
from itune_jax.sampling.responders import telling

FILE = "costs.json"  # beside the figures
_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
  """Of one benchmark: items whose tokens are known, tokens of their prompts (each once) and of answers or scored texts,
  and seconds, None where the answers were not all made in one go."""

  items: int
  prompt: int
  answer: int
  seconds: float | None = None

  @property
  def tokens(self) -> float:
    """Of an item, read and said."""
    return (self.prompt + self.answer) / self.items


class Timed(telling.Wrapping):
  """Asks another responder and adds up its seconds."""

  def __init__(self, inner: requests_lib.Responder):
    self.inner, self.answers_s, self.scores_s = inner, 0.0, 0.0

  def answer_each(
    self,
    requests: Sequence[requests_lib.Request],
    done: Callable[[requests_lib.Response], None],
    progress: requests_lib.Progress = lambda n: None,
  ) -> list[requests_lib.Response]:
    """Its answers, each as it is there."""
    found, seconds = _timed(lambda: self.inner.answer_each(requests, done, progress))
    self.answers_s += seconds
    return found

  def score(
    self, pairs: Sequence[requests_lib.Pair], progress: requests_lib.Progress = lambda n: None
  ) -> list[requests_lib.Score]:
    """Its log-probabilities."""
    found, seconds = _timed(lambda: self.inner.score(pairs, progress))
    self.scores_s += seconds
    return found

  def rolling(self, texts: Sequence[str], progress: requests_lib.Progress = lambda n: None) -> list[requests_lib.Score]:
    """Its log-probabilities of whole texts."""
    found, seconds = _timed(lambda: self.inner.rolling(texts, progress))
    self.scores_s += seconds
    return found


def _timed(call: Callable[[], _T]) -> tuple[_T, float]:
  started = time.perf_counter()
  return call(), time.perf_counter() - started


def shared(
  rows: Mapping[str, Sequence[Mapping[str, Any]]], generates: Mapping[str, bool], timed: Timed | None
) -> dict[str, Cost]:
  """The cost of each benchmark of its rows. timed: of all of them, None where some were answered before."""
  found = {name: cost for name, own in rows.items() if (cost := _of_rows(own)) is not None}
  if timed is None or len(found) < len(rows):  # what is not known would be shared among the others
    return found
  weights = {name: cost.prompt + cost.answer for name, cost in found.items()}
  total = {kind: sum(weights[name] for name in found if generates[name] is kind) for kind in (True, False)}
  seconds = {True: timed.answers_s, False: timed.scores_s}
  of = lambda name: seconds[generates[name]] * weights[name] / (total[generates[name]] or 1)
  return {name: dataclasses.replace(cost, seconds=of(name)) for name, cost in found.items()}


def _of_rows(rows: Sequence[Mapping[str, Any]]) -> Cost | None:
  known = [row["usage"] for row in rows if "usage" in row]
  if not known:
    return None
  return Cost(items=len(known), prompt=sum(u["prompt"] for u in known), answer=sum(u["answer"] for u in known))


def write(folder: str, found: Mapping[str, Cost]) -> None:
  """Adds costs to those that a folder holds."""
  together = {**read(folder), **found}
  if together:
    files.write_json(os.path.join(folder, FILE), {name: dataclasses.asdict(one) for name, one in together.items()})


def read(folder: str) -> dict[str, Cost]:
  """The costs that a folder holds, by benchmark. Raises InputError for a file that is none of costs."""
  path = os.path.join(folder, FILE)
  if not files.exists(path):
    return {}
  try:
    found = {name: Cost(**one) for name, one in files.read_object(path).items()}
  except TypeError:
    raise errors.InputError(f"{path}: holds no costs; remove it, or evaluate again") from None
  for name, one in found.items():
    check.require(one.items > 0, f"{path}: {name} has no items; remove it, or evaluate again")
  return found
