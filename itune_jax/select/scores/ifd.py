"""Instruction-following difficulty: how much less surprising an answer is behind its prompt than alone.

Cherry_LLM (Li et al., NAACL 2024, arXiv 2308.12032, `cherry_seletion/data_by_IFD.py`): mean nats of the answer behind
the prompt over its mean nats alone; rows of more than 1 are left out, and the highest of the rest are taken.
Superfiltering (Li et al., ACL 2024, arXiv 2402.00530, `code_ifd/data_analysis.py`): the same by a small model, as the
ratio of perplexities.

Both look for the answer's text in the prompt's (`rfind`) and tokenise what stands before it once more. Where a token
straddles that place, or where the row is cut, the spans of their two passes differ. Here they cannot: both score the
same ids, that of the turn's end among them.
"""

from collections.abc import Sequence
import dataclasses
from typing import ClassVar, Literal

import numpy as np

from itune_jax.core import check
from itune_jax.select import select_protocol
from itune_jax.select.scores import asked as asked_lib
from itune_jax.select.scores import nats as nats_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ifd(select_protocol.Score):
  """Mean nats behind the prompt / mean nats behind the header alone.

  model: a base or an adapter that scores in place of --base; the paper first tunes one on a few rows
  ("pre-experience"). most: rows above it have no number, and are left out: their prompt makes the answer less likely. 0
  keeps them. name: under which rows bear it.
  """

  needs: ClassVar[Literal["nothing", "model"]] = "model"
  model: str = ""
  most: float = 1.0
  name: str = "ifd"

  def __post_init__(self):
    check.check_types(self)
    check.require(self.most >= 0, f"Ifd.most = {self.most}; it is a ratio, 0 for none")

  def score(self, rows: Sequence[select_protocol.Row], ask: select_protocol.Ask | None) -> np.ndarray:
    """Ratios [N]; NaN above `most`, and for a row without an answer that fits."""
    found = nats_lib.both(asked_lib.of(ask, self.model), rows, self.name)
    return at_most(ratio(found), self.most)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Superfilter(select_protocol.Score):
  """exp(mean nats behind the prompt − mean nats alone), by a small model.

  model: the small model, a base or an adapter; the paper has GPT-2. "" is --base. most: rows of as much or more have no
  number, 0 keeps them. name: under which rows bear it.
  """

  needs: ClassVar[Literal["nothing", "model"]] = "model"
  model: str = "smollm2-135m-instruct"
  most: float = 1.0
  name: str = "superfilter"

  def __post_init__(self):
    check.check_types(self)
    check.require(self.most >= 0, f"Superfilter.most = {self.most}; it is a ratio, 0 for none")

  def score(self, rows: Sequence[select_protocol.Row], ask: select_protocol.Ask | None) -> np.ndarray:
    """Ratios [N]; NaN from `most` on, and for a row without an answer that fits."""
    found = nats_lib.both(asked_lib.of(ask, self.model), rows, self.name)
    ratios = perplexity_ratio(found)
    return np.where(ratios < self.most, ratios, np.nan) if self.most else ratios


def ratio(found: nats_lib.Nats) -> np.ndarray:
  """Cherry's ratio [N]. Both means are over the same tokens, so it is that of the sums."""
  return found.given / np.where(found.alone > 0, found.alone, np.nan)


def perplexity_ratio(found: nats_lib.Nats) -> np.ndarray:
  """Superfiltering's ratio [N]."""
  return np.exp((found.given - found.alone) / found.tokens)


def at_most(values: np.ndarray, most: float) -> np.ndarray:
  """The values, NaN where they are above; 0 is no bound."""
  return np.where(values <= most, values, np.nan) if most else values
