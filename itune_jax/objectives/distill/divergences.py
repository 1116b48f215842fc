"""How far a student's distribution of the next token is from a teacher's, as functions of log-probs [..., V]."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp


def kl(p, q):
  """Σ p (log p - log q) of log-probs."""
  return jnp.sum(jnp.exp(p) * (p - q), axis=-1)


def forward_kl(student, teacher, beta: float = 0.5):
  """KL(teacher || student): the student covers what the teacher does."""
  del beta
  return kl(teacher, student)


def reverse_kl(student, teacher, beta: float = 0.5):
  """KL(student || teacher): the student keeps to what the teacher likes most."""
  del beta
  return kl(student, teacher)


def jsd(student, teacher, beta: float = 0.5):
  """β KL(teacher || M) + (1-β) KL(student || M), M = β teacher + (1-β) student (Agarwal et al. 2024).

  It goes to 0 where β goes to 0 or 1, and is no KL there: see `scaled_jsd`.
  """
  mixed = jnp.logaddexp(teacher + jnp.log(beta), student + jnp.log1p(-beta))
  return beta * kl(teacher, mixed) + (1 - beta) * kl(student, mixed)


def scaled_jsd(student, teacher, beta: float = 0.5):
  """The same divided by β(1-β): it goes to KL(teacher || student) where β goes to 0, and to KL(student || teacher)
  where β goes to 1, so that β may be swept."""
  return jsd(student, teacher, beta) / (beta * (1 - beta))


def total_variation(student, teacher, beta: float = 0.5):
  """½ Σ |student - teacher|."""
  del beta
  return 0.5 * jnp.sum(jnp.abs(jnp.exp(student) - jnp.exp(teacher)), axis=-1)


def uld(student, teacher, beta: float = 0.5):
  """Σ |p_(i) - q_(i)| of both distributions' probabilities, largest first (Boizard et al. 2024): of any two
  vocabularies, the smaller one filled up with zeros. What the words are does not count."""
  del beta
  p, q = by_rank(jnp.exp(student), jnp.exp(teacher))
  return jnp.sum(jnp.abs(p - q), axis=-1)


def by_rank(p, q):
  """Two distributions' probabilities, largest first, the shorter filled up with zeros."""
  p, q = (-jnp.sort(-x, axis=-1) for x in (p, q))
  width = max(p.shape[-1], q.shape[-1])
  grown = lambda x: jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width - x.shape[-1])])
  return grown(p), grown(q)


DIVERGENCES: dict[str, Callable[..., Any]] = {
  one.__name__: one for one in (forward_kl, reverse_kl, jsd, scaled_jsd, total_variation, uld)
}
MIXED = ("jsd", "scaled_jsd")  # what β acts on
