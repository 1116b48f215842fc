"""Small linear algebra that is safe inside programs.

Several batched LU or QR factorisations in one program can wait for each other for ever on a machine of few cores (jax
0.10 on CPU: each splits its batch over the very threads that run them). What runs in a model's step is therefore made
of plain operations; what runs once, at attaching, takes matrices one by one.
"""

from typing import Any

import jax
from jax import custom_batching
import jax.numpy as jnp

qr = custom_batching.sequential_vmap(lambda a: tuple(jnp.linalg.qr(a)))
svd = custom_batching.sequential_vmap(lambda a: tuple(jnp.linalg.svd(a, full_matrices=False)))
eigh = custom_batching.sequential_vmap(lambda a: tuple(jnp.linalg.eigh(a)))


@jax.custom_vjp
def inverse(a):
  """Inverses of matrices [n, size, size] whose symmetric part is positive definite, such as I + Q with a skew-symmetric
  Q: Gauss-Jordan, which needs no pivoting there."""
  size = a.shape[-1]
  rows = jnp.arange(size)

  def eliminate(i, both):
    pivot = jax.lax.dynamic_index_in_dim(both, i, axis=1)
    pivot = pivot / jax.lax.dynamic_index_in_dim(pivot, i, axis=2)
    column = jax.lax.dynamic_index_in_dim(both, i, axis=2)
    return jnp.where((rows == i)[None, :, None], pivot, both - column * pivot)

  eye = jnp.broadcast_to(jnp.eye(size, dtype=a.dtype), a.shape)
  return jax.lax.fori_loop(0, size, eliminate, jnp.concatenate([a, eye], axis=-1))[..., size:]


def _inverse_forward(a):
  out = inverse(a)
  return out, out


def _inverse_backward(out, d_out):
  turned = jnp.swapaxes(out, -1, -2)
  return (-turned @ d_out @ turned,)


inverse.defvjp(_inverse_forward, _inverse_backward)


def orthonormal(u):
  """Columns [D, R] made orthonormal one after the other (Gram-Schmidt), each projected twice: once leaves rounding."""

  def project(v, basis):
    return v if basis is None else v - basis @ (basis.T @ v)

  basis: Any = None
  for i in range(u.shape[1]):
    v = project(project(u[:, i : i + 1], basis), basis)
    v = v / jnp.linalg.norm(v)
    basis = v if basis is None else jnp.concatenate([basis, v], axis=1)
  return basis
