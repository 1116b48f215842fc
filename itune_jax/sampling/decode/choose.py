"""How the next token is chosen, from logits alone or edited by what a row asks for. All settings are arrays: another
value compiles nothing.

The order is that of transformers (`GenerationMixin._get_logits_processor`): what changes logits first, then
temperature, top-k, top-p and min-p, each on what the one before left.
"""

from typing import Any

import jax
import jax.numpy as jnp

from itune_jax.core import numerics
from itune_jax.sampling.decode import controls as controls_lib


def choose(logits_BV, keys_B, temperature, top_p, top_k=0, min_p=0.0, *, alive=True, edited_BV=None, must_B=None):
  """Next tokens [B] and their log-probabilities [B] under the model itself (temperature 1).

  Temperature 0 is greedy. Settings are numbers, or arrays [B] of the rows' own. Rows have keys of their own, so a row's
  text does not depend on the batch it rides in. alive: rows whose tokens anybody reads; the others' settings cost
  nothing. edited_BV: what is drawn from, where it is not the model's own logits. must_B: tokens that have to come, -1
  for none.
  """
  logits_BV = logits_BV.astype(jnp.float32)
  from_BV = logits_BV if edited_BV is None else edited_BV
  rows = lambda x: jnp.broadcast_to(jnp.asarray(x), logits_BV.shape[:1])
  hot_B = rows(temperature) > 0
  how = rows(temperature), rows(top_p), rows(top_k), rows(min_p)
  draw = lambda scores_BV: jax.vmap(jax.random.categorical)(keys_B, scores_BV)
  greedy_B = numerics.first_largest(from_BV).astype(jnp.int32)  # it costs next to nothing beside a draw
  drawn = lambda: draw(warped(from_BV, *how, alive_B=hot_B & alive)).astype(jnp.int32)
  tokens_B = jax.lax.cond(jnp.any(hot_B & alive), lambda: jnp.where(hot_B, drawn(), greedy_B), lambda: greedy_B)
  tokens_B = tokens_B if must_B is None else jnp.where(must_B >= 0, must_B, tokens_B)
  return tokens_B, logprobs(logits_BV, tokens_B[:, None])[:, 0]


def logprobs(logits_BV, ids_BN) -> Any:
  """Log-probabilities [B, N] of some tokens."""
  return jnp.take_along_axis(logits_BV, ids_BN, axis=-1) - jax.nn.logsumexp(logits_BV, axis=-1, keepdims=True)


def edited(logits_BV, controls: controls_lib.Controls, count_B, stops_S) -> Any:
  """Logits [B, V] as the rows' settings change them, float32; they themselves where none do.

  count_B: tokens of each text so far. stops_S: ids that end a text, -1 for none.
  """
  if controls.edits is None and controls.penalties is None:
    return logits_BV
  logits_BV = logits_BV.astype(jnp.float32)
  if (p := controls.penalties) is not None:
    logits_BV = repetition(logits_BV, p.seen_BV | (p.counts_BV > 0), p.repetition_B)
    logits_BV = presence_and_frequency(logits_BV, p.counts_BV, p.presence_B, p.frequency_B)
  if (e := controls.edits) is not None:
    early_B = count_B < e.min_new_B
    none = jnp.int32(controls_lib.NOWHERE)
    stops_BS = jnp.where(early_B[:, None] & (stops_S >= 0)[None], stops_S[None], none)
    logits_BV = without(logits_BV, jnp.concatenate([e.banned_BM, stops_BS], axis=1))
  return logits_BV


def repetition(logits_BV, seen_BV, penalty_B) -> Any:
  """Logits [B, V] of tokens that were there before divided by the penalty, negative ones multiplied (CTRL, Keskar et
  al. 2019, section 4.1, in the form that transformers gave it: there a negative logit would grow likelier)."""
  penalty_B1 = penalty_B[:, None]
  return jnp.where(seen_BV, jnp.where(logits_BV < 0, logits_BV * penalty_B1, logits_BV / penalty_B1), logits_BV)


