"""DEITA's score: complexity × quality, summed over the turns of a row (Liu et al., ICLR 2024, arXiv 2312.15685).

Templates and the sum are those of `selection/scorer/llama_scorer.py` and `selection/filter/combined_filter.py`. Two
things there are wrong and not followed: ids of the ratings are written down for one tokenizer (here they are looked
up), and a rating that cannot be read counts as 3.0 (here such a row has no number).
"""

from collections.abc import Sequence
import dataclasses
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from itune_jax.core import check
from itune_jax.data import example as example_lib
from itune_jax.select import select_protocol
from itune_jax.select.scores import answers as answers_lib
from itune_jax.select.scores import asked as asked_lib
from itune_jax.select.scores import ratings as ratings_lib

COMPLEXITY = (
  "You are a helpful assistant. Please identify the complexity score of the following user query. \n##Query: "
  "{instruction}  \n##Complexity: "
)
QUALITY = (
  "You are a helpful assistant. Please identify the quality score of the Response corresponding to the Question. \n "
  "#Question#:\n{instruction}\n#Response#:\n{output} \n##Quality: "
)
RATINGS = ("1", "2", "3", "4", "5", "6")


class Turn(NamedTuple):
  """What a user asked, and the answer to it."""

  instruction: str
  output: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deita(select_protocol.Score):
  """Σ over turns of complexity × quality, each the expectation of a rating from 1 to 6.

  complexity, quality: the models that rate, bases or adapters; "" is --base. The published ones are
  hkust-nlp/deita-complexity-scorer and hkust-nlp/deita-quality-scorer; an untuned model gives poor ratings. by: the
  product, or one of the two. name: under which rows bear it.
  """

  needs: ClassVar[Literal["nothing", "model"]] = "model"
  complexity: str = ""
  quality: str = ""
  by: Literal["both", "complexity", "quality"] = "both"
  name: str = "deita"

  def __post_init__(self):
    check.check_types(self)

  def score(self, rows: Sequence[select_protocol.Row], ask: select_protocol.Ask | None) -> np.ndarray:
    """Scores [N]; NaN for a row without a turn, and where a prompt does not fit the model."""
    own = [turns(row) for row in rows]
    flat = [turn for one in own for turn in one]
    values = np.ones(len(flat))
    if self.by != "quality":
      values *= self._rated(ask, self.complexity, COMPLEXITY, flat)
    if self.by != "complexity":
      values *= self._rated(ask, self.quality, QUALITY, flat)
    ends = np.cumsum([len(one) for one in own])
    return np.array(
      [values[end - len(one) : end].sum() if one else np.nan for one, end in zip(own, ends, strict=True)], np.float64
    )

  def _rated(self, ask, model: str, template: str, flat: Sequence[Turn]) -> np.ndarray:
    rater = asked_lib.of(ask, model)
    tokenizer = rater.renderer.tokenizer
    texts = [template.format(instruction=turn.instruction, output=turn.output) for turn in flat]
    # As the scorers were trained: the tokenizer's own start, and no chat template.
    return ratings_lib.expected(rater, [tokenizer(text)["input_ids"] for text in texts], RATINGS, self.name)


def turns(row: select_protocol.Row) -> list[Turn]:
  """The turns of a row that have an answer, each by itself."""
  found = answers_lib.example(row)
  pairs, asked = [], None
  for message in found.messages if found is not None else ():
    text = example_lib.text(message["content"])
    if message["role"] == "user":
      asked = text
    elif message["role"] == "assistant" and asked is not None:
      pairs.append(Turn(asked, text))
      asked = None
  return pairs
