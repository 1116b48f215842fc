"""Exact duplicates, after a normalisation that says what does not count."""

from collections.abc import Iterable, Iterator
import dataclasses
import hashlib
from typing import Literal
import unicodedata

import numpy as np

from itune_jax.select import row_texts
from itune_jax.select import select_protocol
from itune_jax.select.duplicates import clusters


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exact(clusters.Duplicates):
  """Rows of one text are one cluster. A text without a word is like no other.

  by: what is compared: the text as it is, with one form of Unicode (NFKC), lower case and single spaces, or its words
  alone, without case and punctuation.
  """

  by: Literal["text", "normal", "words"] = "normal"

  def reason(self) -> str:
    """Why a row is left out."""
    return "exact duplicate"

  def roots(self, texts: Iterable[str], notes: select_protocol.Notes) -> np.ndarray:
    """By a hash of 128 bits."""
    seen: dict[bytes, int] = {}
    found, empty = [], 0
    for i, look in enumerate(self.looks(texts)):
      empty += not look.same
      found.append(seen.setdefault(look.same, i) if look.same else i)
    notes |= self.said(empty, 0)
    return np.asarray(found, np.int64)

  def looks(self, texts: Iterable[str]) -> Iterator[clusters.Look]:
    """Each by the hash of what is compared."""
    for form in map(self._form, texts):
      digest = hashlib.blake2b(form.encode("utf-8", "surrogatepass"), digest_size=16).digest()
      yield clusters.Look(digest if form else b"")

  def _form(self, text: str) -> str:
    if self.by == "text":
      return text
    if self.by == "words":
      return " ".join(row_texts.words(unicodedata.normalize("NFKC", text)))
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
