"""Prompts into a cache: packed rows of whole prompts, and longer ones a piece at a time.

Prompts are packed as training rows are: no position is spent on padding to the longest. Each runs on the shard that
its row of the cache lies on, so that keys and values are written where they are made. One longer than `CHUNK` runs
in pieces behind its own keys (chunked prefill, Agrawal et al. 2023), so that activations never grow with its length.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.core import batch as batch_lib
from itune_jax.core import pack
from itune_jax.sampling.decode import row_state

BUCKET = 128  # the shortest packed row of prompts
CHUNK = 2048  # positions that run together on each data shard, about: a longer prompt is cut


class Prefilled(NamedTuple):
  """A cache with a row for each prompt, and the hidden state of each one's last token."""

  cache: Any
  last_BD: Any


class Packed(NamedTuple):
  """Prompts as rows, and where they go."""

  batch: batch_lib.Batch
  cache_rows_RT: np.ndarray
  last_B: np.ndarray  # where the last token of each row of the cache stands, in the flattened rows; -1 for none


def spread_out(lengths: Sequence[int], rooms: Sequence[int]) -> list[list[int]]:
  """Numbers of prompts by shard, which has room for so many: longest first, each to where the fewest positions are."""
  held: list[list[int]] = [[] for _ in rooms]
  load = [0] * len(rooms)
  for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
    shard = min((s for s, room in enumerate(rooms) if len(held[s]) < room), key=lambda s: load[s])
    held[shard].append(i)
    load[shard] += lengths[i]
  return held


def longest(lengths: Sequence[int], held: Sequence[Sequence[int]]) -> int:
  """Positions of the fullest shard."""
  return max(sum(lengths[i] for i in row) for row in held)


def places(held: Sequence[Sequence[int]], rows: int) -> dict[int, int]:
  """The row of a cache of `rows` that each prompt fills: one that lies on the prompt's shard."""
  each = rows // len(held)
  return {i: shard * each + k for shard, row in enumerate(held) for k, i in enumerate(row)}


