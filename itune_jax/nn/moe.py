"""Mixture of experts by token choice: each token goes to its top-k experts (Shazeer et al. 2017).

An expert is an ordinary feed-forward block; the experts are a stack of them. So every projection of every expert is a
site of its own, and any adapter sits on it.
"""

import dataclasses
from typing import Literal

from flax import nnx
import jax
import jax.numpy as jnp

from itune_jax.core import check
from itune_jax.core import examples
from itune_jax.core import rng
from itune_jax.nn import all_to_all
from itune_jax.nn import mlp as mlp_lib
from itune_jax.nn import site
from itune_jax.nn import stack

TILE = 32  # tokens of one expert that are computed at a time under "sorted"


@dataclasses.dataclass(frozen=True, kw_only=True)
class MoeSpec:
  """E experts of which each token sees `top_k`; `renormalise` makes their weights sum to one.

  dispatch: "dense" runs every expert on every token (exact, simple, E/top_k times the work); "sorted" runs tiles of
  tokens sorted by expert, dropping none; "ragged" does that by `jax.lax.ragged_dot`, for experts that are plain
  kernels. "auto" is ragged on accelerators where it can be, and sorted otherwise: on CPU ragged_dot is slow.
  capacity: on a mesh with an expert axis, how many even shares of tokens a device takes from another; 0 for all that
  may come, so that none is dropped (nn/exchange.py).

  experts: how many, E. top_k: how many of them a token sees. renormalise: whether the weights of these sum to one.
  """

  experts: int
  top_k: int
  renormalise: bool = True
  dispatch: Literal["auto", "dense", "sorted", "ragged"] = "auto"
  capacity: float = 0.0

  def __post_init__(self):
    check.check_types(self)
    check.require(
      0 < self.top_k <= self.experts, f"MoeSpec(experts={self.experts}, top_k={self.top_k}): 0 < top_k <= experts"
    )
    check.require(self.capacity >= 0, f"MoeSpec.capacity must be 0 or more, not {self.capacity}")


class Moe(nnx.Module):
  """y = Σ_e p_e expert_e(x) over the chosen experts; p is the softmax over all experts."""

  def __init__(self, spec: MoeSpec, width: int, mlp: int, key, *, activation: mlp_lib.Activation, dtype=jnp.float32):
    self.spec = spec
    self.router = site.Proj(
      "...D,DE->...E", (width, spec.experts), ("embed", None), rng.named(key, "router"), dtype=dtype
    )
    make = lambda k: mlp_lib.Gated(width, mlp, k, activation=activation, dtype=dtype)
    self.experts = stack.build(make, spec.experts, rng.named(key, "experts"), axis="experts")

  def __call__(self, x_BTD, ctx):
    """Returns (y_BTD, aux): aux holds what the balance losses need, see `balance`."""
    probs_BTE = jax.nn.softmax(self.router(x_BTD, ctx).astype(jnp.float32), axis=-1)
    top_BTk, chosen_BTk = jax.lax.top_k(probs_BTE, self.spec.top_k)
    if self.spec.renormalise:
      top_BTk /= jnp.sum(top_BTk, axis=-1, keepdims=True)
    flat = lambda x: x.reshape(-1, x.shape[-1])
    how, given = self._dispatch(), (flat(x_BTD), flat(top_BTk), flat(chosen_BTk), _places(x_BTD, ctx))
    if how != "dense" and all_to_all.applies(ctx, self.spec.experts, given[0].shape[0]):
      y_nD = all_to_all.run(DISPATCHES[how], self.experts, *given, ctx, self.spec.capacity)
    else:
      y_nD = DISPATCHES[how](self.experts, *given, ctx)
    return y_nD.reshape(x_BTD.shape), balance(probs_BTE, chosen_BTk, ctx)

  def _dispatch(self) -> str:
    projections = (self.experts.gate, self.experts.up, self.experts.down)
    plain = all(not p.adapters and isinstance(p.kernel, nnx.Param) for p in projections)
    if self.spec.dispatch == "auto":
      return "ragged" if plain and jax.default_backend() != "cpu" else "sorted"
    check.require(
      self.spec.dispatch != "ragged" or plain,
      "MoeSpec.dispatch = 'ragged' takes plain experts; these are quantised or have adapters: use 'sorted'",
    )
    return self.spec.dispatch


# Each takes a stack of E experts, tokens x_nD, of every token its k experts (E for none) and their weights, and its
# number in the global batch. `first` is the number of the first of these experts among all.


def _dense(experts, x_nD, top_nk, chosen_nk, place_n1, ctx, first=0):
  graph, state = nnx.split(experts)
  ctx = ctx.replace(rows_B=jnp.zeros(x_nD.shape[0], jnp.int32), at_BT=place_n1)

  def one(state, e):
    weight_n = jnp.sum(jnp.where(chosen_nk == e, top_nk, 0), axis=-1)
    return nnx.merge(graph, state)(x_nD[:, None], ctx.at_layer(first + e))[:, 0] * weight_n[:, None].astype(x_nD.dtype)

  return jnp.sum(jax.vmap(one)(state, jnp.arange(_count(state))), axis=0)


