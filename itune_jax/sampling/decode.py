"""Prefill and decoding as compiled functions on the training mesh.

Prompts are prefilled packed, as training rows are: no position is spent on padding to the longest. Then every row
has its own cursor in the cache, so the text of a row is the same in any batch.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.core import batch as batch_lib
from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import pack
from itune_jax.core import rng
from itune_jax.dist import shard
from itune_jax.nn import cache as cache_lib
from itune_jax.sampling import policy

BUCKET = 64  # cache slots are a multiple of it
PREFILL_BUCKET = 512  # the shortest packed row of prompts


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
    check.require(
      self.temperature >= 0 and 0 < self.top_p <= 1,
      f"Decode(temperature={self.temperature}, top_p={self.top_p}): temperature >= 0 and top_p in (0, 1]",
    )


@dataclasses.dataclass(frozen=True)
class Generation:
  """New tokens of one prompt, without the stop token, and their log-probabilities (natural log)."""

  tokens: list[int]
  logprobs: list[float]
  stopped: bool


def generate(
  bind: Callable,
  params: Any,
  prompts: Sequence[Sequence[int]],
  decode: Decode,
  stop_ids: Sequence[int],
  max_length: int,
  progress: Callable[[int], None] = lambda n: None,
  images: Sequence[Any] = (),
  one_token: tuple[Any, Any] | None = None,
  adapters: Sequence[int] | None = None,
) -> list[Generation]:
  """Continues prompts of token ids, in the order given. images: pixels [I, H, W, 3] of each prompt or None.

  adapters: the number of each prompt's adapter, where several ride on one base (`peft.mixed`).

  one_token: what `for_one_token` gave for these parameters, where it is kept from call to call.

  Raises InputError when a prompt leaves no room for a new token in `max_length` positions, or is empty.
  """
  for i, prompt in enumerate(prompts):
    if not 0 < len(prompt) < max_length:
      raise errors.InputError(f"prompt {i} has {len(prompt)} tokens; the model takes 1 to {max_length - 1}")
  order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
  found: dict[int, Generation] = {}
  stops = jnp.asarray(sorted(set(stop_ids)) or [-1], jnp.int32)
  key = rng.named(rng.root(decode.seed), "sample")
  prefill = prefill_program(bind)
  loop_bind, loop_params = one_token or for_one_token(bind, params)
  loop = loop_program(loop_bind, decode.max_new_tokens)
  for at in range(0, len(order), decode.batch):
    members = order[at : at + decode.batch]
    seen = [images[i] if images else None for i in members]
    own = None if adapters is None else [adapters[i] for i in members]
    packed = pack_prompts([prompts[i] for i in members], seen, own, decode.batch, shards(bind))
    slots = -(-(max(len(prompts[i]) for i in members) + decode.max_new_tokens) // BUCKET) * BUCKET
    keys_B = jnp.stack([rng.named(key, i) for i in members + members[-1:] * (decode.batch - len(members))])
    live_B = jnp.arange(decode.batch) < len(members)
    cache, last_BD = prefill(params, packed.batch, packed.cache_rows_RT, packed.last_B, slots)
    out, logprobs, counts, stopped = jax.device_get(
      loop(
        loop_params,
        cache,
        last_BD,
        packed.lengths_B,
        keys_B,
        live_B,
        packed.own_B,
        jnp.float32(decode.temperature),
        jnp.float32(decode.top_p),
        stops,
      )
    )
    for b, i in enumerate(members):
      n = min(int(counts[b]), max_length - len(prompts[i]))
      found[i] = Generation(out[b, :n].tolist(), logprobs[b, :n].tolist(), bool(stopped[b]))
    progress(len(members))
  return [found[i] for i in range(len(prompts))]


class Packed(NamedTuple):
  """Prompts as rows, and where they go."""

  batch: batch_lib.Batch
  cache_rows_RT: np.ndarray
  last_B: np.ndarray  # where each prompt's last token stands, in the flattened rows
  lengths_B: np.ndarray
  own_B: np.ndarray | None  # the number of each row's adapter


def pack_prompts(prompts, images, own, batch: int, shards: int, bucket: int = 0) -> Packed:
  """Prompts in `shards` packed rows. Their length is a multiple of `bucket`, or grows by half from bucket to bucket, to
  compile few shapes."""
  lengths = list(map(len, prompts))
  row_length = -(-max(max(lengths), -(-sum(lengths) // shards)) // bucket) * bucket if bucket else PREFILL_BUCKET
  while row_length < max(lengths) or len(rows := pack.best_fit_decreasing(lengths, row_length)) > shards:
    row_length += bucket or row_length // 2
  rows += [[]] * (shards - len(rows))
  # A prompt of n tokens is n positions: pad the shifted target that fill() expects.
  item = lambda i: pack.Item(np.asarray([*prompts[i], 0], np.int32), np.zeros(lengths[i] + 1, np.float32), images[i])
  filled = pack.fill([[item(i) for i in row] for row in rows], row_length)
  cache_rows, last_B = np.zeros(filled.tokens_BT.shape, np.int32), np.zeros(batch, np.int32)
  for r, row in enumerate(rows):
    at = 0
    for i in row:
      cache_rows[r, at : at + lengths[i]] = i
      at += lengths[i]
      last_B[i] = r * row_length + at - 1
  own_B = None if own is None else np.asarray([*own, *[0] * (batch - len(own))], np.int32)
  filled = filled if own_B is None else dataclasses.replace(filled, adapters_BT=own_B[cache_rows])
  return Packed(filled, cache_rows, last_B, np.asarray(lengths + [1] * (batch - len(lengths)), np.int32), own_B)


def shards(bind) -> int:
  """Over how many devices rows are laid."""
  return bind.mesh.shape.get("data", 1) * bind.mesh.shape.get("fsdp", 1)


def cache_axes(x: Any) -> tuple[str | None, ...]:
  """How an array of a cache lies on the mesh: keys and values, or positions."""
  return ("batch", "kv_heads", None, None) if x.ndim >= 4 else ("batch", None)


def for_one_token(bind: Any, params: Any) -> tuple[Any, Any]:
  """The binder and parameters that `loop_program` is fastest on. On CPU they are a second copy of the layers.

  There, cutting a layer out of a stack takes as long as using it for one token. Prompts do not mind.
  """
  return bind.apart(params) if bind.mesh.devices.flat[0].platform == "cpu" else (bind, params)


def _spread(cache, ctx):
  return jax.tree.map(lambda x: ctx.constrain(x, cache_axes(x)), cache)


@functools.lru_cache(maxsize=32)
def prefill_program(bind: Any) -> Callable:
  """The compiled prefill of one binder; jit adds one version per shape."""

  @functools.partial(jax.jit, static_argnums=4)
  def prefill(params, batch, cache_rows_RT, last_B, slots):
    model = bind(params)
    ctx = model.context(batch, cache_rows_BT=cache_rows_RT)
    cache = _spread(model.empty_cache(last_B.shape[0], slots), ctx)
    hidden_RTD, cache = model.decode(batch.tokens_BT, ctx, cache)
    return _spread(cache, ctx), hidden_RTD.reshape(-1, hidden_RTD.shape[-1])[last_B]

  return prefill


@functools.lru_cache(maxsize=32)
def loop_program(bind: Any, new: int) -> Callable:
  """The compiled decoding of `new` tokens of one binder; jit adds one version per shape."""

  @jax.jit
  def loop(params, cache, last_BD, lengths_B, keys_B, live_B, own_B, temperature, top_p, stops):
    model = bind(params)
    B = lengths_B.shape[0]
    if model.is_apart:
      cache = jax.tree.map(lambda c: c.by_layer(), cache, is_leaf=lambda c: isinstance(c, cache_lib.Cache))

    def context(positions_BT, valid_BT):
      own_BT = None if own_B is None else own_B[:, None]
      return model.context(
        batch_lib.Batch(None, None, None, valid_BT.astype(jnp.int32), positions_BT, adapters_BT=own_BT)
      )

    def pick(step, hidden_BD, done_B, count_B, out_BS, logprob_BS):
      """Chooses token number `step` of every row and books it, unless it ends the row."""
      keys = jax.vmap(jax.random.fold_in, (0, None))(keys_B, step)
      token_B, logprob_B = policy.choose(model.project(hidden_BD), keys, temperature, top_p)
      done_B |= jnp.any(token_B[:, None] == stops[None], axis=1)
      out_BS = out_BS.at[:, step].set(jnp.where(done_B, 0, token_B))
      logprob_BS = logprob_BS.at[:, step].set(jnp.where(done_B, 0, logprob_B))
      return token_B, done_B, count_B + ~done_B, out_BS, logprob_BS

    def alive(carry):
      step, _, (_, done_B, *_) = carry
      return (step < new) & ~jnp.all(done_B)

    def advance(carry):
      step, cache, (token_B, done_B, *books) = carry
      ctx = context((lengths_B + step - 1)[:, None], ~done_B[:, None])
      hidden_B1D, cache = model.decode(token_B[:, None], ctx, cache)
      return step + 1, _spread(cache, ctx), pick(step, hidden_B1D[:, 0], done_B, *books)

    first = pick(
      0, last_BD, ~live_B, jnp.zeros(B, jnp.int32), jnp.zeros((B, new), jnp.int32), jnp.zeros((B, new), jnp.float32)
    )
    _, _, (_, done_B, count_B, out_BS, logprob_BS) = jax.lax.while_loop(alive, advance, (jnp.int32(1), cache, first))
    return shard.everywhere((out_BS, logprob_BS, count_B, done_B), bind.mesh)

  return loop
