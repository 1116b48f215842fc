"""What stands for log π/π_ref where the policy is kept near the reference by another f-divergence than the reverse KL
(f-DPO, Wang et al. 2023)."""

import math
from typing import Literal

import jax
import jax.numpy as jnp

Divergence = Literal["reverse_kl", "forward_kl", "js", "alpha"]
HIGHEST = 80.0  # an exponent above it leaves float32


def score(x, kind: Divergence = "reverse_kl", alpha: float = 0.5):
  """f'(π/π_ref) of x = log π/π_ref.

  "reverse_kl": x. "forward_kl": 1 - e^-x. "js": log 2 + log σ(x). "alpha": (e^{(α-1)x} - 1)/(α - 1), x at α = 1.
  """
  if kind == "forward_kl":
    return 1 - jnp.exp(-x)
  if kind == "js":
    return math.log(2) + jax.nn.log_sigmoid(x)
  if kind == "alpha" and abs(alpha - 1) >= 1e-6:
    return (jnp.exp(jnp.minimum((alpha - 1) * x, HIGHEST)) - 1) / (alpha - 1)
  return x
