"""Rows that another row contains: almost all n-grams of the one stand in the other."""

import collections
from collections.abc import Iterable
import dataclasses

import numpy as np

from itune_jax.core import check
from itune_jax.select import ngrams
from itune_jax.select import row_texts
from itune_jax.select import select_protocol
from itune_jax.select.duplicates import clusters


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contained(clusters.Duplicates):
  """A row is joined with one that has at least `share` of its n-grams (Broder 1997: containment), which MinHash misses
  where the one is much longer. Texts of fewer words are left alone and counted.

  share: from which on a text counts as contained. size: words of an n-gram. common: n-grams that stand in more rows
  than this say nothing and are not looked up.
  """

  share: float = 0.9
  size: int = 8
  common: int = 100

  def __post_init__(self):
    super().__post_init__()
    check.require(0 < self.share <= 1, f"Contained.share = {self.share}; it is above 0 and at most 1")
    check.require(self.size > 0 and self.common > 1, f"Contained: size = {self.size}, common = {self.common}")

  def reason(self) -> str:
    """Why a row is left out."""
    return "contained in another row"

  def roots(self, texts: Iterable[str], notes: select_protocol.Notes) -> np.ndarray:
    """Through an index from n-grams to rows, as sorted arrays."""
    grams, ends = [], [0]
    for text in texts:
      found = np.unique(ngrams.hashed(row_texts.words(text), self.size))
      grams.append(found)
      ends.append(ends[-1] + len(found))
    roots, short = clusters.Roots(), 0
    flat = np.concatenate(grams) if grams else np.zeros(0, np.uint64)
    owners = np.repeat(np.arange(len(grams)), np.diff(ends))
    order = np.lexsort((owners, flat))
    flat, owners = flat[order], owners[order]
    for own in grams:
      roots.add()
      short += not len(own)
    for i, own in enumerate(grams):
      low, high = np.searchsorted(flat, own, "left"), np.searchsorted(flat, own, "right")
      fine = (high - low > 1) & (high - low <= self.common)
      counts = collections.Counter(j for a, b in zip(low[fine], high[fine], strict=True) for j in owners[a:b].tolist())
      looked = len(own) - int((high - low > self.common).sum())
      for j, common in counts.items():
        if j != i and looked and common >= self.share * looked:
          roots.join(i, j)
    notes |= {"too_short": short}
    return roots.all()
