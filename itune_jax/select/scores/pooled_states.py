"""What a model's final hidden states say of a row as one vector: how places are weighed, and cosines between rows."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from itune_jax.select import select_protocol
from itune_jax.select.scores import answers as answers_lib
from itune_jax.select.scores import asked as asked_lib

# Weights of the places of n ids: the last alone (DEITA), all alike (Cherry_LLM), the later the more (SGPT, RDS+).
POOLINGS: Mapping[asked_lib.By, Callable[[int], np.ndarray]] = {
  "last": lambda n: (np.arange(n) == n - 1).astype(np.float32),
  "mean": lambda n: np.ones(n, np.float32),
  "weighted_mean": lambda n: np.arange(1, n + 1, dtype=np.float32),
}


def of(
  ask: asked_lib.Asked, rows: Sequence[select_protocol.Row], by: asked_lib.By, what: str
) -> tuple[np.ndarray, np.ndarray]:
  """Unit vectors [M, D] float32 of the rows that are examples which fit, and the numbers of these rows [M]."""
  found = answers_lib.all_of(ask.renderer, rows)
  texts = [one.given[0].ids.tolist() if one is not None else [] for one in found]
  at = [i for i, ids in enumerate(texts) if 0 < len(ids) <= ask.engine.max_length]
  states = ask.progress(what, len(at)).engine.pooled([texts[i] for i in at], POOLINGS[by])
  return unit(states), np.asarray(at, np.int64)


def unit(vectors: np.ndarray) -> np.ndarray:
  """Vectors of length 1; one of length 0 stays so."""
  lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
  return (vectors / np.maximum(lengths, 1e-30)).astype(np.float32)
