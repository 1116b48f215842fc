"""Prefill and decoding as compiled functions on the training mesh.

A batch is a number of rows of a cache. The loop runs until enough rows have ended; their texts are taken out, waiting
prompts are prefilled into their places, and it goes on (continuous batching, Yu et al. 2022): no row waits for a slower
one. What all prompts begin with runs once and is kept once, in front of all rows. Every row has its own cursor and
keys, so its text is the same in any company.
"""

import collections
from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import rng
from itune_jax.sampling import one_token as one_token_lib
from itune_jax.sampling import prefill
from itune_jax.sampling import rows as rows_lib

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

  one_token: what `one_token.prepare` gave for these parameters, where it is kept from call to call.

  Raises InputError when a prompt leaves no room for a new token in `max_length` positions, or is empty.
  """
  for i, prompt in enumerate(prompts):
    if not 0 < len(prompt) < max_length:
      raise errors.InputError(f"prompt {i} has {len(prompt)} tokens; the model takes 1 to {max_length - 1}")
  room = [min(decode.max_new_tokens, max_length - len(p)) for p in prompts]
  room = room if limits is None else list(map(min, room, limits))
  cuts = all(x is None for x in images) and bind(params).can_share
  front = _in_common(prompts) if cuts and adapters is None else 0
  lead = _lead(bind, params, prompts[0][:front]) if front else None
  given = _Given(bind, params, [p[front:] for p in prompts], decode, images, adapters, room, lead, cuts)
  loop_bind, loop_params = one_token or one_token_lib.prepare(bind, params)
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
      for group in given.groups(members):
        entering, rows = given.entering(group, [row for row, holder in enumerate(holders) if holder is None])
        state = admit(loop_params, state, entering, how)
        for row, i in zip(rows, group, strict=True):
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
  cuts: bool  # whether a prompt may run in pieces

  @property
  def front(self) -> int:
    """How many tokens stand in front of all rows."""
    return 0 if self.lead is None else self.lead[0].shape[-1]

  def groups(self, members: Sequence[int]) -> list[list[int]]:
    """Prompts that run together: as many as make `prefill.CHUNK` positions on each shard, equal ones counted once;
    those that are longer, one to a shard."""
    shards = prefill.shards(self.bind)
    equal: dict[Any, list[int]] = {}
    for i in members:
      equal.setdefault(self._what(i), []).append(i)
    long = [same for same in equal.values() if self._is_long(same[0])]
    groups = [sum(long[at : at + shards], []) for at in range(0, len(long), shards)]
    room = 0
    for same in equal.values():
      n = len(self.prompts[same[0]])
      if not self._is_long(same[0]):
        if n > room:
          groups.append([])
          room = prefill.CHUNK * shards
        groups[-1] += same
        room -= n
    return groups

  def _is_long(self, i: int) -> bool:
    return self.cuts and len(self.prompts[i]) > prefill.CHUNK

  def entering(self, members: Sequence[int], free: Sequence[int]) -> tuple[rows_lib.Entering, list[int]]:
    """Prompts that enter free rows, and which. Of equal ones the first is prefilled, for all of them."""
    firsts = {self._what(i): i for i in reversed(members)}
    unique = [i for i in members if firsts[self._what(i)] == i]
    by_shard = self._by_shard(free)
    once = len(unique) == len(members)
    rooms = [len(rows) if once else len(unique) for rows in by_shard]
    held = prefill.spread_out([len(self.prompts[i]) for i in unique], rooms)
    (cache, last_BD), at = self._run(unique, held)
    if not once:
      place, held = {i: at[k] for k, i in enumerate(unique)}, self._in_turn(free[: len(members)], by_shard)
      at = prefill.places(held, self._count(held))
      froms_R = self._by_row(at, [place[firsts[self._what(i)]] for i in members], self._count(held), 0)
      cache, last_BD = rows_lib.repeat_program(self.bind)(cache, last_BD, froms_R)
    rows = {i: by_shard[shard][k] for shard, row in enumerate(held) for k, i in enumerate(row)}
    fill = functools.partial(self._by_row, at, count=last_BD.shape[0])
    key = rng.named(rng.root(self.decode.seed), "sample")
    keys = jnp.stack([rng.named(key, int(i)) for i in fill(members, value=0)])
    entering = rows_lib.Entering(
      cache,
      last_BD,
      fill([rows[k] for k in range(len(members))], value=self.decode.batch),  # a row behind the last is dropped
      fill([self.front + len(self.prompts[i]) for i in members], value=1),
      fill([self.limits[i] for i in members], value=1),
      keys,
      None if self.adapters is None else fill([self.adapters[i] for i in members], value=0),
    )
    return entering, [rows[k] for k in range(len(members))]

  def _run(self, members: Sequence[int], held: Sequence[Sequence[int]]) -> tuple[prefill.Prefilled, dict[int, int]]:
    """The cache of these prompts, all of them different, and the row of each."""
    bind, prompts, count = self.bind, [self.prompts[i] for i in members], self._count(held)
    slots = rows_lib.slots_for(max(map(len, prompts)))
    own = None if self.adapters is None else [self.adapters[i] for i in members]
    at = prefill.places(held, count)
    if self._is_long(members[0]):
      count = prefill.rows_for(max(map(len, held)) * len(held), len(held))
      at = prefill.places(held, count)
      return prefill.in_pieces(bind, self.params, prompts, own, held, count, slots, self.lead), at
    images = [self.images[i] if self.images else None for i in members]
    return prefill.whole(
      bind, self.params, prefill.pack_prompts(prompts, images, own, held, count), slots, self.lead
    ), at

  def _by_shard(self, free: Sequence[int]) -> list[list[int]]:
    """Free rows by the shard that they lie on; where rows are on none of their own, an even part for each."""
    shards = prefill.shards(self.bind)
    each, rest = divmod(self.decode.batch, shards)
    on = lambda k, row: k % shards if rest else row // each
    return [[row for k, row in enumerate(free) if on(k, row) == shard] for shard in range(shards)]

  def _in_turn(self, rows: Sequence[int], by_shard: Sequence[Sequence[int]]) -> list[list[int]]:
    """Numbers of members by shard, where each takes the next of these rows."""
    return [[k for k, row in enumerate(rows) if row in own] for own in by_shard]

  def _by_row(self, at: dict[int, int], values: Sequence[int], count: int, value: int) -> np.ndarray:
    """Members' values [R] by the rows of the cache that they fill; `value` where there is none."""
    found = np.full(count, value, np.int32)
    found[[at[k] for k in range(len(values))]] = values
    return found

  def _count(self, held: Sequence[Sequence[int]]) -> int:
    """Rows for so many: those that enter at a time, or more. Fewer would be other shapes to compile, and hold nothing
    large."""
    return prefill.rows_for(max(max(map(len, held)) * len(held), self.decode.batch // REFILL), len(held))

  def _what(self, i: int) -> Any:
    """All that the prefill of a prompt depends on."""
    return tuple(self.prompts[i]), id(self.images[i]) if self.images else None, self.adapters and self.adapters[i]


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
  P, n = len(tokens), prefill.shards(bind)
  held = [[0], *[[] for _ in range(n - 1)]]
  if P > prefill.CHUNK:
    cache, _ = prefill.in_pieces(bind, params, [tokens], None, held, n, P)
  else:
    cache, _ = prefill.whole(bind, params, prefill.pack_prompts([tokens], [None], None, held, n, P), P)
  return rows_lib.lead_program(bind)(cache)
