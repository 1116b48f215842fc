"""Nats of the answers of rows, given their prompts and alone: the passes that perplexity, IFD and PVI share."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from itune_jax.select import select_protocol
from itune_jax.select.scores import answers as answers_lib
from itune_jax.select.scores import asked as asked_lib


class Nats(NamedTuple):
  """Of each row [N] float64, NaN where it has no answer that fits: Σ nats of its answers behind their prompts, behind
  the header alone, and the number of their tokens."""

  given: np.ndarray
  alone: np.ndarray
  tokens: np.ndarray


def given(ask: asked_lib.Asked, rows: Sequence[select_protocol.Row], what: str = "answers") -> Nats:
  """Behind the prompts; `alone` is NaN."""
  return _nats(ask, rows, what, alone=False)


def both(ask: asked_lib.Asked, rows: Sequence[select_protocol.Row], what: str = "answers, given and alone") -> Nats:
  """Behind the prompts and alone, in one pass over packed rows."""
  return _nats(ask, rows, what, alone=True)


def fitting(ask: asked_lib.Asked, rows: Sequence[select_protocol.Row]) -> list[answers_lib.Answers | None]:
  """The answers of rows; None where there are none, or the model has fewer positions."""
  most = ask.engine.max_length
  found = answers_lib.all_of(ask.renderer, rows)
  long = lambda one: max(len(item.ids) for item in (*one.given, *one.alone)) - 1 > most
  return [None if one is None or long(one) else one for one in found]


def _nats(ask: asked_lib.Asked, rows: Sequence[select_protocol.Row], what: str, alone: bool) -> Nats:
  found = fitting(ask, rows)
  at = [i for i, one in enumerate(found) if one is not None]
  there = [one for one in found if one is not None]
  items = [item for one in there for item in one.given]
  items += [item for one in there for item in one.alone] if alone else []
  nats = [one.nats for one in ask.progress(what, len(items)).engine.losses(items)]
  counts = [len(one.given) for one in there]
  values = [np.full(len(rows), np.nan) for _ in range(3)]
  values[0][at] = answers_lib.sums(nats, counts)
  if alone:
    values[1][at] = answers_lib.sums(nats[sum(counts) :], [len(one.alone) for one in there])
  values[2][at] = [one.tokens for one in there]
  return Nats(*values)
