"""Pointwise V-information: the bits by which an input makes an answer easier for models that learned the task.

PVI(x → y) = −log2 g'[∅](y) + log2 g[x](y) (Ethayarajh et al., ICML 2022, `v_info.py`; for choosing rows to tune on:
arXiv 2501.09631). g is tuned with inputs, g' without: here two adapters on one base, the second on answers behind the
header alone. The rows are cut into folds, and each row is scored by the pair of adapters that did not see its fold: a
model that had seen the row would call it easy because it remembers it. One model's log-ratio is no PVI; IFD has that.
"""

from collections.abc import Sequence
import dataclasses
import hashlib
import math
from typing import ClassVar, Literal

import numpy as np

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.select import select_protocol
from itune_jax.select.scores import answers as answers_lib
from itune_jax.select.scores import asked as asked_lib
from itune_jax.select.scores import nats as nats_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pvi(select_protocol.Score):
  """Bits of an answer that its prompt explains, by cross-fitted pairs of adapters; below 0 the row may be mislabelled.

  folds: into how many parts the rows are cut, by their content. given: the training with inputs. alone: the training
  without. per_token: divides by the tokens of the answer, where rows are of many lengths. name: under which rows bear
  it.
  """

  needs: ClassVar[Literal["nothing", "model"]] = "model"
  apart: ClassVar[bool] = False
  folds: int = 2
  given: asked_lib.Tuning = asked_lib.Tuning(epochs=2.0, rate=1e-4)
  alone: asked_lib.Tuning = asked_lib.Tuning(epochs=1.0, rate=1e-4)
  per_token: bool = False
  name: str = "pvi"

  def __post_init__(self):
    check.check_types(self)
    check.require(self.folds >= 2, f"Pvi.folds = {self.folds}: with fewer than 2 a row would be scored by what saw it")

  def score(self, rows: Sequence[select_protocol.Row], ask: select_protocol.Ask | None) -> np.ndarray:
    """Bits [N]; NaN for a row without an answer that fits. Raises InputError when a fold is empty."""
    model = asked_lib.of(ask)
    found = nats_lib.fitting(model, rows)
    check.require(any(found), f"score {self.name}: no row renders to an answer that fits")
    fold = np.array([fold_of(one, self.folds) for one in found])
    values = np.full(len(rows), np.nan)
    for k in range(self.folds):
      mine, others = (
        np.flatnonzero(fold == k),
        [one for one in found if one is not None and fold_of(one, self.folds) != k],
      )
      if not len(mine) or not others:
        raise errors.InputError(
          f"score {self.name}: {len(rows)} rows leave fold {k} of {self.folds} empty; lower Pvi.folds"
        )
      items = {
        "given": [item for one in others for item in one.given],
        "alone": [item for one in others for item in one.alone],
      }
      tuned = {
        side: model.tuned(f"{self.name}.{side}.{k}", items[side], how).model
        for side, how in (("given", self.given), ("alone", self.alone))
      }
      mine_found = [one for one in (found[i] for i in mine) if one is not None]
      values[mine] = bits(*(_nats(tuned[side], mine_found, side) for side in ("given", "alone")))
      if self.per_token:
        values[mine] /= [one.tokens for one in mine_found]
    return values


def bits(given: np.ndarray, alone: np.ndarray) -> np.ndarray:
  """PVI of nats with and without the input."""
  return (alone - given) / math.log(2)


def fold_of(found: answers_lib.Answers | None, folds: int) -> int:
  """The fold of a row by its ids, so that equal rows are in one; -1 for none."""
  if found is None:
    return -1
  sha = hashlib.sha256(b"".join(np.asarray(item.ids, np.int32).tobytes() for item in found.given))
  return int.from_bytes(sha.digest()[:8], "big") % folds


def _nats(model: asked_lib.Asked, found: Sequence[answers_lib.Answers], side: str) -> np.ndarray:
  """Σ nats of each row's answers on one side."""
  items = [one.given if side == "given" else one.alone for one in found]
  nats = [one.nats for one in model.engine.losses([item for each in items for item in each])]
  return answers_lib.sums(nats, list(map(len, items)))
