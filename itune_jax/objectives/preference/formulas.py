"""The losses of the DPO family as functions of the sums of each pair, one a name.

c and r are log π/π_ref of the preferred and of the other answer, f(c) and f(r) the same under the divergence at hand
(`divergence`), d = f(c) - f(r), |c| and |r| the lengths, ε the label smoothing.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from itune_jax.objectives.preference import divergence
from itune_jax.objectives.preference import pairs as pairs_lib


@dataclasses.dataclass(frozen=True)
class Given:
  """What a formula sees. beta: a number, or one for each pair."""

  pairs: pairs_lib.Pairs
  beta: Any
  smoothing: float = 0.0
  tau: float = 0.05
  kind: divergence.Divergence = "reverse_kl"
  alpha: float = 0.5

  @property
  def scores(self) -> tuple[Any, Any]:
    """f(c), f(r)."""
    c, r = self.pairs.ratios
    return divergence.score(c, self.kind, self.alpha), divergence.score(r, self.kind, self.alpha)

  @property
  def logits(self):
    """βd."""
    c, r = self.scores
    return self.beta * (c - r)

  @property
  def by_length(self):
    """f(c)/|c| - f(r)/|r|."""
    c, r = self.scores
    return c / self.pairs.chosen_length - r / self.pairs.rejected_length


def sigmoid(g: Given):
  """-log σ(βd): DPO (Rafailov et al. 2023)."""
  return -jax.nn.log_sigmoid(g.logits)


def cdpo(g: Given):
  """-(1-ε) log σ(βd) - ε log σ(-βd): DPO of labels that are wrong with probability ε (Mitchell 2023)."""
  return pairs_lib.log_sigmoid_smoothed(g.logits, g.smoothing)


def robust(g: Given):
  """[-(1-ε) log σ(βd) + ε log σ(-βd)]/(1-2ε): without bias for such labels (Chowdhury et al. 2024)."""
  z = g.logits
  return (-(1 - g.smoothing) * jax.nn.log_sigmoid(z) + g.smoothing * jax.nn.log_sigmoid(-z)) / (1 - 2 * g.smoothing)


def sigmoid_norm(g: Given):
  """-log σ(β(f(c)/|c| - f(r)/|r|)): DPO by token (Tülu 3, Lambert et al. 2024)."""
  return -jax.nn.log_sigmoid(g.beta * g.by_length)


def hinge(g: Given):
  """max(0, 1 - βd) (RSO, Liu et al. 2023)."""
  return jax.nn.relu(1 - g.logits)


def ipo(g: Given):
  """(f(c)/|c| - f(r)/|r| - 1/(2β))² (Azar et al. 2023), by token as its authors use it."""
  return (g.by_length - 1 / (2 * g.beta)) ** 2


def exo_pair(g: Given):
  """KL of (σ(βd), σ(-βd)) from (1-ε, ε) (EXO, Ji et al. 2024)."""
  z = g.logits
  wins, loses = jax.nn.sigmoid(z), jax.nn.sigmoid(-z)
  own = wins * (jax.nn.log_sigmoid(z) - jnp.log1p(-g.smoothing))
  return own + loses * (jax.nn.log_sigmoid(-z) - jnp.log(g.smoothing))


def nca_pair(g: Given):
  """-log σ(βc) - ½ log σ(-βc) - ½ log σ(-βr) (NCA, Chen et al. 2024)."""
  c, r = (g.beta * x for x in g.pairs.ratios)
  return -jax.nn.log_sigmoid(c) - 0.5 * jax.nn.log_sigmoid(-c) - 0.5 * jax.nn.log_sigmoid(-r)


def bco_pair(g: Given):
  """-log σ(βc) - log σ(-βr) (BCO, Jung et al. 2024, without its running mean)."""
  c, r = (g.beta * x for x in g.pairs.ratios)
  return -jax.nn.log_sigmoid(c) - jax.nn.log_sigmoid(-r)


def sppo_hard(g: Given):
  """(c - 1/(2β))² + (r + 1/(2β))² (SPPO, Wu et al. 2024, of certain labels)."""
  c, r = g.pairs.ratios
  return (c - 0.5 / g.beta) ** 2 + (r + 0.5 / g.beta) ** 2


def apo_zero(g: Given):
  """1 - σ(βc) + σ(βr): preferred answers are better than the model's (D'Oosterlinck et al. 2024)."""
  c, r = (g.beta * x for x in g.pairs.ratios)
  return 1 - jax.nn.sigmoid(c) + jax.nn.sigmoid(r)


def apo_down(g: Given):
  """σ(βc) + 1 - σ(β(c - r)): they are worse than the model's (the same)."""
  c, r = (g.beta * x for x in g.pairs.ratios)
  return jax.nn.sigmoid(c) + 1 - jax.nn.sigmoid(c - r)


def discopop(g: Given):
  """(1-m)(-log σ(βd)) + m e^{-βd} with m = σ(βd/τ) (Lu et al. 2024)."""
  z = g.logits
  share = jax.nn.sigmoid(z / g.tau)
  return -jax.nn.log_sigmoid(z) * (1 - share) + jnp.exp(-z) * share


def sft(g: Given):
  """-log π(chosen)/|c|: the mean over the tokens of the preferred answer."""
  return -g.pairs.means[0]


def aot(g: Given):
  """Smoothed -log σ(β(sorted(log π_c - log π_r) - sorted(the reference's))) (AOT, Melnyk et al. 2024): of all pairs of
  a step, which are ranked against each other."""
  p = g.pairs
  return _ranked(g, p.chosen - p.rejected, p.ref_chosen - p.ref_rejected)


def aot_unpaired(g: Given):
  """The same of sorted(c) - sorted(r)."""
  return _ranked(g, *g.pairs.ratios)


def _ranked(g: Given, high, low):
  """The k-th largest of one against the k-th largest of the other. The losses stand at the places of pairs: which pair
  has which does not matter, since they are summed."""
  there = g.pairs.is_pair.ravel()
  in_order = lambda x: jnp.sort(jnp.where(there, x.ravel(), jnp.inf))
  filled = jnp.arange(there.size) < there.sum()
  z = jnp.where(filled, g.beta * (_finite(in_order(high)) - _finite(in_order(low))), 0)
  loss = jnp.where(filled, pairs_lib.log_sigmoid_smoothed(z, g.smoothing), 0)
  places = jnp.argsort(~there, stable=True)
  return jnp.zeros(there.size).at[places].set(loss).reshape(g.pairs.is_pair.shape)


def _finite(x):
  return jnp.where(jnp.isfinite(x), x, 0)


LOSSES: dict[str, Callable[[Given], Any]] = {
  one.__name__: one
  for one in (
    sigmoid,
    cdpo,
    robust,
    sigmoid_norm,
    hinge,
    ipo,
    exo_pair,
    nca_pair,
    bco_pair,
    sppo_hard,
    apo_zero,
    apo_down,
    discopop,
    sft,
    aot,
    aot_unpaired,
  )
}
SMOOTHED = ("cdpo", "robust", "exo_pair", "aot", "aot_unpaired")  # what label smoothing acts on
DIVERGENT = ("sigmoid", "cdpo", "robust", "sigmoid_norm", "hinge", "ipo", "exo_pair", "discopop", "sft")
RANKED = ("aot", "aot_unpaired")  # each pair's loss hangs on all others
