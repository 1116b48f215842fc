"""Rows that another row contains: almost all n-grams of the one stand in the other."""

import collections
from collections.abc import Iterable, Mapping
import dataclasses
import hashlib

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
  than this say nothing, are not looked up, and are counted; rows of the same n-grams are one row here.
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
    roots, short = clusters.Roots(), 0
    firsts: dict[bytes, int] = {}  # rows of the same n-grams are of one cluster however common these are
    grams: dict[int, np.ndarray] = {}
    for i, text in enumerate(texts):
      roots.add()
      found = np.unique(ngrams.hashed(row_texts.words(text), self.size))
      short += not len(found)
      first = firsts.setdefault(hashlib.sha256(found.tobytes()).digest(), i) if len(found) else i
      if first != i:
        roots.join(first, i)
      elif len(found):
        grams[i] = found
    notes |= {"too_short": short} | self._join(grams, roots)
    return roots.all()

  def _join(self, grams: Mapping[int, np.ndarray], roots: clusters.Roots) -> dict[str, int]:
    """Joins rows of which one contains the other; what was not looked up for it, counted. grams: by row."""
    flat = np.concatenate(list(grams.values())) if grams else np.zeros(0, np.uint64)
    owners = np.repeat(np.asarray(list(grams), np.int64), [len(own) for own in grams.values()])
    order = np.lexsort((owners, flat))
    flat, owners, only_common = flat[order], owners[order], 0
    for i, own in grams.items():
      low, high = np.searchsorted(flat, own, "left"), np.searchsorted(flat, own, "right")
      fine = (high - low > 1) & (high - low <= self.common)
      counts = collections.Counter(j for a, b in zip(low[fine], high[fine], strict=True) for j in owners[a:b].tolist())
      looked = len(own) - int((high - low > self.common).sum())
      only_common += not looked
      for j, common in counts.items():
        if j != i and looked and common >= self.share * looked:
          roots.join(i, j)
    times = np.unique(flat, return_counts=True)[1]
    return {"common_ngrams": int((times > self.common).sum()), "only_common": only_common}
