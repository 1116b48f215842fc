"""Prefill and decoding as compiled functions on the training mesh.

A batch is a number of rows of a cache. The loop runs until enough rows have ended; their texts are taken out, waiting
prompts are prefilled into their places, and it goes on (continuous batching, Yu et al. 2022): no row waits for a slower
one. What all prompts begin with runs once and is kept once, in front of all rows. Every row has its own cursor and
keys, so its text is the same in any company.
"""

import collections
from collections.abc import Callable, Sequence
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import rng
from itune_jax.sampling.decode import one_token as one_token_lib
from itune_jax.sampling.decode import prefill
from itune_jax.sampling.decode import row_state
from itune_jax.sampling.decode import turns as turns_lib

REFILL = 8  # rows are refilled when an eighth of them has ended
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
  new tokens, below `max_new_tokens`. one_token: what `one_token.prepare` gave for these parameters, where it is kept
  from call to call.

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
  loop, admit = row_state.loop_program(loop_bind), row_state.admit_program(loop_bind)
  how = _sampling(decode, stop_ids)
  waiting = collections.deque(sorted(range(len(prompts)), key=lambda i: len(prompts[i])))
  holders: list[int | None] = [None] * decode.batch
  found: dict[int, Generation] = {}
  state = None
  while len(found) < len(prompts):
    free = [row for row, holder in enumerate(holders) if holder is None]
    if members := [waiting.popleft() for _ in free[: len(waiting)]]:
      slots = row_state.slots_for(max(len(given.prompts[i]) for i in members) + decode.max_new_tokens)
      size = (decode.batch, decode.max_new_tokens, adapters is not None)
      state = row_state.with_room(loop_bind, loop_params, state, slots, *size, lead)
      for turn in given.turns(members, free):
        state = admit(loop_params, state, given.entering(turn), how)
        for unit in (unit for units in turn.units for unit in units):
          for row, i in zip(unit.rows, unit.members, strict=True):
            holders[row] = i
    half = None if waiting else row_state.enough_to_halve(loop_bind, len(holders))
    if half and holders.count(None) >= half:
      state, holders = row_state.halved(loop_bind, state, holders)
      continue
    enough = holders.count(None) + max(1, decode.batch // REFILL) if waiting else half or len(holders)
    state = loop(loop_params, state, min(enough, len(holders)), how)
    texts = jax.device_get(row_state.texts_program(loop_bind)(state))
    for row, i in enumerate(holders):
      if i is not None and texts.done_B[row]:
        found[i], holders[row] = _generation(texts, row), None
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

  def turns(self, members: Sequence[int], free: Sequence[int]) -> list[turns_lib.Turn]:
    """What runs after what until all these prompts are in free rows."""
    equal: dict[Any, list[int]] = {}
    for i in members:
      equal.setdefault(self._what(i), []).append(i)
    shards = prefill.shards(self.bind)
    each, rest = divmod(self.decode.batch, shards)
    on = lambda k, row: k % shards if rest else row // each  # where rows are on no shard of their own, in turn
    by_shard = [[row for k, row in enumerate(free) if on(k, row) == shard] for shard in range(shards)]
    return turns_lib.plan(list(equal.values()), list(map(len, self.prompts)), by_shard, prefill.CHUNK, self.cuts)

  def entering(self, turn: turns_lib.Turn) -> row_state.Entering:
    """The prompts of a turn, run, and where they go: from which row of its cache into which one."""
    cache, last_BD = self._run(turn)
    most = max(len(unit.members) for units in turn.units for unit in units)
    ran = last_BD.shape[0] // len(turn.units)
    count = ran if most == 1 else self._count(max(sum(len(u.members) for u in units) for units in turn.units), turn)
    fill = lambda value: np.full((len(turn.units), count), value, np.int32)
    froms, rows, members = fill(0), fill(self.decode.batch), fill(-1)  # a row behind the last is dropped
    for shard, units in enumerate(turn.units):
      froms[shard] = shard * ran
      at = 0
      for k, unit in enumerate(units):
        here = (shard, slice(at, at + len(unit.members)))
        froms[here], rows[here], members[here] = shard * ran + k, unit.rows, unit.members
        at += len(unit.members)
    of = lambda values, none: np.asarray([none if i < 0 else values(i) for i in members.ravel()], np.int32)
    key = rng.named(rng.root(self.decode.seed), "sample")
    return row_state.Entering(
      cache,
      last_BD,
      froms.ravel(),
      rows.ravel(),
      of(lambda i: prefill.front(self.lead) + len(self.prompts[i]), 1),
      of(lambda i: self.limits[i], 1),
      jnp.stack([rng.named(key, max(int(i), 0)) for i in members.ravel()]),
      None if (adapters := self.adapters) is None else of(lambda i: adapters[i], 0),
    )

  def _run(self, turn: turns_lib.Turn) -> prefill.Prefilled:
    """The cache of the prompts of a turn, all of them different."""
    bind, firsts, held = self.bind, turn.firsts, turn.held
    prompts = [self.prompts[i] for i in firsts]
    slots, count = row_state.slots_for(max(map(len, prompts))), max(map(len, held))
    own = None if self.adapters is None else [self.adapters[i] for i in firsts]
    if turn.is_long:
      rows = prefill.rows_for(count * len(held), len(held))
      return prefill.in_pieces(bind, self.params, prompts, own, held, rows, slots, self.lead)
    images = [self.images[i] if self.images else None for i in firsts]
    packed = prefill.pack_prompts(prompts, images, own, held, self._count(count, turn) * len(held))
    return prefill.whole(bind, self.params, packed, slots, self.lead)

  def _count(self, most: int, turn: turns_lib.Turn) -> int:
    """Rows on each shard for so many: those that enter at a time, or more. Fewer would be other shapes to compile, and
    hold nothing large."""
    shards = len(turn.units)
    return prefill.rows_for(max(most * shards, self.decode.batch // REFILL), shards) // shards

  def _what(self, i: int) -> Any:
    """All that the prefill of a prompt depends on."""
    return tuple(self.prompts[i]), id(self.images[i]) if self.images else None, self.adapters and self.adapters[i]


def _sampling(decode: Decode, stop_ids: Sequence[int]) -> row_state.Sampling:
  stops = jnp.asarray(sorted(set(stop_ids)) or [-1], jnp.int32)
  return row_state.Sampling(jnp.float32(decode.temperature), jnp.float32(decode.top_p), stops)


def _generation(texts: row_state.Texts, row: int) -> Generation:
  n = int(texts.count_B[row])
  return Generation(texts.out_BS[row, :n].tolist(), texts.logprob_BS[row, :n].tolist(), bool(texts.stopped_B[row]))


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
  return row_state.lead_program(bind)(cache)