def pack_prompts(prompts, images, own, held: Sequence[Sequence[int]], rows: int, row_length: int = 0) -> Packed:
  """Prompts in a packed row for each shard, of this length or twice as long as often as it takes: few shapes to
  compile. It begins at 32 positions for each of the cache's `rows`, at `CHUNK` at most, unless said otherwise."""
  lengths = list(map(len, prompts))
  row_length = row_length or max(BUCKET, min(CHUNK, 32 * rows // len(held)))
  while row_length < longest(lengths, held):
    row_length *= 2
  # A prompt of n tokens is n positions: pad the shifted target that fill() expects.
  item = lambda i: pack.Item(np.asarray([*prompts[i], 0], np.int32), np.zeros(lengths[i] + 1, np.float32), images[i])
  batch = pack.fill([[item(i) for i in row] for row in held], row_length)
  cache_rows, last_B = np.zeros(batch.tokens_BT.shape, np.int32), np.full(rows, -1, np.int32)
  numbers, place = np.zeros(batch.tokens_BT.shape, np.int32), places(held, rows)
  for r, row in enumerate(held):
    cache_rows[r] = r * (rows // len(held))
    at = 0
    for i in row:
      here = slice(at, at + lengths[i])
      cache_rows[r, here], numbers[r, here] = place[i], 0 if own is None else own[i]
      at += lengths[i]
      last_B[place[i]] = r * row_length + at - 1
  return Packed(batch if own is None else dataclasses.replace(batch, adapters_BT=numbers), cache_rows, last_B)


def whole(bind: Any, params: Any, packed: Packed, slots: int, lead: Any = None) -> Prefilled:
  """Runs packed prompts, behind `lead` (keys and values in front of all rows) where there is one."""
  batch = dataclasses.replace(packed.batch, positions_BT=packed.batch.positions_BT + np.int32(front(lead)))
  return program(bind)(params, batch, packed.cache_rows_RT, packed.last_B, slots, lead)


def in_pieces(bind, params, prompts: Sequence[Sequence[int]], own, held, rows: int, slots: int, lead=None) -> Prefilled:
  """The same for long prompts, a row each: what is over a multiple of `CHUNK`, then so much at a time."""
  place, lengths = places(held, rows), list(map(len, prompts))
  over = [(n - 1) % CHUNK + 1 for n in lengths]
  length = max(BUCKET, CHUNK // 4, 1 << (max(over) - 1).bit_length())
  own_B = None if own is None else np.zeros(rows, np.int32)
  if own_B is not None and own is not None:
    own_B[[place[i] for i in range(len(prompts))]] = own
  piece = functools.partial(_piece, prompts, place, own_B, rows, front(lead))
  first = piece([0] * len(prompts), over, length)
  done = program(bind)(params, first.batch, first.cache_rows_RT, first.last_B, slots, lead)
  for begins in range(0, max(n - first for n, first in zip(lengths, over, strict=True)), CHUNK):
    more = piece([n + begins for n in over], [n + begins + CHUNK for n in over], CHUNK)
    done = next_program(bind)(params, done, more.batch, more.last_B)
  return done


def _piece(prompts, place, own_B, rows: int, front: int, starts, ends, length: int) -> Packed:
  """Tokens from start to end of each prompt, one to a row; `last_B` is -1 where a row has none."""
  batch = pack.fill([[]] * rows, length)
  rows_BT = np.broadcast_to(np.arange(rows, dtype=np.int32)[:, None], (rows, length))
  last_B = np.full(rows, -1, np.int32)
  for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
    tokens, b = prompts[i][start:end], place[i]
    batch.tokens_BT[b, : len(tokens)], batch.segments_BT[b, : len(tokens)] = tokens, 1
    batch.positions_BT[b, : len(tokens)] = front + start + np.arange(len(tokens))
    batch.prefix_BT[b, : len(tokens)] = 1
    last_B[b] = b * length + len(tokens) - 1 if len(tokens) else -1
  return Packed(batch if own_B is None else dataclasses.replace(batch, adapters_BT=own_B[rows_BT]), rows_BT, last_B)


def front(lead: Any) -> int:
  """How many tokens stand in front of all rows."""
  return 0 if lead is None else lead[0].shape[-1]


def shards(bind) -> int:
  """Over how many devices rows of a cache are laid."""
  return math.prod(bind.mesh.shape.get(axis, 1) for axis in dict(bind.rules)["rows"])


def rows_for(count: int, shards: int) -> int:
  """Rows of a batch for so many: a power of two on each shard, to compile few shapes."""
  return shards << (-(-count // shards) - 1).bit_length()


@functools.lru_cache(maxsize=32)
def program(bind: Any) -> Callable:
  """`(params, batch, cache_rows_RT, last_B, slots, lead) -> Prefilled`, of one binder; jit adds a version per shape."""

  @functools.partial(jax.jit, static_argnums=4)
  def prefill(params, batch, cache_rows_RT, last_B, slots, lead=None):
    model = bind(params)
    ctx = model.context(batch, cache_rows_BT=cache_rows_RT)
    cache = row_state.spread(row_state.behind(model.empty_cache(last_B.shape[0], slots), lead), ctx)
    hidden_RTD, cache = model.decode(batch.tokens_BT, ctx, cache)
    return Prefilled(row_state.spread(cache, ctx), hidden_RTD.reshape(-1, hidden_RTD.shape[-1])[last_B])

  return prefill


@functools.lru_cache(maxsize=32)
def next_program(bind: Any) -> Callable:
  """`(params, prefilled, batch, last_B) -> Prefilled`: the next piece of every row; one at -1 has ended. What there was
  is donated."""

  @functools.partial(jax.jit, donate_argnums=1)
  def go_on(params, before, batch, last_B):
    model, (B, T) = bind(params), batch.tokens_BT.shape
    hidden_BTD, cache = model.decode(batch.tokens_BT, ctx := model.context(batch, goes_on=True), before.cache)
    last_BD = hidden_BTD.reshape(B * T, -1)[last_B].astype(before.last_BD.dtype)
    return Prefilled(row_state.spread(cache, ctx), jnp.where(last_B[:, None] < 0, before.last_BD, last_BD))

  return go_on
