"""Objectives on log-probs that are given, in place of a model's: what formulas are tested by."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from itune_jax.core import batch as batch_lib
from itune_jax.core import contracts
from itune_jax.core import pack


@dataclasses.dataclass(frozen=True)
class View(contracts.View):
  """Log-probs [B, T] of the targets, and what `over_vocabulary` gives, if it is asked."""

  logp_BT: Any
  over: Any = None

  def context(self, batch, key=None) -> Any:
    return None

  def hidden(self, tokens_BT, ctx):
    raise NotImplementedError

  def project(self, hidden, ctx=None):
    raise NotImplementedError

  def token_logprobs(self, batch, ctx, *, temperature=1.0, chunk=0):
    return jnp.where(batch.weights_BT != 0, self.logp_BT, 0)

  def over_vocabulary(self, fn, batch, ctx, *, others=(), columns=(), chunk=0):
    return self.over


@dataclasses.dataclass(frozen=True)
class Logits(contracts.View):
  """Logits [B, T, V] that are given, and the words that the policy has too."""

  logits_BTV: Any
  shared_words: Any = None

  def context(self, batch, key=None) -> Any:
    return batch_lib.Ctx(None, None)

  def hidden(self, tokens_BT, ctx):
    return self.logits_BTV, {}

  def project(self, hidden, ctx=None):
    return hidden


@dataclasses.dataclass(frozen=True)
class Layers(View):
  """The same, with parts of layers by (part, layer), and a projection."""

  parts: Any = None
  w: Any = None

  def __init__(self, logp_BT, parts, w=None):
    for name, value in dict(logp_BT=jnp.asarray(logp_BT), over=None, parts=parts, w=w).items():
      object.__setattr__(self, name, value)

  def shown(self, tokens_BT, ctx, wanted):
    return (None, {}), {pair: jnp.asarray(self.parts[pair]) for pair in wanted}

  def beside(self, name):
    return jnp.asarray(self.w)


def pairs(lengths, share: bool = False, seed: int = 0, margins=None, prompt: int = 3) -> batch_lib.Batch:
  """A batch of two rows of pairs with answers of these lengths [(chosen, rejected)]; ids are random."""
  rs, found = np.random.RandomState(seed), []
  for n, both in enumerate(lengths):
    ids, items = rs.randint(0, 50, prompt), []
    for side, length in zip((1.0, -1.0), both, strict=True):
      whole = np.concatenate([ids, rs.randint(0, 50, length)]).astype(np.int32)
      weights = np.repeat([0.0, 1.0], [prompt, length]).astype(np.float32)
      more = {} if margins is None else {"margin": margins[n]}
      items.append(pack.Item(whole, weights, columns={"side": side, **more}))
    group = pack.Group(tuple(items), prompt if share else 0)
    found.append(group)
  half = len(found) // 2
  rows = [found[:half], found[half:]]
  size = max(sum(g.positions for g in row) for row in rows) + 2
  columns = [batch_lib.Column("side")] + ([batch_lib.Column("margin")] if margins is not None else [])
  return pack.fill(rows, size, columns=columns, grouped=True)


def by_answer(batch: batch_lib.Batch) -> dict[float, list[tuple[np.ndarray, np.ndarray]]]:
  """Where the trained tokens of the answers of each side stand (rows, places), in the order of pairs."""
  found: dict[float, list[tuple[np.ndarray, np.ndarray]]] = {1.0: [], -1.0: []}
  for b in range(len(batch.tokens_BT)):
    for s in range(1, int(batch.segments_BT[b].max()) + 1):
      at = np.flatnonzero((batch.segments_BT[b] == s) & (batch.weights_BT[b] != 0))
      if len(at):
        found[float(batch.columns["side"][b, at[0]])].append((np.full(len(at), b), at))
  return found


def judged(answers, columns, seed: int = 0, prompt: int = 3) -> batch_lib.Batch:
  """A batch of two rows of groups: of each group the answers [(length, {column: value})], behind a prompt that stands
  once where there are several."""
  rs, found = np.random.RandomState(seed), []
  for group in answers:
    ids, items = rs.randint(0, 50, prompt), []
    for length, values in group:
      whole = np.concatenate([ids, rs.randint(0, 50, length)]).astype(np.int32)
      weights = np.repeat([0.0, 1.0], [prompt, length]).astype(np.float32)
      items.append(pack.Item(whole, weights, columns=values))
    found.append(pack.Group(tuple(items), prompt if len(items) > 1 else 0))
  half = (len(found) + 1) // 2
  rows = [found[:half], found[half:]]
  size = max(sum(g.positions for g in row) for row in rows) + 2
  return pack.fill(rows, size, columns=[batch_lib.Column(name) for name in columns], grouped=True)


def segments(batch: batch_lib.Batch) -> list[tuple[np.ndarray, np.ndarray]]:
  """Where the trained tokens of each answer stand (rows, places), in order."""
  found = []
  for b in range(len(batch.tokens_BT)):
    for s in range(1, int(batch.segments_BT[b].max()) + 1):
      at = np.flatnonzero((batch.segments_BT[b] == s) & (batch.weights_BT[b] != 0))
      if len(at):
        found.append((np.full(len(at), b), at))
  return found
