"""The alphabet of the code base, and the rules that lay logical axes onto a mesh.

| letter | meaning | | letter | meaning |
|---|---|---|---|---|
| B | batch (rows) | | K | key-value heads |
| T | query positions | | H | head dimension |
| S | key positions | | F | mlp width |
| D | embedding width | | V | vocabulary |
| N | query heads | | R | adapter rank |
| L | layers | | E | experts |

Tensors carry their axes as a suffix (`q_BTNH`); parameters carry logical names as metadata
(`axes=("embed", "heads", "head_dim")`). Names align to the right: extra leading dimensions are `layers`,
so stacking a module under `jax.vmap` never has to insert a name.
"""

from collections.abc import Mapping, Sequence

from jax.sharding import Mesh, PartitionSpec

MESH_AXES = ("data", "fsdp", "tensor", "sequence", "expert", "stage")

LOGICAL_AXES = (
  "batch",
  "rows",
  "length",
  "embed",
  "heads",
  "kv_heads",
  "head_dim",
  "mlp",
  "vocab",
  "vocab_out",
  "rank",
  "layers",
  "act_embed",
  "act_heads",
  "act_mlp",
  "act_vocab",
  "loss_batch",
  "experts",
  "stage",
)

# These choose their mesh axes first, wherever they stand.
_FIRST = ("vocab_out", "act_vocab", "heads", "kv_heads", "mlp")

Rules = Mapping[str, tuple[str, ...]]

# Parameters: fsdp along embed, tensor along the wide axis. Activations: batch over both data axes.
# The adapter rank is never sharded: it is small, and both factors contract over it. `vocab_out` is the vocabulary of
# the output projection, `loss_batch` and `act_vocab` lay out its logits: a table that gives `vocab_out` an axis of the
# batch gathers hidden states instead of the projection. `rows` are those of a cache.
DEFAULT_RULES: Rules = {
  "batch": ("data", "fsdp"),
  "rows": ("data", "fsdp"),
  "length": ("sequence",),
  "embed": ("fsdp",),
  "heads": ("tensor",),
  "kv_heads": ("tensor",),
  "mlp": ("tensor",),
  "vocab": ("tensor",),
  "vocab_out": ("tensor",),
  "act_vocab": ("tensor",),
  "loss_batch": ("data", "fsdp"),
  "experts": ("expert",),
  "layers": ("stage",),
  "stage": ("stage",),
  "act_heads": ("tensor",),
  "act_mlp": ("tensor",),
}


def partition_spec(axes: Sequence[str | None], shape: Sequence[int], rules: Rules, mesh: Mesh) -> PartitionSpec:
  """The spec of an array whose trailing dimensions are named by `axes`.

  A dimension that its mesh axes do not divide stays replicated (3 key-value heads on 2 tensor shards), and a
  mesh axis is used once: by the wide dimension of a kernel or of logits, else by the leftmost that asks for it.
  """
  names = ("layers",) * (len(shape) - len(axes)) + tuple(axes)
  taken: set[str] = set()
  entries: list[tuple[str, ...] | None] = [None] * len(names)
  for i in sorted(range(len(names)), key=lambda i: names[i] not in _FIRST):
    name, size = names[i], shape[i]
    wanted = tuple(a for a in rules.get(name or "", ()) if mesh.shape.get(a, 1) > 1 and a not in taken)
    shards = 1
    for axis in wanted:
      shards *= mesh.shape[axis]
    if wanted and size % shards == 0:
      taken.update(wanted)
      entries[i] = wanted
  return PartitionSpec(*entries)