def presence_and_frequency(logits_BV, counts_BV, presence_B, frequency_B) -> Any:
  """Logits [B, V] less presence · [count > 0] + frequency · count (OpenAI's API reference, "Advanced usage")."""
  off_BV = presence_B[:, None] * (counts_BV > 0) + frequency_B[:, None] * counts_BV.astype(jnp.float32)
  return logits_BV - off_BV


def without(logits_BV, ids_BM) -> Any:
  """Logits [B, V] with -inf for these ids of each row; an id behind the vocabulary is none."""
  return logits_BV.at[jnp.arange(logits_BV.shape[0])[:, None], ids_BM].set(-jnp.inf, mode="drop")


def forced(controls: controls_lib.Controls, count_B) -> Any:
  """Tokens [B] that the rows have to say at this place, -1 for none; None where no row ever has to."""
  if controls.edits is None:
    return None
  forced_BF = controls.edits.forced_BF
  at_B1 = jnp.minimum(count_B, forced_BF.shape[1] - 1)[:, None]
  return jnp.where(count_B < forced_BF.shape[1], jnp.take_along_axis(forced_BF, at_B1, axis=1)[:, 0], -1)


def top(logits_BV, k: int) -> tuple[Any, Any]:
  """Ids and log-probabilities, both [B, k], of the k likeliest tokens under the model itself."""
  logits_BV = logits_BV.astype(jnp.float32)
  _, ids_BK = jax.lax.top_k(logits_BV, k)
  return ids_BK.astype(jnp.int32), logprobs(logits_BV, ids_BK)


def warped(logits_BV, temperature_B, top_p_B, top_k_B, min_p_B, alive_B) -> Any:
  """Logits [B, V] over the temperature, -inf for what top-k, top-p and min-p cut, each of what the one before left."""
  scaled_BV = logits_BV / jnp.maximum(temperature_B, 1e-6)[:, None]
  cuts = jnp.any(alive_B & ((top_p_B < 1) | (top_k_B > 0)))
  # Sorting costs more than all the rest: only where something is cut by rank or by mass.
  none = lambda: jnp.full_like(scaled_BV[:, :1], -jnp.inf)
  bar_B1 = jax.lax.cond(cuts, lambda: _bar(scaled_BV, top_p_B, top_k_B), none)
  # p / p_max = exp(score - score_max), whatever the cuts before took away.
  bar_B1 = jnp.maximum(bar_B1, jnp.max(scaled_BV, axis=-1, keepdims=True) + jnp.log(min_p_B)[:, None])
  return jnp.where(scaled_BV >= bar_B1, scaled_BV, -jnp.inf)


def _bar(scaled_BV, top_p_B, top_k_B):
  """The lowest score [B, 1] that is still drawn."""
  V = scaled_BV.shape[-1]
  ordered_BV = jnp.sort(scaled_BV, axis=-1, descending=True)
  last_B1 = jnp.where(top_k_B > 0, jnp.minimum(top_k_B, V), V)[:, None] - 1
  ordered_BV = jnp.where(ordered_BV >= jnp.take_along_axis(ordered_BV, last_B1, axis=-1), ordered_BV, -jnp.inf)
  share_BV = jax.nn.softmax(ordered_BV, axis=-1)
  before_BV = jnp.cumsum(share_BV, axis=-1) - share_BV
  # The last token that is still needed to reach top_p sets the bar; the first is always kept.
  top_p_B1 = jnp.where(top_p_B < 1, top_p_B, jnp.inf)[:, None]  # 1 cuts nothing, though a sum may round to it
  needed_BV = ((before_BV < top_p_B1) & (ordered_BV > -jnp.inf)).at[:, 0].set(True)
  return jnp.min(jnp.where(needed_BV, ordered_BV, jnp.inf), axis=-1, keepdims=True)
