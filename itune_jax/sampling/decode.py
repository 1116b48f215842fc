"""Prefill and decoding as one compiled function on the training mesh.

Prompts are padded on the right to a bucket; every row has its own cursor, so no row sees padding and the text of
a row is the same in any batch. One program per (rows, prompt bucket, new tokens).
"""
from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.core import batch as batch_lib
from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import rng
from itune_jax.sampling import policy

BUCKET = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decode:
  """How to generate. Temperature 0 is greedy; `batch` rows ride together."""
  max_new_tokens: int = 64
  temperature: float = 0.0
  top_p: float = 1.0
  seed: int = 0
  batch: int = 16

  def __post_init__(self):
    check.check_types(self)
    check.require(self.max_new_tokens > 0 and self.batch > 0, "Decode.max_new_tokens and Decode.batch must be positive")
    check.require(self.temperature >= 0 and 0 < self.top_p <= 1,
                  f"Decode(temperature={self.temperature}, top_p={self.top_p}): temperature >= 0 and top_p in (0, 1]")


@dataclasses.dataclass(frozen=True)
class Generation:
  """New tokens of one prompt, without the stop token, and their log-probabilities (natural log)."""
  tokens: list[int]
  logprobs: list[float]
  stopped: bool


def generate(bind: Callable, params: Any, prompts: Sequence[Sequence[int]], decode: Decode, stop_ids: Sequence[int],
             max_length: int, progress: Callable[[int], None] = lambda n: None) -> list[Generation]:
  """Continues prompts of token ids, in the order given.

  Raises InputError when a prompt leaves no room for a new token in `max_length` positions, or is empty.
  """
  for i, prompt in enumerate(prompts):
    if not 0 < len(prompt) < max_length:
      raise errors.InputError(f"prompt {i} has {len(prompt)} tokens; the model takes 1 to {max_length - 1}")
  order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
  found: dict[int, Generation] = {}
  stops = jnp.asarray(sorted(set(stop_ids)) or [-1], jnp.int32)
  for at in range(0, len(order), decode.batch):
    members = order[at:at + decode.batch]
    tokens_BT, lengths_B = _pad([prompts[i] for i in members], decode.batch)
    key = rng.named(rng.root(decode.seed), "sample")
    keys_B = jnp.stack([rng.named(key, i) for i in members + members[-1:] * (decode.batch - len(members))])
    live = jnp.arange(decode.batch) < len(members)
    out, logprobs, counts, stopped = jax.device_get(_program(bind, decode.max_new_tokens)(
        params, tokens_BT, lengths_B, keys_B, live, jnp.float32(decode.temperature), jnp.float32(decode.top_p), stops))
    for b, i in enumerate(members):
      n = min(int(counts[b]), max_length - len(prompts[i]))
      found[i] = Generation(out[b, :n].tolist(), logprobs[b, :n].tolist(), bool(stopped[b]))
    progress(len(members))
  return [found[i] for i in range(len(prompts))]


def _pad(prompts, batch):
  longest = -(-max(map(len, prompts)) // BUCKET) * BUCKET
  tokens_BT = np.zeros((batch, longest), np.int32)
  lengths_B = np.ones(batch, np.int32)
  for b, prompt in enumerate(prompts):
    tokens_BT[b, :len(prompt)], lengths_B[b] = prompt, len(prompt)
  return tokens_BT, lengths_B


@functools.lru_cache(maxsize=32)
def _program(bind: Callable, new: int) -> Callable:
  """The compiled program of one binder; jit adds one version per shape."""

  @jax.jit
  def run(params, tokens_BT, lengths_B, keys_B, live_B, temperature, top_p, stops):
    model = bind(params)
    B, T = tokens_BT.shape
    constrain = lambda cache, ctx: jax.tree.map(
        lambda x: ctx.constrain(x, ("layers", "batch", None, "kv_heads", "head_dim")[:x.ndim] if x.ndim == 5 else ("batch", None)), cache)

    def context(positions_BT, valid_BT):
      return model.context(batch_lib.Batch(None, None, None, valid_BT.astype(jnp.int32), positions_BT))

    positions_BT = jnp.broadcast_to(jnp.arange(T)[None], (B, T))
    ctx = context(positions_BT, positions_BT < lengths_B[:, None])
    cache = constrain(model.empty_cache(B, T + new), ctx)
    hidden_BTD, cache = model.decode(tokens_BT, ctx, cache)
    last_BD = jnp.take_along_axis(hidden_BTD, (lengths_B - 1)[:, None, None], axis=1)[:, 0]

    def pick(hidden_BD, step):
      keys = jax.vmap(jax.random.fold_in, (0, None))(keys_B, step)
      return policy.choose(model.project(hidden_BD), keys, temperature, top_p)

    def alive(carry):
      step, _, done_B, *_ = carry
      return (step < new) & ~jnp.all(done_B)

    def advance(carry):
      step, hidden_BD, done_B, count_B, out_BS, logprob_BS, cache = carry
      token_B, logprob_B = pick(hidden_BD, step)
      stop_B = jnp.any(token_B[:, None] == stops[None], axis=1)
      write_B = ~done_B & ~stop_B
      out_BS = out_BS.at[:, step].set(jnp.where(write_B, token_B, 0))
      logprob_BS = logprob_BS.at[:, step].set(jnp.where(write_B, logprob_B, 0))
      ctx = context((lengths_B + step)[:, None], write_B[:, None])
      hidden_B1D, cache = jax.lax.cond(
          jnp.any(write_B) & (step + 1 < new), lambda c: model.decode(token_B[:, None], ctx, c),
          lambda c: (hidden_BD[:, None], c), cache)
      return (step + 1, hidden_B1D[:, 0], done_B | stop_B, count_B + write_B, out_BS, logprob_BS, constrain(cache, ctx))

    start = (jnp.int32(0), last_BD, ~live_B, jnp.zeros(B, jnp.int32), jnp.zeros((B, new), jnp.int32),
             jnp.zeros((B, new), jnp.float32), cache)
    _, _, done_B, count_B, out_BS, logprob_BS, _ = jax.lax.while_loop(alive, advance, start)
    return out_BS, logprob_BS, count_B, done_B

  return run
