"""The expectation over rating tokens: what a model rates, read off its probabilities and not off a text it writes.

Σ_k k·p(k) / Σ_k p(k) over the tokens of the ratings at the first place of the answer: DEITA's scorers (Liu et al., ICLR
2024, `selection/scorer/base.py`). A softmax over the logits of these tokens alone is the same number. All rows are
asked together; a rating costs no run of its own, since the prompt's last state scores every token.
"""

from collections.abc import Sequence

import numpy as np

from itune_jax.core import errors
from itune_jax.select.scores import asked as asked_lib


def expected(ask: asked_lib.Asked, prompts: Sequence[Sequence[int]], ratings: Sequence[str], what: str) -> np.ndarray:
  """Expected ratings [N] float64 behind prompts of ids; NaN where a prompt is longer than the model's positions.

  ratings: the texts of whole numbers, each one token. Raises InputError for a tokenizer that writes one otherwise.
  """
  tokens = [token(ask, rating) for rating in ratings]
  fits = [i for i, ids in enumerate(prompts) if len(ids) <= ask.engine.max_length]
  pairs = [(prompts[i], [one]) for i in fits for one in tokens]
  scores = ask.progress(what, len(pairs)).engine.score(pairs)
  logp = np.array([one.logprob for one in scores], np.float64).reshape(len(fits), len(tokens))
  values = np.full(len(prompts), np.nan)
  values[fits] = expectation(logp, np.array(list(map(float, ratings))))
  return values


def expectation(logits: np.ndarray, worths: np.ndarray) -> np.ndarray:
  """Σ worth·softmax(logits) over the last axis; log-probabilities do as well as logits."""
  weights = np.exp(logits - logits.max(axis=-1, keepdims=True)) if logits.size else logits
  return (weights * worths).sum(axis=-1) / weights.sum(axis=-1)


def token(ask: asked_lib.Asked, rating: str) -> int:
  """The id of a rating. Raises InputError where it is none or several."""
  ids = ask.renderer.encode(rating)
  if len(ids) != 1:
    raise errors.InputError(f"the tokenizer writes the rating {rating!r} as {len(ids)} tokens; a scorer needs one")
  return int(ids[0])
