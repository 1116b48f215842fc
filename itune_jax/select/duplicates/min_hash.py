"""Near duplicates by MinHash and locality-sensitive hashing (Broder 1997; Indyk and Motwani 1998), through rensa.

rensa's sketches and index are in Rust, ten times as quick here as datasketch's batches. A sketch only names candidates:
whether two rows are alike is decided by the Jaccard similarity of their shingles itself.
"""

import array
from collections.abc import Iterable, Iterator
import dataclasses
import hashlib
import itertools
from typing import Any

import numpy as np

from itune_jax.core import check
from itune_jax.core import lazy
from itune_jax.core import ranges
from itune_jax.select import row_texts
from itune_jax.select import select_protocol
from itune_jax.select.duplicates import clusters

rensa = lazy.module("rensa")
BLOCK = 2048  # texts that are sketched at once


@dataclasses.dataclass(frozen=True, kw_only=True)
class MinHash(clusters.Duplicates):
  """Rows whose sets of shingles are alike are one cluster, also by way of others (single linkage).

  threshold: the Jaccard similarity from which on two rows are alike. shingle: words of a shingle; a shorter text is one
  shingle. bands, band: how many bands of so many permutations a sketch has; two rows of similarity s are compared with
  probability 1 - (1 - s^band)^bands: 0.9997 at 0.8 and 0.988 at 0.7 as it is set here. seed: of the permutations.
  """

  threshold: float = 0.7
  shingle: int = 3
  bands: int = 24
  band: int = 5
  seed: ranges.Seed = 1

  def __post_init__(self):
    super().__post_init__()
    check.require(0 < self.threshold <= 1, f"MinHash.threshold = {self.threshold}; it is above 0 and at most 1")
    counts = (self.shingle, self.bands, self.band)
    check.require(min(counts) > 0, f"MinHash: shingle, bands and band are 1 or more, not {counts}")

  def reason(self) -> str:
    """Why a row is left out."""
    return "near duplicate (MinHash)"

  def shingles(self, text: str) -> list[str]:
    """The shingles of a text, some perhaps twice; none of a text without a word."""
    words = row_texts.words(text)
    if len(words) <= self.shingle:
      return [" ".join(words)] if words else []
    return list(map(" ".join, zip(*(words[i:] for i in range(self.shingle)), strict=False)))

  def roots(self, texts: Iterable[str], notes: select_protocol.Notes) -> np.ndarray:
    """Joins each row with the candidates before it that are alike; rows of equal shingles are one from the start."""
    lsh = rensa.RMinHashLSH(self.threshold, self.bands * self.band, self.bands)
    roots, same, kept, empty, pairs = clusters.Roots(), {}, _Hashed(), 0, 0
    for block in _blocks(map(self.shingles, texts)):
      numbers, sets = [], []
      for shingles, hashed in zip(block, _hashed(block), strict=True):
        i = roots.add()
        empty += not shingles
        first = same.setdefault(hash(hashed.tobytes()), i) if shingles else i
        kept.add(hashed)
        if first != i and np.array_equal(kept[first], hashed):
          roots.join(i, first)
        elif shingles:
          numbers.append(i)
          sets.append(shingles)
      sketches = self._sketches(sets)
      lsh.insert_pairs(list(zip(numbers, sketches, strict=True)))
      for i, candidates in zip(numbers, lsh.query_all(sketches), strict=True):
        before = [j for j in sorted(candidates) if j < i]
        pairs += len(before)
        self._join(i, before, roots, kept)
    notes |= self.said(empty, pairs)
    return roots.all()

  def said(self, empty: int, pairs: int) -> select_protocol.Notes:
    """With the pairs of different sets that share a band."""
    return {"without_text": empty, "candidate_pairs": pairs}

  def looks(self, texts: Iterable[str]) -> Iterator[clusters.Look]:
    """The sketch of each text in bands, and its set."""
    for block in _blocks(map(self.shingles, texts)):
      for shingles, hashed, sketch in zip(block, _hashed(block), self._sketches(block), strict=True):
        shape = hashed.tobytes()
        bands = np.asarray(sketch.digest(), np.uint32).reshape(self.bands, self.band)
        keys = [n.to_bytes(2, "little") + band.tobytes() for n, band in enumerate(bands)]
        same = hashlib.blake2b(shape, digest_size=16).digest()
        yield clusters.Look(same, keys, shape) if shingles else clusters.Look(b"")

  def alike(self, a: bytes, b: bytes) -> bool:
    """By the similarity of their sets."""
    return jaccard(np.frombuffer(a, np.uint64), np.frombuffer(b, np.uint64)) >= self.threshold

  def _sketches(self, sets: list[list[str]]) -> list[Any]:
    return rensa.RMinHash.from_token_sets(sets, self.bands * self.band, self.seed)

  def _join(self, i: int, candidates: Iterable[int], roots: clusters.Roots, kept: "_Hashed") -> None:
    """Joins a row with those candidates that are alike; those that are of one cluster by now are not looked at."""
    for j in candidates:
      if roots.root(i) != roots.root(j) and jaccard(kept[i], kept[j]) >= self.threshold:
        roots.join(i, j)


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
  """The Jaccard similarity of two sets, each as sorted hashes without repetition."""
  common = np.intersect1d(a, b, assume_unique=True).size
  return common / (a.size + b.size - common)


class _Hashed:
  """Sets of hashes, one behind the other in one array: a million rows of 70 shingles are 0.5 GiB."""

  def __init__(self):
    self._flat, self._ends = array.array("Q"), array.array("q", [0])

  def add(self, hashes: np.ndarray) -> None:
    """The next set."""
    self._flat.frombytes(hashes.tobytes())
    self._ends.append(len(self._flat))

  def __getitem__(self, i: int) -> np.ndarray:
    """A copy: what is looked at while the array grows would keep it from growing."""
    return np.frombuffer(self._flat[self._ends[i] : self._ends[i + 1]], np.uint64)


def _hashed(block: list[list[str]]) -> Iterator[np.ndarray]:
  """The set of each text's shingles as sorted hashes."""
  for shingles, hashes in zip(block, rensa.RMinHash.hash_token_sets(block), strict=True):
    yield np.unique(np.asarray(hashes, np.uint64)) if shingles else np.zeros(0, np.uint64)


def _blocks(shingles: Iterator[list[str]]) -> Iterator[list[list[str]]]:
  while block := list(itertools.islice(shingles, BLOCK)):
    yield block
