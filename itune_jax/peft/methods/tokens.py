"""New tokens without a resized base: rows of their own, read in place of the table's and projected beside it."""

from collections.abc import Sequence
import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.nn import site
from itune_jax.peft.folders import codec
from itune_jax.peft import method as method_lib


class TokenRows(site.Adapter):
  """Trained rows [n, D] of the token ids of one table: an embedding, its tied output, or a head [D, V].

  An id inside the vocabulary starts as the row it replaces, one behind it as the mean of all rows (so that at first it
  is as likely as an average token).
  """

  def __init__(self, spec: site.SiteSpec, w, ids: tuple[int, ...]):
    table = w.T if spec.kind == "proj" else w
    self.vocab, self.is_head = int(table.shape[0]), spec.kind == "proj"
    behind = [i for i in ids if i >= self.vocab]
    if behind != list(range(self.vocab, self.vocab + len(behind))):
      raise errors.InputError(f"Tokens.ids behind a vocabulary of {self.vocab} must follow it one by one; got {behind}")
    self.ids = ids
    mean = jnp.mean(table.astype(jnp.float32), axis=0)
    rows = [table[i].astype(jnp.float32) if i < self.vocab else mean for i in ids]
    self.rows = site.AdapterParam(jnp.stack(rows), axes=(None, "embed"))

  def post(self, x, y, w, ctx):
    """Of an embedding: x are token ids and y their vectors. Of a head: x are hidden states and y logits."""
    if self.is_head:
      return self.attend(x, y, ctx)
    match = x[..., None] == np.array(self.ids, np.int32).reshape((1,) * x.ndim + (-1,))
    mine = jnp.dot(match.astype(y.dtype), self.rows[...].astype(y.dtype))
    return jnp.where(jnp.any(match, axis=-1, keepdims=True), mine, y)

  def attend(self, x, logits, ctx):
    """Logits [..., V + new] with those of the rows in their places."""
    mine = jnp.dot(x, self.rows[...].astype(x.dtype).T)
    inside = sum(i < self.vocab for i in self.ids)
    if inside:
      logits = logits.at[..., np.array(self.ids[:inside])].set(mine[..., :inside])
    return jnp.concatenate([logits, mine[..., inside:]], axis=-1)

  def merge(self, w, bank):
    """The table with its rows replaced, and longer by those behind it."""
    table = w.T if self.is_head else w
    inside = sum(i < self.vocab for i in self.ids)
    rows = self.rows[...].astype(jnp.float32)
    if inside:
      table = table.at[np.array(self.ids[:inside])].set(rows[:inside])
    table = jnp.concatenate([table, rows[inside:]], axis=0)
    return table.T if self.is_head else table


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tokens(method_lib.SiteMethod, codec.ModuleWriter):
  """Trains the rows of some token ids, in the embedding and in the output projection.

  ids: of the tokens.
  """

  ids: tuple[int, ...]
  name: str = "tokens"
  sites: str = "embed|head"
  kinds = ("embed", "proj")
  peft_type = "TRAINABLE_TOKENS"

  def __post_init__(self):
    super().__post_init__()
    check.require(
      len(self.ids) > 0 and list(self.ids) == sorted(set(self.ids)) and self.ids[0] >= 0,
      f"Tokens.ids must be token ids in rising order, each once, not {self.ids}",
    )

  @property
  def needs_weight(self) -> bool:
    """Rows start as those of the table."""
    return True

  def make(self, spec: site.SiteSpec, key, *, w) -> TokenRows:
    """The rows of one table."""
    return TokenRows(spec, w, tuple(self.ids))

  def peft_write(self, part: codec.Part) -> codec.Arrays:
    """Whole rows [n, D], despite peft's name for them."""
    return {"trainable_tokens_delta": part.leaves["rows"]}

  def peft_config(self, parts: Sequence[codec.Part]) -> dict[str, Any]:
    """Which tokens."""
    return {"token_indices": list(self.ids)}
