"""Prefill and decoding as compiled functions on the training mesh.

A batch is a number of rows of a cache. The loop runs until enough rows have ended; their texts are taken out, waiting
prompts are prefilled into their places, and it goes on (continuous batching, Yu et al. 2022): no row waits for a slower
one. Prompts are prefilled packed, as training rows are: no position is spent on padding to the longest. What all of
them begin with runs once and is kept once, in front of all rows. Every row has its own cursor and keys, so its text is
the same in any company.
"""

import collections
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
from itune_jax.sampling import rows as rows_lib

PREFILL_BUCKET = 128  # the shortest packed row of prompts
REFILL = 4  # rows are refilled when a quarter of them has ended
SHARED = 64  # tokens that all prompts begin with are shared by so many: a multiple, to compile few shapes


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
  limits: Sequence[int] | None = None,
) -> list[Generation]:
  """Continues prompts of token ids, in the order given. images: pixels [I, H, W, 3] of each prompt or None.

  adapters: the number of each prompt's adapter, where several ride on one base (`peft.mixed`). limits: of each prompt's
  new tokens, below `max_new_tokens`.

  one_token: what `for_one_token` gave for these parameters, where it is kept from call to call.

  Raises InputError when a prompt leaves no room for a new token in `max_length` positions, or is empty.
  """
  for i, prompt in enumerate(prompts):
    if not 0 < len(prompt) < max_length:
      raise errors.InputError(f"prompt {i} has {len(prompt)} tokens; the model takes 1 to {max_length - 1}")
  room = [min(decode.max_new_tokens, max_length - len(p)) for p in prompts]
  room = room if limits is None else list(map(min, room, limits))
  whole = any(x is not None for x in images) or adapters is not None or not bind(params).can_share
  front = 0 if whole else _in_common(prompts)
  lead = _lead(bind, params, prompts[0][:front]) if front else None
  given = _Given(bind, params, [p[front:] for p in prompts], decode, images, adapters, room, lead)
  loop_bind, loop_params = one_token or for_one_token(bind, params)
  loop, admit = rows_lib.loop_program(loop_bind), rows_lib.admit_program(loop_bind)
  stops = jnp.asarray(sorted(set(stop_ids)) or [-1], jnp.int32)
  how = rows_lib.Sampling(jnp.float32(decode.temperature), jnp.float32(decode.top_p), stops)
  waiting = collections.deque(sorted(range(len(prompts)), key=lambda i: len(prompts[i])))
  holders: list[int | None] = [None] * decode.batch
  found: dict[int, Generation] = {}
  state = None
  while len(found) < len(prompts):
    free = [row for row, holder in enumerate(holders) if holder is None][: len(waiting)]
    if free:
      members = [waiting.popleft() for _ in free]
      slots = rows_lib.slots_for(max(len(given.prompts[i]) for i in members) + decode.max_new_tokens)
      size = (decode.batch, decode.max_new_tokens, adapters is not None)
      state = rows_lib.with_room(loop_bind, loop_params, state, slots, *size, lead)
      state = admit(loop_params, state, given.prefilled(members, free), how)
      for row, i in zip(free, members, strict=True):
        holders[row] = i
    enough = holders.count(None) + max(1, decode.batch // REFILL) if waiting else decode.batch
    state = loop(loop_params, state, min(enough, decode.batch), how)
    texts = jax.device_get(rows_lib.texts_program(loop_bind)(state))
    for row, i in enumerate(holders):
      if i is not None and texts.done_B[row]:
        n = int(texts.count_B[row])
        out = (texts.out_BS[row, :n].tolist(), texts.logprob_BS[row, :n].tolist(), bool(texts.stopped_B[row]))
        found[i], holders[row] = Generation(*out), None
        progress(1)
  return [found[i] for i in range(len(prompts))]


@dataclasses.dataclass(frozen=True)
class _Given:
  """What is to be continued: prompts without what all of them begin with, whose keys and values are `lead`."""

  bind: Any
  params: Any
  prompts: Sequence[Sequence[int]]
  decode: Decode
  images: Sequence[Any]
  adapters: Sequence[int] | None
  limits: Sequence[int]
  lead: tuple[Any, Any] | None

  @property
  def front(self) -> int:
    """How many tokens stand in front of all rows."""
    return 0 if self.lead is None else self.lead[0].shape[-1]

  def prefilled(self, members: Sequence[int], rows: Sequence[int]) -> rows_lib.Entering:
    """Prompts that enter these rows. Of equal ones the first is prefilled, for all of them."""
    places: dict[Any, int] = {}
    froms = [places.setdefault(self._what(i), len(places)) for i in members]
    firsts = [members[froms.index(place)] for place in range(len(places))]
    # As many rows as enter at a time or more: fewer would be other shapes to compile, and hold nothing large.
    count = lambda members: rows_for(max(len(members), self.decode.batch // REFILL), shards(self.bind))
    packed = pack_prompts(
      [self.prompts[i] for i in firsts],
      [self.images[i] if self.images else None for i in firsts],
      self._own(firsts, len(firsts)),
      count(firsts),
      shards(self.bind),
    )
    batch = dataclasses.replace(packed.batch, positions_BT=packed.batch.positions_BT + np.int32(self.front))
    slots = rows_lib.slots_for(max(len(self.prompts[i]) for i in members))
    given = batch, packed.cache_rows_RT, packed.last_B, slots, self.lead
    cache, last_BD = prefill_program(self.bind)(self.params, *given)
    few = count(members)
    fill = lambda values, value: np.asarray([*values, *[value] * (few - len(members))], np.int32)
    if len(firsts) < len(members):
      cache, last_BD = rows_lib.repeat_program(self.bind)(cache, last_BD, fill(froms, 0))
    key = rng.named(rng.root(self.decode.seed), "sample")
    keys = jnp.stack([rng.named(key, i) for i in [*members, *members[-1:] * (few - len(members))]])
    rows_R = fill(rows, self.decode.batch)  # those behind are dropped
    lengths_R = fill((self.front + len(self.prompts[i]) for i in members), 1)
    limits_R = fill((self.limits[i] for i in members), 1)
    return rows_lib.Entering(cache, last_BD, rows_R, lengths_R, limits_R, keys, self._own(members, few))

  def _what(self, i: int) -> Any:
    """All that the prefill of a prompt depends on."""
    return tuple(self.prompts[i]), id(self.images[i]) if self.images else None, self.adapters and self.adapters[i]

  def _own(self, members: Sequence[int], count: int) -> np.ndarray | None:
    if self.adapters is None:
      return None
    return np.asarray([*(self.adapters[i] for i in members), *[0] * (count - len(members))], np.int32)


def _in_common(prompts: Sequence[Sequence[int]]) -> int:
  """How many first tokens all of several prompts share, in whole SHAREDs, each keeping one of its own."""
  if len(prompts) < 2:
    return 0
  low, high = min(prompts), max(prompts)  # in the order of words: what these share, all do
  most = min(map(len, prompts)) - 1
  same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), most)
  return min(same, most) // SHARED * SHARED


def _lead(bind: Any, params: Any, tokens: Sequence[int]) -> Any:
  """Keys [L, K, H, P] and values [L, K, P, H] of what stands in front of all rows."""
  P, n = len(tokens), shards(bind)
  packed = pack_prompts([tokens], [None], None, n, n, P)
  cache, _ = prefill_program(bind)(params, packed.batch, packed.cache_rows_RT, packed.last_B, P)
  return rows_lib.lead_program(bind)(cache)


class Packed(NamedTuple):
  """Prompts as rows, and where they go."""

  batch: batch_lib.Batch
  cache_rows_RT: np.ndarray
  last_B: np.ndarray  # where each prompt's last token stands, in the flattened rows


def pack_prompts(prompts, images, own, batch: int, shards: int, row_length: int = 0) -> Packed:
  """Prompts in `shards` packed rows of this length, or twice as long as often as it takes: few shapes to compile. It
  begins at 32 positions for each of `batch` prompts, unless said otherwise."""
  lengths = list(map(len, prompts))
  row_length = row_length or max(PREFILL_BUCKET, 32 * batch // shards)
  while row_length < max(lengths) or len(rows := pack.best_fit_decreasing(lengths, row_length)) > shards:
    row_length *= 2
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
  filled = filled if own is None else dataclasses.replace(filled, adapters_BT=np.asarray(own, np.int32)[cache_rows])
  return Packed(filled, cache_rows, last_B)


def shards(bind) -> int:
  """Over how many devices rows are laid."""
  return bind.mesh.shape.get("data", 1) * bind.mesh.shape.get("fsdp", 1)


def rows_for(count: int, shards: int) -> int:
  """Rows of a batch for so many: a power of two on each shard, to compile few shapes."""
  return shards << (-(-count // shards) - 1).bit_length()


def for_one_token(bind: Any, params: Any) -> tuple[Any, Any]:
  """The binder and parameters that `loop_program` is fastest on. On CPU they are a second copy of the layers.

  There, cutting a layer out of a stack takes as long as using it for one token. Prompts do not mind.
  """
  return bind.apart(params) if bind.mesh.devices.flat[0].platform == "cpu" else (bind, params)


@functools.lru_cache(maxsize=32)
def prefill_program(bind: Any) -> Callable:
  """The compiled prefill of one binder; jit adds one version per shape."""

  @functools.partial(jax.jit, static_argnums=4)
  def prefill(params, batch, cache_rows_RT, last_B, slots, lead=None):
    model = bind(params)
    ctx = model.context(batch, cache_rows_BT=cache_rows_RT)
    cache = rows_lib.spread(rows_lib.behind(model.empty_cache(last_B.shape[0], slots), lead), ctx)
    hidden_RTD, cache = model.decode(batch.tokens_BT, ctx, cache)
    return rows_lib.spread(cache, ctx), hidden_RTD.reshape(-1, hidden_RTD.shape[-1])[last_B]

  return prefill
