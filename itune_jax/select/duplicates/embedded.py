"""Rows that mean the same, by the vectors of an encoder."""

from collections.abc import Iterable
import dataclasses

import numpy as np

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.select import select_protocol
from itune_jax.select.duplicates import clusters

BLOCK = 1024  # rows of the matrix of similarities at once


@dataclasses.dataclass(frozen=True, kw_only=True)
class Embedded(clusters.Duplicates):
  """Rows whose vectors have a cosine of `threshold` or more are one cluster (single linkage), compared all with all.

  encoder: a folder or known name of an encoder, or of any model as for --base, whose final hidden states are averaged;
  cosines of such a model lie higher. threshold: the cosine from which on two rows mean the same.
  """

  encoder: str
  threshold: float = 0.9

  def __post_init__(self):
    super().__post_init__()
    check.require(0 < self.threshold <= 1, f"Embedded.threshold = {self.threshold}; it is above 0 and at most 1")

  def reason(self) -> str:
    """Why a row is left out."""
    return "near duplicate (embedding)"

  def opened(self, outside: select_protocol.Outside) -> select_protocol.Step:
    """With the encoder."""
    given = {field.name: vars(self)[field.name] for field in dataclasses.fields(self)}
    return _Encoded(**given, outside=outside)

  def roots(self, texts: Iterable[str], notes: select_protocol.Notes) -> np.ndarray:
    """Only what was opened has an encoder."""
    raise errors.InputError("Embedded: open it first, so that it has its encoder")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Encoded(Embedded):
  outside: select_protocol.Outside

  def roots(self, texts: Iterable[str], notes: select_protocol.Notes) -> np.ndarray:
    """By blocks of the matrix of cosines."""
    given = list(texts)
    vectors_ND = np.asarray(self.outside.embed(self.encoder, given), np.float32)
    norms = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    vectors_ND = vectors_ND / np.where(norms == 0, 1, norms)
    roots = clusters.Roots()
    for _ in given:
      roots.add()
    for start in range(0, len(given), BLOCK):
      cosines = vectors_ND[start : start + BLOCK] @ vectors_ND[: start + BLOCK].T
      for i, j in zip(*(one.tolist() for one in np.nonzero(cosines >= self.threshold)), strict=True):
        if j < start + i and given[j].strip() and given[start + i].strip():
          roots.join(start + i, j)
    notes["without_text"] = sum(not text.strip() for text in given)
    return roots.all()
