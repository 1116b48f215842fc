"""How the next token is chosen. Temperature and top-p are arrays: a new value compiles nothing."""

import jax
import jax.numpy as jnp

from itune_jax.core import numerics


def choose(logits_BV, keys_B, temperature, top_p):
  """Next tokens [B] and their log-probabilities [B] under the model itself (temperature 1).

  Temperature 0 is greedy. top_p keeps the smallest set of tokens whose probabilities reach it (Holtzman et al.
  2020). Rows have keys of their own, so a row's text does not depend on the batch it rides in.
  """
  logits_BV = logits_BV.astype(jnp.float32)
  greedy = lambda: numerics.first_largest(logits_BV)
  tokens_B = jax.lax.cond(temperature > 0, lambda: _sample(logits_BV, keys_B, temperature, top_p), greedy)
  chosen = jnp.take_along_axis(logits_BV, tokens_B[:, None], axis=-1)[:, 0]
  return tokens_B.astype(jnp.int32), chosen - jax.nn.logsumexp(logits_BV, axis=-1)


def _sample(logits_BV, keys_B, temperature, top_p):
  scaled = logits_BV / jnp.maximum(temperature, 1e-6)
  ordered = jnp.sort(scaled, axis=-1, descending=True)
  before = jnp.cumsum(jax.nn.softmax(ordered, axis=-1), axis=-1) - jax.nn.softmax(ordered, axis=-1)
  # The last token that is still needed to reach top_p sets the bar; the first is always kept.
  needed = (before < top_p).at[:, 0].set(True)
  bar = jnp.min(jnp.where(needed, ordered, jnp.inf), axis=-1, keepdims=True)
  return jax.vmap(jax.random.categorical)(keys_B, jnp.where(scaled >= bar, scaled, -jnp.inf))
