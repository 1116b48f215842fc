"""The two pytrees that cross a model's door: the batch, and the context of one call."""

import dataclasses
import functools
import math
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import jax.numpy as jnp

from itune_jax.core import axes as axes_lib
from itune_jax.core import columns


Column = columns.Column


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=(
    "tokens_BT",
    "targets_BT",
    "weights_BT",
    "segments_BT",
    "positions_BT",
    "prefix_BT",
    "images",
    "adapters_BT",
    "groups_BT",
    "columns",
    "rows_B",
    "memory",
  ),
  meta_fields=("repeats",),
)
@dataclasses.dataclass(frozen=True)
class Batch:
  """Packed rows. Segment 0 is padding; positions restart with every segment.

  `targets_BT[b, t]` is the token that follows `tokens_BT[b, t]` in its segment, `weights_BT` its weight in the
  loss (0 for prompts, padding, and the last token of a segment). `prefix_BT` is 1 up to the first trained token of a
  segment: what an encoder reads, and what a prefix-LM sees both ways; causal decoders do not look. `images`
  [B, I, H, W, 3] are the pixels of each row's images in the order of their places, zeros behind them; None without.
  `adapters_BT` is the number of the adapter of each position, where several ride on one base (`peft.combine.mixed`).

  `groups_BT` tells which segments belong together (a pair, several completions of a prompt), None where none do. It is
  -g on the segments of group g (counted from 1 in each row), and g on a segment before them that holds their common
  prompt once: each of the group's segments sees all of it, and continues its positions. It is 0 outside of groups.
  `repeats`, which is static, promises that no prompt stands once: each segment of a group begins with it. `columns`
  holds further values by name, each [B, T] or [B, T, ...], laid out as `weights_BT`: at t stands what belongs to the
  token that t predicts. `rows_B` are the numbers of these rows in the global batch, which training cuts into
  micro-batches; None where they are those from 0 on. `memory` are numbers that an objective keeps from step to step.
  """

  tokens_BT: Any
  targets_BT: Any
  weights_BT: Any
  segments_BT: Any
  positions_BT: Any
  prefix_BT: Any = None
  images: Any = None
  adapters_BT: Any = None
  groups_BT: Any = None
  columns: dict[str, Any] = dataclasses.field(default_factory=dict)
  rows_B: Any = None
  memory: dict[str, Any] = dataclasses.field(default_factory=dict)
  repeats: bool = False

  @property
  def trunks_BT(self) -> Any:
    """`groups_BT` where prompts may stand once, else None: what says who sees more than its own segment."""
    return None if self.repeats else self.groups_BT


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=(
    "positions_BT",
    "segments_BT",
    "prefix_BT",
    "key",
    "rows_B",
    "at_BT",
    "noise_BT",
    "bank",
    "cache_rows_BT",
    "images",
    "adapters_BT",
    "layer",
    "groups_BT",
    "lead",
    "branches_GT",
    "aux",
    "shown",
  ),
  meta_fields=("shows", "goes_on", "mesh", "rules", "dtype"),
)
@dataclasses.dataclass(frozen=True)
class Ctx:
  """What every layer may need to know of one call.

  `key` is None outside training: dropout and noise are off then. What is drawn by it belongs to a row of the global
  batch, `rows_B`, and a place in it (`uniform`), so that it does not depend on how the batch is cut. Where a layer
  gets some places of each row only, `at_BT` says which. `noise_BT` scales uniform noise on the embeddings (NEFTune).
  `bank` holds arrays that adapters of all layers share. `cache_rows_BT` is set by a packed prefill: the row of the
  cache that each position belongs to. `images` and `adapters_BT` are those of the batch, `groups_BT` its `trunks_BT`.
  `layer` is the number of the layer inside a stack. `lead` are keys [L, K, H, P] and values [L, K, P, H] of learned
  tokens in front that every segment sees. `branches_GT` is set where segments continue rows of a cache side by side
  and leave it as it is: of every row G of the cache, the places in the flattened batch of what continues it (behind
  the last place where there is no more). With `goes_on` each row of the batch continues its row of the cache. `aux`
  is where adapters of a layer leave sums beside the layer's own, None where nobody asks for them. `shows` says what of
  which layers is wanted too, as pairs (part, number of the layer): "out" is what the layer gives [B, T, D], "q", "k"
  and "v" are the heads of its attention [B, T, heads, H], rotated, as its scores are made of them. They stand under
  those pairs in `shown` among the sums. `shown` is where a layer leaves such parts. `mesh` and `rules` are static.
  """

  positions_BT: Any
  segments_BT: Any
  prefix_BT: Any = None
  key: Any = None
  rows_B: Any = None
  at_BT: Any = None
  noise_BT: Any = None
  bank: Any = None
  cache_rows_BT: Any = None
  images: Any = None
  adapters_BT: Any = None
  groups_BT: Any = None
  layer: Any = None
  lead: Any = None
  branches_GT: Any = None
  aux: dict[str, Any] | None = None
  shown: dict[str, Any] | None = None
  shows: tuple[tuple[str, int], ...] = ()
  goes_on: bool = False
  mesh: Mesh | None = None
  rules: tuple[tuple[str, tuple[str, ...]], ...] = tuple(axes_lib.DEFAULT_RULES.items())
  dtype: Any = jnp.float32

  def replace(self, **changes) -> "Ctx":
    """A copy with some fields changed."""
    return dataclasses.replace(self, **changes)

  @property
  def platform(self) -> str:
    """What this call is compiled for: "cpu", "tpu", "gpu"."""
    name = jax.default_backend() if self.mesh is None else self.mesh.devices.flat[0].platform
    return "gpu" if name in ("cuda", "rocm") else name

  @property
  def is_behind(self) -> bool:
    """Whether what runs, several tokens of a row, stands behind what rows of a cache hold."""
    return self.goes_on or self.branches_GT is not None

  def at_layer(self, layer) -> "Ctx":
    """The context of one layer of a stack: its own key, so that no two layers drop the same units."""
    key = None if self.key is None else jax.random.fold_in(self.key, layer)
    return self.replace(key=key, layer=layer, aux=None if self.aux is None else {}, shown={} if self.shows else None)

  def uniform(self, stream: int, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0):
    """Uniform float32 values of `shape` [B, ...], by stream and row, and by place in it; see `rows_B` and `at_BT`."""
    assert self.key is not None
    key, lead = jax.random.fold_in(self.key, stream), 1 if self.at_BT is None else 2
    rows_B = jnp.arange(shape[0]) if self.rows_B is None else self.rows_B
    draw = lambda key: jax.random.uniform(key, shape[lead:], jnp.float32, low, high)
    of_row = jax.vmap(jax.random.fold_in, (None, 0))(key, rows_B)
    if self.at_BT is None:
      return jax.vmap(draw)(of_row)
    return jax.vmap(lambda key, at_T: jax.vmap(lambda at: draw(jax.random.fold_in(key, at)))(at_T))(of_row, self.at_BT)

  def add_aux(self, sums: dict[str, Any]) -> None:
    """Adds an adapter's sums, by name, to those of the layer's other adapters."""
    assert self.aux is not None
    self.aux.update({name: self.aux.get(name, 0) + value for name, value in sums.items()})

  def show(self, **parts: Any) -> None:
    """Leaves parts of a layer where `shows` asks for any."""
    if self.shown is not None:
      self.shown.update(parts)

  def shards(self, axis: str) -> int:
    """Over how many devices a logical axis is laid."""
    sizes = {} if self.mesh is None else self.mesh.shape
    return math.prod(sizes.get(name, 1) for name in dict(self.rules).get(axis, ()))

  @property
  def logit_shards(self) -> tuple[int, int]:
    """Over how many devices the rows and the vocabulary of logits are laid; an axis of both is the vocabulary's."""
    both = set(dict(self.rules).get("loss_batch", ())) & set(dict(self.rules).get("act_vocab", ()))
    again = math.prod((self.mesh.shape if self.mesh else {}).get(axis, 1) for axis in both)
    return self.shards("loss_batch") // again, self.shards("act_vocab")

  def constrain(self, x, axes):
    """Pins the sharding of an activation; a no-op on one device."""
    if self.mesh is None or self.mesh.size == 1:
      return x
    return jax.lax.with_sharding_constraint(x, NamedSharding(self.mesh, self.spec(axes, x.shape)))

  def spec(self, axes, shape) -> PartitionSpec:
    """How an array of these axes lies on the mesh."""
    return PartitionSpec() if self.mesh is None else axes_lib.partition_spec(axes, shape, dict(self.rules), self.mesh)

  def without_rows(self, axes) -> tuple[str | None, ...]:
    """The axes of a weight as a matmul wants it: those that rows are laid over too are whole (fsdp's gather)."""
    rules = dict(self.rules)
    of_rows = set(rules.get("batch", ()))
    return tuple(None if of_rows & set(rules.get(name or "", ())) else name for name in axes)
