"""Length, and chance: the two baselines that cost nothing.

Longest: Zhao et al. 2024, "Long Is More for Alignment" (arXiv 2402.04833) takes the longest answers.
"""

from collections.abc import Sequence
import dataclasses
import hashlib
import json
from typing import Literal

import numpy as np

from itune_jax.core import check
from itune_jax.core import ranges
from itune_jax.data import example as example_lib
from itune_jax.select import select_protocol
from itune_jax.select.scores import answers as answers_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Length(select_protocol.Score):
  """How long the answers of a row are. Tokens hang on a tokenizer; these do not.

  unit: characters, or words (what white space parts). name: under which rows bear it.
  """

  unit: Literal["characters", "words"] = "characters"
  name: str = "length"

  def __post_init__(self):
    check.check_types(self)

  def score(self, rows: Sequence[select_protocol.Row], ask: select_protocol.Ask | None) -> np.ndarray:
    """Characters or words [N]; NaN for a row without an answer."""
    del ask
    found = np.full(len(rows), np.nan)
    for i, one in enumerate(map(answers_lib.example, rows)):
      said = [m for m in one.messages if m["role"] == "assistant"] if one is not None else []
      texts = [example_lib.text(m["content"]) for m in said]
      if texts:
        found[i] = sum(len(text if self.unit == "characters" else text.split()) for text in texts)
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Random(select_protocol.Score):
  """A number between 0 and 1 that hangs on the row's content and the seed alone: the same rows in any order or company.

  seed: of the draw. name: under which rows bear it.
  """

  seed: ranges.Seed = 0
  name: str = "random"

  def __post_init__(self):
    check.check_types(self)

  def score(self, rows: Sequence[select_protocol.Row], ask: select_protocol.Ask | None) -> np.ndarray:
    """Uniform numbers [N]. Rows of the same content share theirs."""
    del ask
    return np.array([_uniform(self.seed, row) for row in rows], np.float64)


def _uniform(seed: int, row: select_protocol.Row) -> float:
  content = {key: value for key, value in row.items() if key != "scores"}
  text = json.dumps([seed, content], sort_keys=True, ensure_ascii=True, default=str)
  return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big") / 2.0**56
