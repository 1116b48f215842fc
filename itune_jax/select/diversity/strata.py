"""Rows from every part of the data: clusters by k-means, and tags.

Strata: rows of most worth from each cluster in turn (Cherry_LLM's pre-experience has 100 clusters of 10; S2L clusters
trajectories of losses). Tags: #InsTag's complexity-first diverse sampling (Lu et al., ICLR 2024, arXiv 2308.07074): the
row of most tags that brings a new one, again and again; when none does, all tags count as new.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, Literal

import numpy as np

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.select import select_protocol
from itune_jax.select.diversity import features as features_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Strata(features_lib.Compared):
  """Each cluster in turn gives its row of most worth.

  features: what rows are clustered by. clusters: how many there are. rounds: of Lloyd's algorithm at most.
  """

  clusters: int = 100
  rounds: int = 50

  def __post_init__(self):
    super().__post_init__()
    check.require(self.clusters > 0 and self.rounds > 0, "Strata.clusters and Strata.rounds count from 1")

  def order(
    self,
    rows: Sequence[select_protocol.Row],
    worth: np.ndarray,
    most: int,
    random: np.random.Generator,
    ask: select_protocol.Ask | None,
  ) -> Sequence[int]:
    """Rows from cluster after cluster, the largest first."""
    del most
    vectors, at = self.features.vectors(rows, ask)
    own = k_means(vectors, self.clusters, self.rounds, random)
    return at[in_turn(own, worth[at])].tolist()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tags(select_protocol.Diversity):
  """Rows that cover the tags; among those of as many tags the one of more worth.

  key: under which rows hold a list of tags. A row without one is never taken. by: whether rows of more tags come first
  (as published), or rows of more worth.
  """

  key: str = "tags"
  by: Literal["count", "worth"] = "count"

  def __post_init__(self):
    check.check_types(self)

  def order(
    self,
    rows: Sequence[select_protocol.Row],
    worth: np.ndarray,
    most: int,
    random: np.random.Generator,
    ask: select_protocol.Ask | None,
  ) -> Sequence[int]:
    """Rows by the tags that they add. Raises InputError where no row has tags."""
    del random, ask
    tags = [tags_of(row, self.key) for row in rows]
    there = [i for i, own in enumerate(tags) if own]
    if not there:
      raise errors.InputError(f"Tags.key = {self.key!r}: no row has tags there, a list or an object; write them first")
    first = (lambda i: (-len(tags[i]), -worth[i], i)) if self.by == "count" else (lambda i: (-worth[i], i))
    return covering(tags, sorted(there, key=first), most)


def tags_of(row: Mapping[str, Any], key: str) -> frozenset[str]:
  """The tags of a row, whatever their case and outer space."""
  given = row.get(key)
  if isinstance(given, dict):  # as steps that tag write them: by kind, one or several
    given = [f"{kind}: {one}" for kind, own in given.items() for one in (own if isinstance(own, list) else [own])]
  found = given if isinstance(given, (list, tuple)) else []
  return frozenset(tag.strip().lower() for tag in found if isinstance(tag, str) and tag.strip())


def covering(tags: Sequence[frozenset[str]], order: Sequence[int], most: int) -> list[int]:
  """Passes over `order`, each taking what brings a tag that no row of the pass has."""
  taken: list[int] = []
  left = list(order)
  while left and len(taken) < most:
    seen: set[str] = set()
    later: list[int] = []
    for i in left:
      if len(taken) < most and tags[i] - seen:
        seen |= tags[i]
        taken.append(i)
      else:
        later.append(i)
    left = later
  return taken


def in_turn(clusters: np.ndarray, worth: np.ndarray) -> np.ndarray:
  """All numbers [N]: the best of each cluster, largest cluster first, then the second best of each, and so on."""
  sizes = np.bincount(clusters) if len(clusters) else np.zeros(0, int)
  place = np.empty(len(clusters), np.int64)
  for cluster in range(len(sizes)):
    own = np.flatnonzero(clusters == cluster)
    place[own[np.argsort(-worth[own], kind="stable")]] = np.arange(len(own))
  order = np.argsort(-sizes, kind="stable")
  rank = np.empty(len(sizes), np.int64)
  rank[order] = np.arange(len(sizes))
  return np.lexsort((rank[clusters], place))


def k_means(vectors: np.ndarray, count: int, rounds: int, random: np.random.Generator) -> np.ndarray:
  """The cluster [N] of each vector: k-means++ (Arthur & Vassilvitskii 2007), then Lloyd's rounds till nothing moves."""
  count = min(count, len(vectors))
  if not count:
    return np.zeros(0, np.int64)
  x = vectors.astype(np.float32)
  centres, nearest = np.empty((count, x.shape[1]), np.float32), np.full(len(x), np.inf)
  for k in range(count):
    total = nearest.sum() if k else 0.0
    i = random.choice(len(x), p=nearest / total) if k and total > 0 else int(random.integers(len(x)))
    centres[k] = x[i]
    nearest = np.minimum(nearest, ((x - centres[k]).astype(np.float64) ** 2).sum(axis=1))
  own = np.full(len(x), -1)
  for _ in range(rounds):
    squares = (centres**2).sum(axis=1)[None] - 2 * x @ centres.T  # |x|² is the same for all centres
    new = squares.argmin(axis=1)
    if np.array_equal(new, own):
      break
    own = new
    sizes = np.bincount(own, minlength=count)
    sums = np.zeros_like(centres, np.float64)
    np.add.at(sums, own, x)
    centres = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centres).astype(np.float32)
  return own
