"""Statistics of the base on a few batches, for methods that start from data (`SiteMethod.statistic`).

They are taken by probes: adapters that change nothing and whose gradients are the statistic. So whatever training can
do (stacked layers, shards, rematerialisation, quantised kernels, micro-batches) needs nothing of its own here.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from itune_jax.core import examples
from itune_jax.core import linalg
from itune_jax.nn import site
from itune_jax.peft import method


class Moments(site.Adapter):
  """Of the inputs at the tokens of all examples: Σ x xᵀ [*in, *in], Σ x [*in], and how many."""

  def __init__(self, spec: site.SiteSpec):
    self.square = site.AdapterParam(jnp.zeros(spec.in_shape * 2), axes=(*spec.in_axes, *(None,) * len(spec.in_axes)))
    self.total = site.AdapterParam(jnp.zeros(spec.in_shape), axes=spec.in_axes)
    self.count = site.AdapterParam(jnp.zeros(()), axes=())

  def pre(self, x, ctx):
    real = jnp.ones(x.shape[:2])  # experts' inputs are rows of their own: empty ones are zeros already
    if ctx.segments_BT is not None and ctx.segments_BT.shape == x.shape[:2]:
      real = examples.copies(ctx.segments_BT, ctx.groups_BT)
    return _observed(self.total[...].ndim, x, real, self.square[...], self.total[...], self.count[...])


class Gradient(site.Adapter):
  """Of the loss with respect to the kernel [*in, *out], quantised or not."""

  def __init__(self, spec: site.SiteSpec):
    self.change = site.AdapterParam(jnp.zeros(spec.in_shape + spec.out_shape), axes=(*spec.in_axes, *spec.out_axes))

  def weight(self, w, ctx):
    return site.Weight(lambda: w.value + self.change[...].astype(w.value.dtype), w.shape)


PROBES = {"moments": Moments, "gradient": Gradient}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe(method.SiteMethod):
  """The method that measures."""

  measures: method.Statistic
  sites: str
  name: str = "probe"

  def make(self, spec: site.SiteSpec, key) -> site.Adapter:
    """The probe of one layer."""
    del key
    return PROBES[self.measures](spec)


def collected(gradients: dict[str, Any], name: str) -> dict[str, dict[str, Any]]:
  """Gradients of a probe's parameters by path, as statistics by site."""
  by_site: dict[str, dict[str, Any]] = {}
  for path, value in gradients.items():
    where, _, leaf = path.partition(f"/adapters/{name}/")
    by_site.setdefault(where, {})[leaf] = value
  return by_site


def spectrum(statistic: dict[str, Any]) -> tuple[Any, Any]:
  """Eigenvalues [in], falling, of the covariance of the inputs, and eigenvectors [in, in] as columns."""
  n = math.prod(statistic["total"].shape)
  count, total = statistic["count"], statistic["total"].reshape(n)
  covariance = statistic["square"].reshape(n, n) / count - jnp.outer(total, total) / count**2
  values, vectors = linalg.eigh(covariance)
  return values[::-1], vectors[:, ::-1]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _observed(num_in, x, real, square, total, count):
  return x


def _observed_forward(num_in, x, real, square, total, count):
  return x, (x, real)


def _observed_backward(num_in, saved, d_x):
  x, real = saved
  shape = x.shape[x.ndim - num_in :]
  rows = (x.astype(jnp.float32) * real.reshape(real.shape + (1,) * (x.ndim - 2))).reshape(-1, math.prod(shape))
  return d_x, None, (rows.T @ rows).reshape(shape * 2), jnp.sum(rows, 0).reshape(shape), jnp.sum(real)


_observed.defvjp(_observed_forward, _observed_backward)
