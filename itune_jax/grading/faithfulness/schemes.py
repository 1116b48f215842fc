"""How the support of a text by another is made of the support of its parts: SummaC, AlignScore, FActScore.

A text is cut into claims, what it must follow from into chunks. A judge says how far each chunk supports each claim;
these functions make one number of the matrix [chunks, claims].
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import math
from typing import Literal

import numpy as np

from itune_jax.grading.ifeval import texts

Op = Literal["min", "mean", "max"]
_OPS: Mapping[str, Callable[..., np.ndarray]] = {"min": np.min, "mean": np.mean, "max": np.max}
SHORTEST, MOST = 10, 100  # SummaC: letters of a part at least, one more than this; chunks of a document at most
WORDS = 350  # AlignScore: of a chunk, about
GAMMA = 10  # FActScore: facts of an answer that is not penalised for being short
# SummaC-Conv's bins: the percentiles that its default weights belong to.
PERCENTILES = (
  *(0.0, 0.01, 0.02, 0.03, 0.04, 0.07, 0.13, 0.37, 0.90, 0.91, 0.92, 0.93, 0.94, 0.95, 0.955, 0.96, 0.965, 0.97),
  *(0.975, 0.98, 0.985, 0.99, 0.995, 1.0),
)


def sentences(text: str) -> list[str]:
  """The sentences of a text with more than ten letters, as SummaC counts them."""
  return [one for one in texts.sentences(text) if len(one) > SHORTEST]


def paragraphs(text: str) -> list[str]:
  """The paragraphs of a text, its lines where it has none, by SummaC's rule."""
  parts = text.split("\n\n" if "\n\n" in text else "\n")
  return [part for one in parts if len(part := one.strip()) > SHORTEST]


def chunks(text: str, words: int = WORDS) -> list[str]:
  """Runs of whole sentences of about so many words, by AlignScore's rule."""
  found = texts.sentences(text) or [""]
  size = max(len(found) // (len(text.split()) // words + 1), 1)
  return [" ".join(found[i : i + size]) for i in range(0, len(found), size)]


def zero_shot(
  entailed: np.ndarray, contradicted: np.ndarray | None = None, *, over_chunks: Op = "max", over_claims: Op = "mean"
) -> float:
  """SummaC-ZS (Laban et al. 2022): entailment less contradiction, each by its own best chunk, over claims.

  Args:
    entailed, contradicted: probabilities [chunks, claims]; without the second, entailment alone.

  Raises ValueError for a matrix without a cell.
  """
  scores = _over(entailed, over_chunks)
  if contradicted is not None:
    scores = scores - _over(contradicted, over_chunks)
  return float(_OPS[over_claims](scores))


def align(aligned: np.ndarray) -> float:
  """AlignScore (Zha et al. 2023): each claim by the chunk that supports it best, then the mean."""
  return float(_over(aligned, "max").mean())


def histograms(entailed: np.ndarray, bins: Sequence[float] = PERCENTILES, rows: int = 10) -> np.ndarray:
  """SummaC-Conv's features [rows, bins - 1]: how the chunks' entailment of a claim lies in the bins, for the first
  `rows` claims; rows of zeros fill up."""
  found = np.zeros((rows, len(bins) - 1))
  for place, column in enumerate(np.asarray(entailed, np.float64).T[:rows]):
    found[place] = np.histogram(column, bins=np.asarray(bins), range=(0, 1))[0]
  return found


def convolved(entailed: np.ndarray, weight_B: np.ndarray, bias: float, final: np.ndarray, final_bias: np.ndarray):
  """SummaC-Conv's score: a line through each claim's histogram, the mean over claims, two classes of it, softmax.

  Args:
    entailed: [chunks, claims]. weight_B, bias: the line over bins. final, final_bias: [2, 3] and [2], as its layer
    has them; it sees the mean three times.

  Returns the probability that the text is consistent.
  """
  table = histograms(entailed)
  used = table[table.sum(1) != 0]
  mean = float((used @ weight_B + bias).mean()) if len(used) else 0.0
  logits = final @ np.full(3, mean) + final_bias
  shifted = np.exp(logits - logits.max())
  return float(shifted[1] / shifted.sum())


def fact_score(supported: Sequence[float], gamma: int = GAMMA) -> float:
  """FActScore (Min et al. 2023): the mean of what is supported, times exp(1 - γ/n) for n facts of γ at most; γ = 0 for
  no penalty. Raises ValueError without a fact."""
  if not supported:
    raise ValueError("there is no fact to be supported")
  n = len(supported)
  return sum(supported) / n * (1.0 if not gamma or n > gamma else math.exp(1 - gamma / n))


@dataclasses.dataclass(frozen=True)
class Scheme:
  """How texts are cut, and one number is made of how far each chunk supports each claim; neutral is the number that
  says neither yes nor no."""

  chunks: Callable[[str], list[str]]
  claims: Callable[[str], list[str]]
  score: Callable[[np.ndarray], float]
  neutral: float = 0.5


SCHEMES: Mapping[str, Scheme] = {
  "whole": Scheme(lambda text: [text], lambda text: [text], lambda table: float(table[0, 0])),
  "summac_zs": Scheme(
    lambda text: sentences(text)[:MOST] or [text], lambda text: sentences(text) or [text],
    lambda table: zero_shot(table, 1 - table), 0.0,
  ),
  "alignscore": Scheme(chunks, lambda text: texts.sentences(text) or [text], align),
}  # fmt: skip
"""By name. The judge of a pair says yes or no: what is not entailed is contradicted."""


def _over(table: np.ndarray, op: Op) -> np.ndarray:
  if not np.size(table):
    raise ValueError("there is no chunk, or no claim")
  return _OPS[op](np.asarray(table, np.float64), axis=0)
