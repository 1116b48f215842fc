"""A model bound to parameters, as objectives, samplers and scorers see it."""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

import jax
from jax.sharding import Mesh
import jax.numpy as jnp

from itune_jax.core import axes as axes_lib
from itune_jax.core import batch as batch_lib
from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import common_words
from itune_jax.parallel import shard
from itune_jax.nn import site
from itune_jax.nn import stack
from itune_jax.nn import skeleton as skeleton_lib


@dataclasses.dataclass(frozen=True)
class BoundModel(contracts.View):
  """A model bound to arrays, inside a trace. `module` is a decoder built from the parameters of this call."""

  module: Any
  binder: "Binder"
  words: Callable[[], common_words.Shared] | None = None

  @property
  def shared_words(self) -> common_words.Shared:
    """The words that the policy's vocabulary has too. Raises InputError where nobody knows (`WithWords`)."""
    return super().shared_words if self.words is None else self.words()

  def context(self, batch: batch_lib.Batch, key=None, **more) -> batch_lib.Ctx:
    """The context of one call over `batch`. Raises InputError for a batch with groups where they cannot be."""
    b = self.binder
    if batch.trunks_BT is not None and self.refuses_groups:
      raise errors.InputError(
        f"a batch in which prompts stand once for several answers met {self.refuses_groups}: set Packing.repeat_prompts"
      )
    where = (batch.positions_BT, batch.segments_BT, batch.prefix_BT)
    static = dict(mesh=b.mesh, rules=b.rules, dtype=jnp.dtype(b.compute))
    own = dict(images=batch.images, adapters_BT=batch.adapters_BT, groups_BT=batch.trunks_BT)
    return batch_lib.Ctx(*where, key=key, rows_B=batch.rows_B, **own, **static, **more)

  def hidden(self, tokens_BT, ctx):
    """Final hidden states [B, T, D] and the sums of the layers."""
    hidden_BTD, _, aux = self.module.hidden(tokens_BT, ctx)
    return hidden_BTD, aux

  def beside(self, name):
    """An array that trains beside the model."""
    bank = self.module.bank
    if name not in bank:
      known = ", ".join(sorted(bank)) or "none"
      raise errors.InputError(f"no array {name} trains beside this model; there are {known}: add the method to PEFT")
    return bank[name][...]

  def decode(self, tokens_BT, ctx, cache):
    """Hidden states [B, T, D] of new tokens, and the cache that holds them."""
    hidden_BTD, cache, _ = self.module.hidden(tokens_BT, ctx, cache)
    return hidden_BTD, cache

  @property
  def can_branch(self) -> bool:
    """Whether several continuations may share their context's keys and values."""
    return getattr(self.module, "can_branch", False)

  @property
  def can_share(self) -> bool:
    """Whether what prompts begin with may be kept once for all rows."""
    return getattr(self.module, "can_share", False) and not any(adapter.sees_ends for adapter in self._adapters())

  @property
  def refuses_groups(self) -> str:
    """What keeps several segments of a row from sharing their prompt (`Batch.groups_BT`); "" where they may."""
    if not self.can_branch:
      return "a model whose keys depend on what follows (prefix-LM, encoder-decoder, rotation by length)"
    if any(adapter.sees_ends for adapter in self._adapters()):
      return "an adapter that looks for the ends of prompts (Reft.last)"
    return ""

  def _adapters(self):
    return (adapter for node in skeleton_lib.sites(self.module).values() for adapter in site.in_order(node))

  def branch(self, tokens_BT, ctx, cache):
    """Hidden states [B, T, D] of segments that each continue a row of the cache (`ctx.branches_GT`), which stays."""
    return self.module.hidden(tokens_BT, ctx, cache)[0]

  @property
  def is_apart(self) -> bool:
    """Whether layers that keep keys and values are modules of their own (`Binder.apart`)."""
    return stack.is_apart(getattr(self.module, self.module.cached))

  def project(self, hidden, ctx=None):
    """Logits [..., V] of hidden states [..., D]; of rows [B, T, D] laid out as the loss wants them."""
    ctx = ctx or batch_lib.Ctx(None, None)
    if hidden.ndim != 3:
      return self.module.project(hidden, ctx)
    logits = self.module.project(ctx.constrain(hidden, ("loss_batch", None, None)), ctx)
    return ctx.constrain(logits, ("loss_batch", None, "act_vocab"))

  def empty_cache(self, batch: int, slots: int):
    """A cache in the compute dtype."""
    return self.module.empty_cache(batch, slots, jnp.dtype(self.binder.compute))


@dataclasses.dataclass(frozen=True)
class Binder:
  """Everything static of a model on a mesh; calling it with parameters gives the view. Hashable."""

  skeleton: skeleton_lib.Skeleton
  mesh: Mesh
  rules: tuple[tuple[str, tuple[str, ...]], ...]
  compute: str = "float32"

  @classmethod
  def of(cls, module, mesh: Mesh, rules: axes_lib.Rules, compute: str) -> "Binder":
    """The binder of a module (with shapes or arrays)."""
    skeleton, _ = skeleton_lib.disassemble(module)
    return cls(skeleton, mesh, tuple((k, tuple(v)) for k, v in rules.items()), compute)

  def __call__(self, params) -> BoundModel:
    return BoundModel(self.skeleton.build(params), self)

  def under(self, rules: axes_lib.Rules) -> "Binder":
    """The binder of the same model laid out by other rules."""
    return dataclasses.replace(self, rules=tuple((k, tuple(v)) for k, v in rules.items()))

  def shardings(self, params) -> dict[str, Any]:
    """Where every parameter lies by these rules; arrays or shapes in."""
    axes = {name: found["axes"] for name, found in skeleton_lib.metadata(self.skeleton.build(params)).items()}
    return shard.shardings(params, axes, dict(self.rules), self.mesh)

  def apart(self, params) -> tuple["Binder", dict[str, Any]]:
    """A binder and parameters of the same model whose layers run without a scan, each on arrays of its own."""
    module = _apart(self.skeleton, params)
    skeleton, arrays = skeleton_lib.disassemble(module)
    return dataclasses.replace(self, skeleton=skeleton), arrays


@dataclasses.dataclass(frozen=True, eq=False)
class WithWords:
  """A binder whose views know which words of their vocabulary the policy's has too; asked for when they are."""

  inner: Callable[[Any], BoundModel]
  words: Callable[[], common_words.Shared]

  def __call__(self, params) -> BoundModel:
    return dataclasses.replace(self.inner(params), words=self.words)


@functools.partial(jax.jit, static_argnums=0)
def _apart(skeleton, params):
  module = skeleton.build(params)
  setattr(module, module.cached, stack.apart(getattr(module, module.cached)))
  return module
