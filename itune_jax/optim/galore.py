"""GaLore (Zhao et al. 2024): Adam's moments of a matrix in the r directions that matter most to its gradient."""

import dataclasses
import math
from typing import Any, NamedTuple
from collections.abc import Hashable

import jax
import jax.numpy as jnp
import optax

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import linalg
from itune_jax.core import ranges
from itune_jax.optim import adamw


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaLore(adamw.AdamW):
  """AdamW whose matrices that match `pattern` keep moments of rank r on their smaller side; all others whole ones.

  Directions are taken anew every so many steps, the moments staying as they are (as in the authors' code); `scale` is
  of what comes back. Of a matrix [in, out] it keeps (in + 2 out) r numbers in place of 2 in · out, where in <= out.

  rank: of the moments. every: steps between two choices of directions. scale: factor of the update that comes back
  from rank r. pattern: a regex over the paths of the matrices.
  """

  rank: int = 128
  every: int = 200
  scale: ranges.PositiveFloat = 0.25
  pattern: str = r".*/(attn|cross|mlp|experts?)/.*"

  def __post_init__(self):
    super().__post_init__()
    check.require(self.rank > 0 and self.every > 0, f"GaLore(rank={self.rank}, every={self.every}): both at least 1")

  def kind(self, name: str, leaf: contracts.Leaf | None) -> Hashable:
    return leaf if leaf and leaf.num_in and adamw.matches(self.pattern, name) else None

  def direction(self, kind, group):
    if not isinstance(kind, contracts.Leaf):
      return super().direction(kind, group)
    moments = scale_by_galore(kind, self.rank, self.every, self.scale, self.b1, self.b2, self.eps)
    return optax.chain(moments, optax.add_decayed_weights(group.weight_decay))


class State(NamedTuple):
  """By path: directions [*lead, k, r], moments [*lead, r, *out] or [*lead, *in, r]."""

  count: Any
  directions: Any
  mu: Any
  nu: Any


def scale_by_galore(
  leaf: contracts.Leaf, rank: int, every: int, scale: float, b1: float, b2: float, eps: float
) -> optax.GradientTransformation:
  """The transformation for matrices of one layout."""

  def whole(fn):
    """Layer by layer."""
    for _ in range(leaf.lead):
      fn = jax.vmap(fn)
    return fn

  def init(params):
    directions = jax.tree.map(lambda p: jnp.zeros(_shapes(p.shape, leaf, rank)[0]), params)
    zeros = lambda: jax.tree.map(lambda p: jnp.zeros(_shapes(p.shape, leaf, rank)[1]), params)
    return State(jnp.zeros((), jnp.int32), directions, zeros(), zeros())

  def update(updates, state, params=None):
    del params
    find = lambda g, old: jax.lax.cond(
      state.count % every == 0, lambda: whole(lambda g, old: _directions(g, old, leaf.num_in))(g, old), lambda: old
    )
    directions = jax.tree.map(find, updates, state.directions)
    low = jax.tree.map(whole(lambda g, p: _down(g, p, leaf.num_in)), updates, directions)
    count = state.count + 1
    mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, low)
    nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * jnp.square(g), state.nu, low)
    step = lambda m, v: scale * (m / (1 - b1**count)) / (jnp.sqrt(v / (1 - b2**count)) + eps)
    back = lambda g, m, v, p: whole(lambda d, p, g: _up(d, p, g.shape, leaf.num_in))(step(m, v), p, g)
    return jax.tree.map(back, updates, mu, nu, directions), State(count, directions, mu, nu)

  return optax.GradientTransformation(init, update)


def _sides(shape, num_in: int) -> tuple[int, int]:
  return math.prod(shape[:num_in]), math.prod(shape[num_in:])


def _shapes(shape, leaf, rank):
  lead, core = shape[: leaf.lead], shape[leaf.lead :]
  fan_in, fan_out = _sides(core, leaf.num_in)
  r = min(rank, fan_in, fan_out)
  if fan_in <= fan_out:
    return (*lead, fan_in, r), (*lead, r, *core[leaf.num_in :])
  return (*lead, fan_out, r), (*lead, *core[: leaf.num_in], r)


def _directions(g, old, num_in):
  """The first singular vectors of the smaller side, as eigenvectors of its Gram matrix.

  Their signs, which are anybody's choice, are those nearer to the `old` ones [k, r]: the moments stay when directions
  are taken anew, and would meet another sign where gradients differ by a rounding, as on another mesh.
  """
  fan_in, fan_out = _sides(g.shape, num_in)
  g = g.reshape(fan_in, fan_out)
  g = g if fan_in <= fan_out else g.T
  _, vectors = linalg.eigh(jnp.matmul(g, g.T, precision=jax.lax.Precision.HIGHEST))
  first = vectors[:, ::-1][:, : old.shape[1]]
  return jnp.where(jnp.sum(first * old, axis=0, keepdims=True) < 0, -first, first)


def _down(g, directions, num_in):
  fan_in, fan_out = _sides(g.shape, num_in)
  if fan_in <= fan_out:
    return (directions.T @ g.reshape(fan_in, fan_out)).reshape(-1, *g.shape[num_in:])
  return (g.reshape(fan_in, fan_out) @ directions).reshape(*g.shape[:num_in], -1)


def _up(d, directions, shape, num_in):
  fan_in, fan_out = _sides(shape, num_in)
  if fan_in <= fan_out:
    return (directions @ d.reshape(-1, fan_out)).reshape(shape)
  return (d.reshape(fan_in, -1) @ directions.T).reshape(shape)
