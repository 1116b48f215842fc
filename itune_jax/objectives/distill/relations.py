"""Any loss, and how far the student's attention relations are from a teacher's: MiniLM, and TinyBERT's maps."""

from collections.abc import Sequence
import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp

from itune_jax.core import batch as batch_lib
from itune_jax.core import check
from itune_jax.objectives.distill import layer_pairs

Relation = Literal["qk", "qq", "kk", "vv"]
_NEG = -1e30  # a score that is not seen: finite, so that its gradient is 0 and no NaN


@dataclasses.dataclass(frozen=True, kw_only=True)
class Relations(layer_pairs.Beside):
  """The sums of a loss plus weight · Σ_pairs Σ_relations Σ_t w_t · distance of relations, at every trained token t.

  A relation "ab" of a layer is softmax_s(a_t · b_s / √d) over the tokens s that t sees: "qk" is the map of attention,
  "vv" what MiniLM adds to it (Wang et al. 2020, arXiv 2002.10957), "qq", "kk" and "vv" are MiniLMv2's (Wang et al.
  2021, arXiv 2012.15828). The vectors of all heads stand one behind the other and are cut anew into relation heads of
  width d, so that both models may have any number of heads, of any width, and nothing has to be projected. Keys that
  several query heads share stand once for each of them in "qk". Queries and keys are rotated, as attention has them.

  The distance is KL(teacher || student), the mean over relation heads; or "mse", the mean over relation heads and seen
  tokens of the squared difference of a_t · b_s / √d, which for "qk" is TinyBERT's (Jiao et al. 2020). A soft cap, a
  window or another scale of the model's own attention are no part of a relation. Scores exist for `query_chunk`
  places of each row at a time, forwards and backwards: no map [T, T] does.

  objective: the loss. layers: pairs (layer of the student, of the teacher), counted from 0. weight: of the distance.
  heads: relation heads; they divide the width of the vectors of both models. relations: which ones. distance: "kl" or
  "mse". query_chunk: places whose scores exist at a time.
  """

  heads: int
  relations: Sequence[Relation] = ("qq", "kk", "vv")
  distance: Literal["kl", "mse"] = "kl"
  query_chunk: int = 128

  def __post_init__(self):
    super().__post_init__()
    check.require(self.heads > 0, f"Relations.heads must be positive, not {self.heads}")
    check.require(self.query_chunk > 0, f"Relations.query_chunk must be positive, not {self.query_chunk}")
    check.require(bool(self.relations), "Relations.relations names no relation: write some of qk, qq, kk, vv")
    twice = len(set(self.relations)) < len(self.relations)
    check.require(not twice, f"Relations.relations = {self.relations!r} names one twice: each counts once")

  @property
  def parts(self) -> tuple[str, ...]:
    """The heads that some relation is made of."""
    return tuple(sorted(set("".join(self.relations))))

  @property
  def metric(self) -> str:
    """The distance."""
    return "relations"

  def apart(self, policy: layer_pairs.Seen, own: Any, other: Any, batch: batch_lib.Batch) -> Any:
    """The distance of all pairs of layers and relations [B, T]."""
    total_BT = jnp.zeros(batch.tokens_BT.shape, jnp.float32)
    for own_layer, other_layer in self.layers:
      for relation in self.relations:
        mine = self._vectors(relation, own, own_layer, "student")
        theirs = self._vectors(relation, other, other_layer, "teacher")
        total_BT += self._distance_BT(mine, theirs, batch)
    return total_BT

  def _vectors(self, relation: str, shown: Any, layer: int, whose: str) -> tuple[Any, Any]:
    """Both sides of a relation, each [B, T, R, d]."""
    a, b = (shown[part, layer] for part in relation)
    if a.shape[2] != b.shape[2]:
      b = jnp.repeat(b, a.shape[2] // b.shape[2], axis=2)
    width = a.shape[2] * a.shape[3]
    check.require(
      width % self.heads == 0,
      f"Relations.heads = {self.heads} does not divide the {width} numbers of {relation[0]} of the {whose}",
    )
    cut = lambda x: x.reshape(*x.shape[:2], self.heads, width // self.heads)
    return cut(a), cut(b)

  def _distance_BT(self, own: tuple[Any, Any], other: tuple[Any, Any], batch: batch_lib.Batch) -> Any:
    """The distance of one relation at every place, a chunk of places after the other."""
    B, T = batch.tokens_BT.shape
    size = min(self.query_chunk, T)
    keys = own[1], other[1], batch.segments_BT, batch.trunks_BT, jnp.arange(T)[None]

    @jax.checkpoint  # backwards, too, the scores of one chunk exist at a time
    def one(queries):
      own_BCRd, other_BCRd, *where = queries
      own_BRCS, other_BRCS = _scores(own_BCRd, keys[0]), _scores(other_BCRd, keys[1])
      return self.of(own_BRCS, other_BRCS, _seen(where, keys[2:])[:, None])

    def cut(x):  # [B, T, ...] as [chunks, B, C, ...]; places behind the row's end belong to no segment
      x = jnp.pad(x, [(0, 0), (0, -T % size)] + [(0, 0)] * (x.ndim - 2))
      return jnp.moveaxis(x.reshape(x.shape[0], -1, size, *x.shape[2:]), 1, 0)

    each = jax.lax.map(one, jax.tree.map(cut, (own[0], other[0], *keys[2:])))
    return jnp.moveaxis(each, 0, 1).reshape(B, -1)[:, :T]

  def of(self, own_BRCS, other_BRCS, seen_B1CS):
    """The distance [B, C] of scores over the keys that are seen; 0 for a place that sees none."""
    if self.distance == "mse":
      squares = jnp.where(seen_B1CS, (own_BRCS - other_BRCS) ** 2, 0).mean(1)
      return squares.sum(-1) / jnp.maximum(seen_B1CS.sum((1, -1)), 1)
    own, other = (jax.nn.log_softmax(jnp.where(seen_B1CS, x, _NEG)) for x in (own_BRCS, other_BRCS))
    return jnp.where(seen_B1CS, jnp.exp(other) * (other - own), 0).sum(-1).mean(1)


def _scores(a_BCRd, b_BSRd):
  """a · b / √d [B, R, C, S], float32."""
  product = jnp.einsum("bcrd,bsrd->brcs", a_BCRd, b_BSRd, preferred_element_type=jnp.float32)
  return product * a_BCRd.shape[-1] ** -0.5


def _seen(queries, keys):
  """Who sees whom [B, C, S]: causal inside segments, and branches their trunk (`core.batch.Batch`)."""
  (q_segments, q_groups, q_index), (k_segments, k_groups, k_index) = queries, keys
  pair = lambda q, k: (q[:, :, None], k[:, None, :])
  segment_q, segment_k = pair(q_segments, k_segments)
  later, earlier = pair(q_index, k_index)
  seen = (segment_q == segment_k) & (segment_k != 0) & (earlier <= later)
  if q_groups is None:
    return seen
  group_q, group_k = pair(q_groups, k_groups)
  return seen | ((group_q == -group_k) & (group_k > 0))
