"""Where LoRA's factors start: functions of a `Start` -> (a [in, R], b [R, out]).

Where b·a is not zero at first, the adapter keeps a copy of the start and subtracts it, so that the model begins as its
base and the base's weights are never edited. Not so LoftQ: its product is what quantising took from the weights.
"""

from collections.abc import Callable
import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp

from itune_jax.core import linalg
from itune_jax.peft import method
from itune_jax.peft import probes

Init = Literal["uniform", "gaussian", "orthogonal", "pissa", "olora", "loftq", "eva", "lora_ga"]
GAMMA = 16.0  # LoRA-GA's "stable" scale


@dataclasses.dataclass(frozen=True)
class Start:
  """What an initialiser may use: R columns of which `count` are in use, s, the kernel, the statistic it asks for."""

  key: Any
  shape: tuple[int, int]
  columns: int
  count: Any
  scale: Any
  w: Any
  statistic: Any


def _uniform(start: Start):
  """A as peft draws it (kaiming_uniform with a = √5), B zero."""
  bound = start.shape[0] ** -0.5
  a = jax.random.uniform(start.key, (start.shape[0], start.columns), jnp.float32, -bound, bound)
  return a, jnp.zeros((start.columns, start.shape[1]))


def _gaussian(start: Start):
  """A of deviation 1/r, B zero."""
  a = jax.random.normal(start.key, (start.shape[0], start.columns)) / start.count
  return a, jnp.zeros((start.columns, start.shape[1]))


def _orthogonal(start: Start):
  """Both random, in subspaces of the rank that do not meet: B A = 0 (datta0's "Rethink LoRA initialisations")."""
  R, half = start.columns, start.columns // 2
  k_q, k_a, k_b = jax.random.split(start.key, 3)
  q, _ = linalg.qr(jax.random.normal(k_q, (R, R)))
  a = jax.random.normal(k_a, (start.shape[0], half)) @ q[0 : 2 * half : 2]
  b = q[1 : 2 * half : 2].T @ jax.random.normal(k_b, (half, start.shape[1]))
  return a / 10, b / 10


def _pissa(start: Start):
  """The largest singular values of W and their vectors (Meng et al. 2024)."""
  return _factors(start.w, start)


def _olora(start: Start):
  """Q and R of W [out, in] (Büyükakyüz 2024)."""
  q, r = linalg.qr(start.w.T)
  return r[: start.columns].T, q[:, : start.columns].T


def _loftq(start: Start):
  """The largest singular values of what quantising lost, W - Q (Li et al. 2023, one iteration: Q stays)."""
  return _factors(start.statistic["kernel"].reshape(start.shape), start)


def _eva(start: Start):
  """A: the directions in which the inputs vary most (Paischer et al. 2024), B zero."""
  vectors = probes.spectrum(start.statistic)[1]
  return vectors[:, : start.columns], jnp.zeros((start.columns, start.shape[1]))


def _lora_ga(start: Start):
  """Of the gradient [out, in] = U S Vᵀ: A is V's first r, B is U's next r, both · out^¼/√γ (Wang et al. 2024, as their
  code has it: "ArB2r", "stable"; peft scales B by S and A not at all)."""
  gradient = start.statistic["change"].reshape(start.shape)
  v, _, u = linalg.svd(gradient)
  size = start.shape[1] ** 0.25 / GAMMA**0.5
  following = jnp.asarray(start.count, jnp.int32) + jnp.arange(start.columns)
  return v[:, : start.columns] * size, jnp.take(u, following, axis=0, mode="clip") * size


def _factors(w, start: Start):
  u, s, v = linalg.svd(w)
  root = jnp.sqrt(s[: start.columns] / start.scale)
  return u[:, : start.columns] * root[None], root[:, None] * v[: start.columns]


INITS: dict[str, Callable[[Start], tuple[Any, Any]]] = {
  "uniform": _uniform,
  "gaussian": _gaussian,
  "orthogonal": _orthogonal,
  "pissa": _pissa,
  "olora": _olora,
  "loftq": _loftq,
  "eva": _eva,
  "lora_ga": _lora_ga,
}
FROM_WEIGHT = ("pissa", "olora")
SUBTRACTED = ("pissa", "olora", "lora_ga")
STATISTICS: dict[str, method.Statistic] = {"loftq": "residual", "eva": "moments", "lora_ga": "gradient"}


def factors(init: Init, start: Start) -> tuple[Any, Any]:
  """The factors; not-a-number where the statistic is missing, until it comes or a checkpoint's arrays do."""
  if init in STATISTICS and start.statistic is None:
    shapes = (start.shape[0], start.columns), (start.columns, start.shape[1])
    return jnp.full(shapes[0], jnp.nan), jnp.full(shapes[1], jnp.nan)
  return INITS[init](start)
