"""Where LoRA's factors start: functions (key, w [in, out] or None, rank, scale) -> (a [in, R], b [R, out]).

Where b·a is not zero at first, the adapter keeps a copy of the start and subtracts it, so that the model begins as its
base and the base's weights are never edited.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from itune_jax.core import linalg

Init = Literal["uniform", "gaussian", "orthogonal", "pissa", "olora"]


def _uniform(key, shape, w, rank, scale):
  """A as peft draws it (kaiming_uniform with a = √5), B zero."""
  bound = shape[0] ** -0.5
  return jax.random.uniform(key, (shape[0], rank), jnp.float32, -bound, bound), jnp.zeros((rank, shape[1]))


def _gaussian(key, shape, w, rank, scale):
  """A of deviation 1/r, B zero."""
  return jax.random.normal(key, (shape[0], rank)) / rank, jnp.zeros((rank, shape[1]))


def _orthogonal(key, shape, w, rank, scale):
  """Both random, in subspaces of the rank that do not meet: B A = 0 (datta0's "Rethink LoRA initialisations")."""
  k_q, k_a, k_b = jax.random.split(key, 3)
  q, _ = linalg.qr(jax.random.normal(k_q, (rank, rank)))
  a = jax.random.normal(k_a, (shape[0], rank // 2)) @ q[0 : 2 * (rank // 2) : 2]
  b = q[1 : 2 * (rank // 2) : 2].T @ jax.random.normal(k_b, (rank // 2, shape[1]))
  return a / 10, b / 10


def _pissa(key, shape, w, rank, scale):
  """The largest singular values of W and their vectors (Meng et al. 2024)."""
  u, s, v = linalg.svd(w)
  root = jnp.sqrt(s[:rank] / scale)
  return u[:, :rank] * root[None], root[:, None] * v[:rank]


def _olora(key, shape, w, rank, scale):
  """Q and R of W [out, in] (Büyükakyüz 2024)."""
  q, r = linalg.qr(w.T)
  return r[:rank].T, q[:, :rank].T


INITS: dict[str, Callable[..., tuple[Any, Any]]] = {
  "uniform": _uniform,
  "gaussian": _gaussian,
  "orthogonal": _orthogonal,
  "pissa": _pissa,
  "olora": _olora,
}
FROM_WEIGHT = ("pissa", "olora")  # start from W, and so are subtracted
