"""Hashes of n-grams of words: 64 bits, the same in every process."""

from collections.abc import Sequence
import hashlib

import numpy as np

_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd: 2^64 over the golden ratio (Knuth, volume 3, 6.4)
_words: dict[str, int] = {}
_MOST = 1 << 20  # words whose hashes are remembered


def hashed(words: Sequence[str], size: int) -> np.ndarray:
  """The hash of each n-gram of so many words, in their order [len(words) - size + 1] uint64; none of fewer words."""
  return windows(np.asarray([of_word(word) for word in words], np.uint64), size)


def windows(words_N: np.ndarray, size: int) -> np.ndarray:
  """The hash of each window of so many word hashes [N - size + 1] uint64: a polynomial of them modulo 2^64."""
  count = len(words_N) - size + 1
  if count <= 0:
    return np.zeros(0, np.uint64)
  found = np.zeros(count, np.uint64)
  for i in range(size):
    found = found * _FACTOR + words_N[i : i + count]
  return found


def of_word(word: str) -> int:
  """The hash of a word."""
  known = _words.get(word)
  if known is None:
    if len(_words) >= _MOST:
      _words.clear()
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    known = _words.setdefault(word, int.from_bytes(digest, "little"))
  return known
