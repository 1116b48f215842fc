"""LISA (Pan et al. 2024): of every stack only a few layers, drawn anew now and then, take steps; the rest always."""

import dataclasses
from typing import Any, NamedTuple
from collections.abc import Hashable

import jax
import jax.numpy as jnp
import optax

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import ranges
from itune_jax.core import rng
from itune_jax.optim import adamw


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lisa(adamw.AdamW):
  """AdamW on `layers` layers of each stack, drawn every so many steps, and on all that is in no stack.

  Moments are kept for as many layers as are active, and start anew with every draw. Which layers is a function of
  seed and step, so nothing recompiles and a resumed run draws the same.

  layers: how many of each stack train at a time. every: steps between two draws of layers. seed: of the draws.
  """

  layers: int = 2
  every: int = 20
  seed: ranges.Seed = 0

  def __post_init__(self):
    super().__post_init__()
    check.require(self.layers > 0 and self.every > 0, f"Lisa(layers={self.layers}, every={self.every}): at least 1")

  def kind(self, name: str, leaf: contracts.Leaf | None) -> Hashable:
    return "stacked" if leaf and leaf.lead else None

  def first(self, names, leaves):
    """Layers that rest have no gradient, so that clipping does not count them."""
    stacked = {name for name in names if self.kind(name, leaves.get(name))}
    return [_resting(stacked, self._active)]

  def direction(self, kind, group):
    whole = super().direction(kind, group)
    return _on_layers(whole, self.layers, self.every, self._active) if kind == "stacked" else whole

  def _active(self, count, depth: int):
    """Numbers [layers] of the layers that take step `count`."""
    if self.layers > depth:
      raise errors.InputError(f"Lisa.layers = {self.layers}, and a stack has {depth}")
    key = rng.named(rng.root(self.seed), "lisa", count // self.every)
    return jax.random.permutation(key, depth)[: self.layers]


class State(NamedTuple):
  """`inner` is of the active layers only."""

  count: Any
  inner: Any


def _on_layers(inner, layers: int, every: int, active) -> optax.GradientTransformation:
  def init(params):
    return State(jnp.zeros((), jnp.int32), inner.init(jax.tree.map(lambda p: p[:layers], params)))

  def update(updates, state, params=None):
    rows = lambda x: jnp.take(x, active(state.count, x.shape[0]), axis=0)
    mine, own = jax.tree.map(rows, updates), jax.tree.map(rows, params)
    fresh = state.count % every == 0
    start = jax.tree.map(lambda new, old: jnp.where(fresh, new, old), inner.init(own), state.inner)
    changes, after = inner.update(mine, start, own)
    spread = lambda g, c: jnp.zeros_like(g).at[active(state.count, g.shape[0])].set(c.astype(g.dtype))
    return jax.tree.map(spread, updates, changes), State(state.count + 1, after)

  return optax.GradientTransformation(init, update)


def _resting(stacked: set[str], active) -> optax.GradientTransformation:
  def update(updates, state, params=None):
    del params
    on = lambda g: jnp.zeros(g.shape[0], bool).at[active(state, g.shape[0])].set(True)
    mask = lambda g: jnp.where(on(g).reshape(-1, *(1,) * (g.ndim - 1)), g, 0)
    return {name: mask(g) if name in stacked else g for name, g in updates.items()}, state + 1

  return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)