def _ragged(experts, x_nD, top_nk, chosen_nk, place_n1, ctx, first=0):
  """Pairs (token, expert) sorted by expert, each expert's share multiplied by its own kernels."""
  del place_n1, ctx, first  # plain experts drop nothing
  E = _count(nnx.split(experts)[1])
  expert_p = chosen_nk.reshape(-1)
  order_p = jnp.argsort(expert_p, stable=True)
  token_p = order_p // chosen_nk.shape[1]
  sizes_E = jnp.bincount(expert_p, length=E).astype(jnp.int32)  # those of no expert come last, and in no group
  dot = lambda x, p: jax.lax.ragged_dot(x, p.kernel[...].astype(x.dtype), sizes_E)
  x_pD = x_nD[token_p]
  h_pF = mlp_lib.ACTIVATIONS[experts.activation](dot(x_pD, experts.gate)) * dot(x_pD, experts.up)
  y_pD = dot(h_pF, experts.down) * top_nk.reshape(-1)[order_p][:, None].astype(x_nD.dtype)
  # Rows of no group may hold anything.
  return jnp.zeros_like(x_nD).at[token_p].add(jnp.where((expert_p < E)[order_p][:, None], y_pD, 0))


def _sorted(experts, x_nD, top_nk, chosen_nk, place_n1, ctx, first=0):
  """Pairs (token, expert) sorted by expert, each expert's share padded to whole tiles; tiles run one by one."""
  graph, state = nnx.split(experts)
  E, k = _count(state), chosen_nk.shape[1]
  pairs = x_nD.shape[0] * k
  tiles = -(-pairs // TILE) + E
  expert_p = chosen_nk.reshape(-1)
  order_p = jnp.argsort(expert_p, stable=True)
  sizes_E = jnp.bincount(expert_p, length=E)
  tiles_E = -(-sizes_E // TILE)
  first_tile_E = jnp.cumsum(tiles_E) - tiles_E
  sorted_expert_p = expert_p[order_p]
  rank_p = jnp.arange(pairs) - (jnp.cumsum(sizes_E) - sizes_E)[sorted_expert_p]
  slot_p = jnp.where(sorted_expert_p < E, first_tile_E[sorted_expert_p] * TILE + rank_p, tiles * TILE)
  # Slot s of the padded order holds pair pair_s, or none (pairs).
  pair_s = jnp.full((tiles * TILE,), pairs, jnp.int32).at[slot_p].set(order_p.astype(jnp.int32), mode="drop")
  token_s = pair_s // k
  x_s = x_nD.at[token_s].get(mode="fill", fill_value=0).reshape(tiles, TILE, -1)
  place_s = place_n1[:, 0].at[token_s].get(mode="fill", fill_value=0).reshape(tiles, TILE)
  tile_expert = jnp.minimum(jnp.searchsorted(jnp.cumsum(tiles_E), jnp.arange(tiles), side="right"), E - 1)

  def one(given):
    x_cD, e, place_c = given
    expert = nnx.merge(graph, jax.tree.map(lambda w: jax.lax.dynamic_index_in_dim(w, e, keepdims=False), state))
    own = ctx.replace(rows_B=jnp.zeros(1, jnp.int32), at_BT=place_c[None])
    return expert(x_cD[None], own.at_layer(first + e))[0]

  y_s = jax.lax.map(one, (x_s, tile_expert, place_s)).reshape(tiles * TILE, -1)
  weight_s = top_nk.reshape(-1).at[pair_s].get(mode="fill", fill_value=0)
  return jnp.zeros_like(x_nD).at[token_s].add(y_s * weight_s[:, None].astype(y_s.dtype), mode="drop")


DISPATCHES = {"dense": _dense, "sorted": _sorted, "ragged": _ragged}


def _places(x_BTD, ctx):
  """The number of each token in the global batch, [n, 1]."""
  B, T = x_BTD.shape[:2]
  rows_B = jnp.arange(B) if ctx.rows_B is None else ctx.rows_B
  at_BT = jnp.arange(T)[None] if ctx.at_BT is None else ctx.at_BT
  return (rows_B[:, None] * T + at_BT).astype(jnp.int32).reshape(-1, 1)


def _count(state) -> int:
  return jax.tree.leaves(state)[0].shape[0]


def balance(probs_BTE, chosen_BTk, ctx):
  """Load-balance terms E·Σ_e f_e P_e (Fedus et al. 2021): f_e the share of tokens sent to e, P_e its mean probability.

  Returns {"router_balance_BT": the term of each position's own example, "router_sent_E", "router_probs_E": sums over
  all positions of all examples, "router_layers": 1}. Over examples the term is a sum, and so the same however a batch
  is cut; over the whole batch (as transformers computes it) it is not.
  """
  E, segments_BT = probs_BTE.shape[-1], ctx.segments_BT
  real_BT1 = (segments_BT != 0)[..., None].astype(jnp.float32)
  sent_BTE = jnp.sum(jax.nn.one_hot(chosen_BTk, E), axis=2) * real_BT1
  probs_BTE *= real_BT1
  sent, probs, count = (examples.totals(x, segments_BT, ctx.groups_BT) for x in (sent_BTE, probs_BTE, real_BT1))
  count = jnp.maximum(count, 1)
  term = E * jnp.sum(sent / count * (probs / count), axis=-1)
  if ctx.groups_BT is not None:
    copies_BT1 = examples.copies(segments_BT, ctx.groups_BT)[..., None]
    sent_BTE, probs_BTE = sent_BTE * copies_BT1, probs_BTE * copies_BT1
  return {
    "router_balance_BT": jnp.take_along_axis(term, segments_BT, axis=1),
    "router_sent_E": jnp.sum(sent_BTE, axis=(0, 1)),
    "router_probs_E": jnp.sum(probs_BTE, axis=(0, 1)),
    "router_layers": jnp.float32(1),
  }
