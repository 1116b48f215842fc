"""Several adapters on one base, one of them for each row of a batch (`Batch.adapters_BT`).

Every adapter is attached under a name of its own and acts where the batch names it: adapters of any methods, ranks and
sites ride together, and a row meets the arithmetic that it meets alone.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import jax.numpy as jnp
from jax.sharding import Mesh

from itune_jax.core import axes as axes_lib
from itune_jax.core import errors
from itune_jax.core import rng
from itune_jax.nn import site as site_lib
from itune_jax.nn import skeleton
from itune_jax.peft import attach
from itune_jax.peft import method as method_lib

NONE = -1  # the number of the base alone


class OnRows(site_lib.Wrapper):
  """An adapter that acts at the positions that name its number; nowhere where a batch names none."""

  def __init__(self, inner: site_lib.Adapter, number):
    super().__init__(inner)
    self.number = site_lib.AdapterParam(number, axes=(), trainable=False)

  def _choose(self, new, old, ctx):
    if ctx.adapters_BT is None:
      return old
    here_BT = ctx.adapters_BT == self.number[...]

    def here(new, old):
      if old.shape[: here_BT.ndim] != here_BT.shape:
        raise ValueError(f"an activation {old.shape} has no place for one adapter a row {here_BT.shape}")
      return jnp.where(here_BT.reshape(here_BT.shape + (1,) * (old.ndim - here_BT.ndim)), new, old)

    return site_lib.where_changed(here, new, old)

  def pre(self, x, ctx):
    new = self.inner.pre(x, ctx)
    return x if new is x else self._choose(new, x, ctx)

  def post(self, x, y, w, ctx):
    new = self.inner.post(x, y, w, ctx.replace(aux=None))  # of a part of the rows no sum is meant
    return y if new is y else self._choose(new, y, ctx)


def combine(
  module: Any,
  params: Mapping[str, Any],
  adapters: Mapping[str, attach.Attached],
  *,
  mesh: Mesh,
  rules: axes_lib.Rules = axes_lib.DEFAULT_RULES,
) -> attach.Attached:
  """One model with all of these adapters of one base; number k of a batch is the k-th of them.

  Raises:
    InputError, by name, for what cannot differ from row to row: opened parameters, changed kernels, biases and tables,
    learned tokens in front, experts.
  """
  methods, arrays = [], {}
  for label, attached in adapters.items():
    for method in attached.methods:
      if not isinstance(method, method_lib.SiteMethod) or method.opens(attach.base_names(attached.params)):
        raise errors.InputError(f"{label}: {type(method).__name__} changes the base itself, which all rows share")
      new = dataclasses.replace(method, name=f"{label}_{method.name}")
      methods.append(new)
      arrays |= _renamed(attached.params, method.name, new.name)
  both = attach.attach(module, params, methods, rng.root(0), mesh=mesh, rules=rules)
  renamed = {**both.params, **arrays}
  owner = {
    f"{label}_{m.name}": (k, f"{label}: {type(m).__name__}")
    for k, (label, a) in enumerate(adapters.items())
    for m in a.methods
  }
  for path, node in skeleton.sites(both.module).items():
    lead = skeleton.lead(path, module.cfg.stacks)
    for name, adapter in list(node.adapters.items()):
      number, who = owner[name]
      _require_rows(who, path, node, adapter, lead)
      node.adapters[name] = OnRows(adapter, jnp.full(lead, number, jnp.int32))
      prefix = f"{path}/adapters/{name}/"
      for old in [n for n in renamed if n.startswith(prefix)]:
        renamed[f"{prefix}inner/{old.removeprefix(prefix)}"] = renamed.pop(old)
      renamed[f"{prefix}number"] = jnp.full(lead, number, jnp.int32)
  return attach.Attached(both.module, renamed, frozenset(), tuple(methods))


def _renamed(params, old: str, new: str) -> dict[str, Any]:
  """Arrays of one method under another name."""
  here, bank = f"/adapters/{old}/", f"bank/{old}_"
  adapters = {name.replace(here, f"/adapters/{new}/"): value for name, value in params.items() if here in name}
  return adapters | {
    f"bank/{new}_{name.removeprefix(bank)}": value for name, value in params.items() if name.startswith(bank)
  }


def _require_rows(who: str, path: str, node, adapter, lead) -> None:
  """Raises InputError when an adapter cannot act on some rows only."""
  has_bias = isinstance(node, site_lib.Proj) and node.bias is not None
  if len(lead) != 1 or adapter.hooks & {"weight", "attend"} or adapter.changes_bias(has_bias):
    raise errors.InputError(
      f"{who} at {path} cannot differ from row to row; inputs and outputs of projections and "
      "taps inside the layers can. Merge it, or evaluate it alone"
    )
