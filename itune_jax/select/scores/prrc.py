"""Meta-rater's four dimensions: professionalism, readability, reasoning, cleanliness (Zhuang et al., ACL 2025, arXiv
2504.14194), each 0 to 5, asked with the authors' own prompts. Their published raters were trained on such answers."""

from collections.abc import Sequence
import dataclasses
import re
from typing import ClassVar, Literal

import numpy as np

from itune_jax.core import check
from itune_jax.core import conversation as conversation_lib
from itune_jax.data import example as example_lib
from itune_jax.select import select_protocol
from itune_jax.select.scores import answers as answers_lib
from itune_jax.select.scores import prrc_prompts
from itune_jax.select.scores import rated

_LAST = re.compile(r"(?:Professionalism|Readability|Reasoning)\W{0,6}([0-5](?:\.\d+)?)(?![\d.]*\d)", re.IGNORECASE)
_CLEAN = re.compile(r"Overall Cleanliness\W{0,6}([0-5](?:\.\d+)?)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prrc(select_protocol.Score):
  """One dimension of a row's text, as a model rates it.

  dimension: which of the four. limit: new tokens of an answer at most. name: under which rows bear it; "" is the
  dimension.
  """

  needs: ClassVar[Literal["nothing", "model"]] = "model"
  dimension: Literal["professionalism", "readability", "reasoning", "cleanliness"] = "reasoning"
  limit: int = 256
  name: str = ""

  def __post_init__(self):
    check.check_types(self)
    check.require(self.limit > 0, f"Prrc.limit = {self.limit}; it counts tokens from 1")
    object.__setattr__(self, "name", self.name or self.dimension)

  def score(self, rows: Sequence[select_protocol.Row], ask: select_protocol.Ask | None) -> np.ndarray:
    """Ratings [N]; NaN for a row that is no example, and where no rating was given."""
    found = list(map(answers_lib.example, rows))
    at = [i for i, one in enumerate(found) if one is not None]
    prompt = prrc_prompts.PROMPTS[self.dimension]
    asked = [conversation_lib.of(prompt.replace("[TEXT]", text_of(one))) for one in found if one is not None]
    said = rated.texts(rated.responder_of(ask), asked, self.name, self.limit)
    values = np.full(len(rows), np.nan)
    values[at] = [read(self.dimension, text) for text, _ in said]
    return values


def professionalism() -> Prrc:
  """How much one has to know to read it."""
  return Prrc(dimension="professionalism")


def readability() -> Prrc:
  """How clear and coherent it is."""
  return Prrc(dimension="readability")


def reasoning() -> Prrc:
  """How many steps of thought it takes."""
  return Prrc(dimension="reasoning")


def cleanliness() -> Prrc:
  """How well formed and free of noise it is."""
  return Prrc(dimension="cleanliness")


def read(dimension: str, text: str) -> float:
  """The rating that an answer says: the last one of a dimension, of cleanliness the first, the overall one. NaN where
  there is none from 0 to 5."""
  found = _CLEAN.findall(text)[:1] if dimension == "cleanliness" else _LAST.findall(text)[-1:]
  return float(found[0]) if found and float(found[0]) <= 5 else float("nan")


def text_of(one: example_lib.Example) -> str:
  """All turns of a conversation, as one text."""
  return "\n\n".join(filter(None, (example_lib.text(m["content"]) for m in one.messages)))
