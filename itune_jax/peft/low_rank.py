"""x (W + U B), and x (W + U B) · m: a projection with its low-rank change, where the kernel is smaller than the inputs.

The change is added to the kernel, so no sum of the size of the outputs or of the inputs' gradient is made; the kernel's
own gradient is not needed for those of the factors. In float32 only: a kernel in bfloat16 would round the change away.
"""

import math
from typing import Any

import jax
from jax import ad_checkpoint
import jax.numpy as jnp

from itune_jax.core import numerics
from itune_jax.nn import site


def pays(x, w: site.Weight, num_in: int) -> bool:
  """Whether there are more inputs x than kernel rows, and the kernel is at hand as it is."""
  rows, fan_in = math.prod(x.shape[: x.ndim - num_in]), math.prod(x.shape[x.ndim - num_in :])
  return type(w) is site.Weight and x.dtype == jnp.float32 and rows > fan_in


def contract(x, w: site.Weight, u, b, num_in: int, ratio=None):
  """Contracts x [..., *in] with (W + U B) · ratio: U [*in, R], B [R, *out], ratio [*out] or None for 1."""
  lead, out = x.shape[: x.ndim - num_in], w.shape[num_in:]
  fan_in = math.prod(w.shape[:num_in])
  flat = (x.reshape(*lead, fan_in), w.value.reshape(fan_in, -1), u.reshape(fan_in, -1), b.reshape(b.shape[0], -1))
  return _contract(*flat, None if ratio is None else ratio.reshape(1, -1)).reshape(*lead, *out)


@jax.custom_vjp
def _contract(x, w, u, b, ratio):
  return _dot(x, _kernel(w, u, b, ratio), 0)


def _forward(x, w, u, b, ratio):
  out = _contract(x, w, u, b, ratio)
  if ratio is None:
    return out, (x, w, u, b, None, None)
  out = ad_checkpoint.checkpoint_name(out, "adapter_out")  # what the ratio's gradient is read off
  return out, (x, w, u, b, ratio, out)


def _backward(saved, d_y) -> Any:
  x, w, u, b, ratio, out = saved
  d_y = d_y if ratio is None else numerics.optimization_barrier(d_y)
  d_x = _dot(d_y, _kernel(w, u, b, ratio), 1)
  scaled = b if ratio is None else b * ratio
  d_u, d_b, d_w = _outer(_dot(d_y, scaled, 1), x).T, _outer(_dot(x, u, 0), d_y), _outer(x, d_y)
  if ratio is None:
    return d_x, d_w, d_u, d_b, None
  total = numerics.dot_rows(out.reshape(-1, ratio.size), d_y.reshape(-1, ratio.size))[None]
  return d_x, d_w * ratio, d_u, d_b * ratio, jnp.where(ratio == 0, 0, total / ratio)


_contract.defvjp(_forward, _backward)


def _kernel(w, u, b, ratio):
  kernel = w + jnp.dot(u, b)
  return kernel if ratio is None else kernel * ratio


def _dot(x, w, on: int):
  return jax.lax.dot_general(x, w, (((x.ndim - 1,), (on,)), ((), ())))


def _outer(x, y):
  """Σ x yᵀ over rows; the narrow side is first."""
  lead = tuple(range(x.ndim - 1))
  return jax.lax.dot_general(x, y, ((lead, lead), ((), ())))
