"""What is to be continued, and its way into rows: what runs together, its prefill, the arrays of its rows."""

from collections.abc import Sequence
import dataclasses
import functools
import hashlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.core import check
from itune_jax.core import rng
from itune_jax.nn.attention import kv_cache
from itune_jax.sampling.decode import controls as controls_lib
from itune_jax.sampling.decode import prefill
from itune_jax.sampling.decode import row_state
from itune_jax.sampling.decode import turns as turns_lib

REFILL = 8  # rows are refilled when an eighth of them has ended
FEW = 4  # prompts; so many run together however few rows there are
WORDS = 4  # that a sample's key is made of, at most
SHARED = 64  # tokens that all prompts begin with are shared by so many: a multiple, to compile few shapes
LONG = 64  # tokens; shorter prompts are copied, since a row has as many slots as a multiple of it anyway


class Sample(NamedTuple):
  """One text to be made: which of its request's, behind what, and how."""

  id: str | int
  number: int
  prompt: Sequence[int]
  limit: int
  sampling: controls_lib.Sampling
  stops: tuple[str, ...] = ()
  adapter: int = -1
  images: Any = None


@dataclasses.dataclass(frozen=True)
class Given:
  """Samples, their prompts without what all of them begin with, whose keys and values are `lead`.

  mixed: whether rows have adapters of their own. cuts: whether a prompt may run in pieces. whats: a number for each
  sample, the same where prefill would be.
  """

  bind: Any
  params: Any
  samples: Sequence[Sample]
  prompts: Sequence[Sequence[int]]
  whats: Sequence[int]
  batch: int
  seed: int
  kind: controls_lib.Kind
  mixed: bool
  lead: tuple[Any, Any] | None
  cuts: bool

  @classmethod
  def of(cls, bind, params, samples: Sequence[Sample], batch: int, seed: int, top: int, mixed: bool) -> "Given":
    """All of a call, with what its prompts begin with run once."""
    cuts = all(s.images is None for s in samples) and bind(params).can_share
    every = {id(s.prompt): s.prompt for s in samples}  # samples of a request have one between them
    adapter = samples[0].adapter
    alike = cuts and all(s.adapter == adapter for s in samples)  # another adapter makes other keys of the same text
    front = _in_common(list(every.values()), len(samples)) if alike else 0
    lead = _lead(bind, params, samples[0].prompt[:front], [adapter] if mixed else None) if front else None
    tails = {key: prompt[front:] for key, prompt in every.items()}
    same = {key: tuple(tail) for key, tail in tails.items()}
    numbers: dict[Any, int] = {}
    number = lambda s: numbers.setdefault((same[id(s.prompt)], id(s.images), s.adapter), len(numbers))
    prompts, whats = [tails[id(s.prompt)] for s in samples], list(map(number, samples))
    kind = controls_lib.kind_of([s.sampling for s in samples], top)
    return cls(bind, params, samples, prompts, whats, batch, seed, kind, mixed, lead, cuts)

  @functools.cached_property
  def shards(self) -> int:
    """Over how many devices rows are laid."""
    return prefill.shards(self.bind)

  @functools.cached_property
  def width(self) -> int:
    """How many rows may continue a prompt that is kept once; 0 where each row keeps its own.

    Prompts are kept once where on average two rows or more continue one, and they are long enough to matter.
    """
    many = len(self.samples) // len(set(self.whats))
    if many < 2 or self.batch % self.shards or max(map(len, self.prompts)) < LONG or not self._has_one_cache():
      return 0
    every = -(-len(self.samples) // len(set(self.whats)))
    return 1 << (min(every, self.batch // self.shards) - 1).bit_length()

  def _has_one_cache(self) -> bool:
    """Whether all that the model keeps of a row are keys and values of its own tokens."""
    empty = jax.eval_shape(lambda params: self.bind(params).empty_cache(1, 1), self.params)
    return isinstance(empty, kv_cache.Cache)

  def require_in(self, vocab: int) -> None:
    """Raises InputError where ids are named, or more of them asked for, than the model chooses from."""
    says = f"the model chooses from {vocab} tokens"
    check.require(self.kind.top <= vocab, f"top_logprobs = {self.kind.top}; {says}")
    for name in ("banned", "forced"):
      last = max((i for s in self.samples for i in getattr(s.sampling, name)), default=0)
      check.require(last < vocab, f"{name} id {last}; {says}, from 0 on")

  def in_order(self) -> list[int]:
    """Samples in the order in which they enter: short prompts first, equal ones together."""
    return sorted(range(len(self.samples)), key=lambda i: (len(self.prompts[i]), self.whats[i]))

  def by_shard(self, free: Sequence[int]) -> list[list[int]]:
    """Free rows by the shard on which they lie."""
    each, rest = divmod(self.batch, self.shards)
    on = lambda k, row: k % self.shards if rest else row // each  # where rows are on no shard of their own, in turn
    return [[row for k, row in enumerate(free) if on(k, row) == shard] for shard in range(self.shards)]

  def turns(self, members: Sequence[int], free: list[list[int]]) -> list[turns_lib.Turn]:
    """What runs after what until all these samples' prompts have run for free rows of each shard."""
    equal: dict[int, list[int]] = {}
    for i in members:
      equal.setdefault(self.whats[i], []).append(i)
    lengths = list(map(len, self.prompts))
    return turns_lib.plan(list(equal.values()), lengths, free, prefill.CHUNK, self._each, self.cuts)

  def entering(self, turn: turns_lib.Turn, run: prefill.Prefilled) -> row_state.Entering:
    """The prompts of a turn and where they go: from which row of its cache into which one."""
    most = max(len(unit.members) for units in turn.units for unit in units)
    ran = run.last_BD.shape[0] // len(turn.units)
    count = ran if most == 1 else self._count(max(sum(len(u.members) for u in units) for units in turn.units))
    fill = lambda value: np.full((len(turn.units), count), value, np.int32)
    froms, rows, members = fill(0), fill(self.batch), fill(-1)  # a row behind the last is dropped
    for shard, units in enumerate(turn.units):
      froms[shard] = shard * ran
      at = 0
      for k, unit in enumerate(units):
        here = (shard, slice(at, at + len(unit.members)))
        froms[here], rows[here], members[here] = shard * ran + k, unit.rows, unit.members
        at += len(unit.members)
    return self.rows_of(run.cache, run.last_BD, froms.ravel(), rows.ravel(), members.ravel())

  def rows_of(self, cache: Any, last_BD: Any, from_R, rows_R, members_R) -> row_state.Entering:
    """Samples (-1 for none) that enter rows."""
    of = lambda value, none: np.asarray([none if i < 0 else value(i) for i in members_R], np.int32)
    there = [self.samples[i] for i in members_R if i >= 0]
    neutral = controls_lib.Sampling()
    return row_state.Entering(
      *(cache, last_BD, from_R, rows_R),
      of(lambda i: prefill.front(self.lead) + len(self.prompts[i]), 1),
      of(lambda i: self.samples[i].limit, 1),
      self._keys(members_R),
      of(lambda i: self.samples[i].adapter, 0) if self.mixed else None,
      controls_lib.of_rows([neutral if i < 0 else self.samples[i].sampling for i in members_R], self.kind),
      self._ids(members_R, max(len(s.prompt) for s in there)) if self.kind.penalties else None,
    )

  def run(self, turn: turns_lib.Turn, slots: int) -> prefill.Prefilled:
    """The cache of the prompts of a turn, all of them different. slots: of each row, as many as where they go: other
    sizes are other shapes to compile."""
    bind, firsts, held = self.bind, turn.firsts, turn.held
    prompts = [self.prompts[i] for i in firsts]
    own = [self.samples[i].adapter for i in firsts] if self.mixed else None
    if turn.is_long:
      rows = prefill.rows_for(max(map(len, held)) * len(held), len(held))
      return prefill.in_pieces(bind, self.params, prompts, own, held, rows, slots, self.lead)
    images = [self.samples[i].images for i in firsts]
    packed = prefill.pack_prompts(prompts, images, own, held, self._each * len(held))
    return prefill.whole(bind, self.params, packed, slots, self.lead)

  @functools.cached_property
  def _each(self) -> int:
    """Different prompts that run together on each shard: those that enter at a time, or a few. More are other shapes to
    compile, and a larger cache beside that of the rows."""
    together = max(self.batch // REFILL, min(self.batch, FEW))
    return prefill.rows_for(together, self.shards) // self.shards

  def _count(self, entering: int) -> int:
    """Rows of each shard for so many that enter: as many as prompts run, four times as many, or all."""
    found, each = self._each, prefill.rows_for(self.batch, self.shards) // self.shards
    while found < entering:
      found *= 4
    return min(found, each)

  def _ids(self, members_R, longest: int) -> np.ndarray:
    """The prompts of samples, all of them: the first tokens too."""
    ids_RP = np.full((len(members_R), row_state.slots_for(longest)), controls_lib.NOWHERE, np.int32)
    for row, i in zip(ids_RP, members_R, strict=True):
      if i >= 0:
        row[: len(self.samples[i].prompt)] = self.samples[i].prompt
    return ids_RP

  def _keys(self, members_R) -> Any:
    words = [_words(self.samples[i]) if i >= 0 else [0] for i in members_R]
    words_RW = np.zeros((len(words), WORDS), np.uint32)  # of one width, to compile few shapes
    for row, own in zip(words_RW, words, strict=True):
      row[: len(own)] = own
    return _folded(rng.named(rng.root(self.seed), "sample"), words_RW, np.asarray(list(map(len, words))))


def _words(sample: Sample) -> list[int]:
  """What a sample's key is made of: its request's id and its own number, never its place in a call. A request's first
  sample takes its key from the id alone."""
  if isinstance(sample.id, str):
    digest = hashlib.blake2b(sample.id.encode(), digest_size=8).digest()  # CRC-32 would meet itself in 100,000 ids
    own = [int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")]
  else:
    own = [sample.id]
  return own if sample.number == 0 else [*own, rng.stream("n"), sample.number]


@jax.jit
def _folded(key, words_RW, count_R):
  """Keys [R] with so many words folded in."""
  keys_R = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, words_RW[:, 0])
  for k in range(1, words_RW.shape[1]):
    keys_R = jnp.where(k < count_R, jax.vmap(jax.random.fold_in)(keys_R, words_RW[:, k]), keys_R)
  return keys_R


def _in_common(prompts: Sequence[Sequence[int]], samples: int) -> int:
  """How many first tokens the prompts of several samples share, in whole SHAREDs, each keeping one of its own."""
  if samples < 2:
    return 0
  low, high = min(prompts, key=tuple), max(prompts, key=tuple)  # in the order of words: what these share, all do
  most = min(map(len, prompts)) - 1
  same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), most)
  return min(same, most) // SHARED * SHARED


def _lead(bind: Any, params: Any, tokens: Sequence[int], own: Sequence[int] | None) -> Any:
  """Keys [L, K, H, P] and values [L, K, P, H] of what stands in front of all rows. own: the number of their adapter."""
  P, n = len(tokens), prefill.shards(bind)
  held = [[0], *[[] for _ in range(n - 1)]]
  if P > prefill.CHUNK:
    cache, _ = prefill.in_pieces(bind, params, [tokens], own, held, n, P)
  else:
    cache, _ = prefill.whole(bind, params, prefill.pack_prompts([tokens], [None], own, held, n, P), P)
  return row_state.lead_program(bind)(cache)
