"""One call of `generate`, seen from the host: rounds of tokens, and what happens between them."""

import collections
from collections.abc import Callable, Sequence
import dataclasses
import functools
import itertools
from typing import Any, Literal

import jax
import numpy as np

from itune_jax.core import host
from itune_jax.sampling.decode import admission
from itune_jax.sampling.decode import admit
from itune_jax.sampling.decode import entries as entries_lib
from itune_jax.sampling.decode import prefill
from itune_jax.sampling.decode import row_state
from itune_jax.sampling.decode import turns as turns_lib
from itune_jax.sampling.decode import watch as watch_lib

LOOK = 16  # tokens between two looks at texts that have stop strings
STREAM = 4  # and where somebody reads along
AHEAD = 2  # batches of samples that a cache is made long enough for


@dataclasses.dataclass(frozen=True)
class Generation:
  """A sample of a request: its new tokens and their log-probabilities (natural log) under the model at temperature 1.

  finish: "stop" by a stop token, which is not among the tokens but is `end`, with its log-probability; "stop_string" by
  one, whose tokens are the last; or "length". text: of the tokens, up to a stop string; None where ids alone are known.
  top: of each token the likeliest at its place, as (id, log-probability), if `top_logprobs` asked for them.
  """

  tokens: list[int]
  logprobs: list[float]
  finish: Literal["stop", "stop_string", "length"]
  id: str | int = 0
  sample: int = 0
  text: str | None = None
  end: tuple[int, float] | None = None
  top: list[list[tuple[int, float]]] | None = None

  @property
  def stopped(self) -> bool:
    """Whether it came to an end by itself."""
    return self.finish != "length"


class Call:
  """Rows and who holds them. `run` gives what became of each sample, in their order."""

  def __init__(
    self,
    given: admission.Given,
    one_token: tuple[Any, Any],
    stop_ids: Sequence[int],
    new: int,
    most: int,
    text: watch_lib.Text | None = None,
    on_text: Callable[[watch_lib.Piece], None] | None = None,
  ):
    """new: places for a text's tokens. most: positions that the model knows. text: of ids. on_text: gets what is new,
    between rounds."""
    self._text, self._on_text = text, on_text
    self.given, (self._bind, self._params) = given, one_token
    self._new, self._most = new, most
    self._stops = np.asarray(sorted(set(stop_ids)) or [-1], np.int32)  # on the device it would be one more program
    self._waiting = collections.deque(given.in_order())
    self._holders: list[int | None] = [None] * given.batch
    self._entries = entries_lib.Entries(given.shards, given.width) if given.width else None
    self._watches: dict[int, watch_lib.Watch] = {}
    self._told: dict[int, int] = {}
    self._state: Any = None

  def run(
    self, progress: Callable[[int], None], on_end: Callable[[int, Generation], None] = lambda i, generation: None
  ) -> list[Generation]:
    """Goes on until every sample has its text. on_end: gets each sample by its number as soon as it has ended."""
    found: dict[int, Generation] = {}
    while len(found) < len(self.given.samples):
      free = [row for row, holder in enumerate(self._holders) if holder is None]
      if self._waiting and len(free) >= self._eighth and not self._are_too_many(len(free)):
        self._refill([self._waiting.popleft() for _ in free[: len(self._waiting)]], free)
      fewer = not self._waiting or self._are_too_many(self._holders.count(None))
      half = row_state.enough_to_halve(self._bind, len(self._holders)) if fewer else None
      if half and self._holders.count(None) >= half:
        self._halve()
        continue
      self._go_on(half or (self._eighth if self._waiting else len(self._holders)))
      for i, generation in self._look():
        found[i] = generation
        progress(1)
        on_end(i, generation)
    freed, self._state = row_state.host_bytes(self._state), None
    host.give_back(freed)
    return [found[i] for i in range(len(found))]

  @property
  def _eighth(self) -> int:
    return max(1, self.given.batch // admission.REFILL)

  def _are_too_many(self, free: int) -> bool:
    """Whether rows have to be fewer before those that wait can enter so many free ones: with the slots that these need
    the cache would be larger than it may be."""
    if self._entries is not None or not row_state.enough_to_halve(self._bind, len(self._holders)):
      return False
    slots = self._slots([i for i, _ in zip(self._waiting, range(max(free, 1)), strict=False)])
    return slots * len(self._holders) > row_state.ROOM * self.given.batch

  def _refill(self, members: list[int], free: list[int]) -> None:
    """Samples into free rows."""
    by_shard = self.given.by_shard(free)
    seated = (
      self._copied(members, by_shard) if self._entries is None else self._joined(members, by_shard, self._entries)
    )
    for row, i in seated:
      self._holders[row] = i
      if self._on_text or self.given.samples[i].stops:
        self._watches[row] = watch_lib.Watch(self._text or (lambda ids: ""), self.given.samples[i].stops)

  def _copied(self, members: list[int], by_shard: list[list[int]]) -> list[tuple[int, int]]:
    """Each prompt into the rows that continue it, after what runs."""
    slots, seated = self._slots(members), []
    for turn in self.given.turns(members, by_shard):
      run = self.given.run(turn, slots)
      self._make_room(run, slots, None)
      self._admit(self.given.entering(turn, run))
      seated += _seats([turn])
    return seated

  def _slots(self, members: list[int]) -> int:
    """Slots of a row that suffice for these samples: those that there are, or more.

    Another size is other programs to compile, for a few samples perhaps. So there are two sizes from one power of two
    to the next, none is larger than the longest sample needs, and what follows soon is looked at.
    """
    most = self._most - prefill.front(self.given.lead)
    needed, there = min(self._ahead(members), most), 0 if self._state is None else row_state.slots_of(self._state)
    if needed <= there:
      return there
    longest = min(max(map(len, self.given.prompts)) + self._new, most)
    return min(row_state.roomy(max(needed, there * 3 // 2)), row_state.slots_for(longest))

  def _ahead(self, members: list[int]) -> int:
    """Positions that these samples need, or that those need which follow soon, at most twice as many."""
    length = lambda i: len(self.given.prompts[i]) + self._new
    needed = max(map(length, members))
    soon = itertools.islice(self._waiting, AHEAD * self.given.batch)
    return max([needed, *(n for n in map(length, soon) if n <= 2 * needed)])

  def _joined(self, members, by_shard: list[list[int]], entries: entries_lib.Entries) -> list[tuple[int, int]]:
    """Prompts that are not there yet to where they are kept once; rows then name theirs."""
    seated, rest = [], []
    for i in members:
      row = entries.join(self.given.whats[i], by_shard)
      seated.append((row, i)) if row is not None else rest.append(i)
    turns = self.given.turns(rest, by_shard)
    place = lambda shard, unit: entries.open(self.given.whats[unit.members[0]], shard, unit.rows)
    opened = [[[place(shard, unit) for unit in units] for shard, units in enumerate(turn.units)] for turn in turns]
    seated += _seats(turns)
    entries.grow(self._places(entries.each))
    slots = row_state.slots_for(max((len(self.given.prompts[i]) for i in rest), default=1))
    for turn, places in zip(turns, opened, strict=True):
      run = self.given.run(turn, slots)
      kept = entries.each * self.given.shards, entries.width, slots
      self._make_room(run, row_state.slots_for(self._new), kept)
      self._settle(run, [[list(map(entries.number, unit)) for unit in units] for units in places])
    self._admit(self._naming(seated, entries))
    return seated

  def _places(self, needed: int) -> int:
    """How many prompts each shard has room for where so many are needed: a power of two, and twice that at first if
    others will come while some of these rows go on."""
    there = 0 if self._state is None else self._state.ends_GD.shape[0] // self.given.shards
    if needed <= there:
      return there
    many = 1 << (needed - 1).bit_length()
    return min(many * (2 if self._waiting and not there else 1), self.given.batch // self.given.shards)

  def _settle(self, run: prefill.Prefilled, places: list[list[list[int]]]) -> None:
    """Keys of a prefill to these places of each shard."""
    ran = run.last_BD.shape[0] // len(places)
    count = 1 << (max(sum(map(len, units)) for units in places) - 1).bit_length()
    froms, to = (np.full((len(places), count), fill, np.int32) for fill in (0, self._state.ends_GD.shape[0]))
    for shard, units in enumerate(places):
      froms[shard] = shard * ran
      pairs = [(shard * ran + k, place) for k, unit in enumerate(units) for place in unit]
      froms[shard, : len(pairs)], to[shard, : len(pairs)] = zip(*pairs, strict=True) if pairs else ((), ())
    settle = row_state.settle_program(self._bind)
    self._state = settle(self._state, run.cache, run.last_BD, froms.ravel(), to.ravel())

  def _naming(self, seated: list[tuple[int, int]], entries: entries_lib.Entries) -> row_state.Entering:
    """Samples that enter rows of prompts that are there."""
    members_GR, places_B = entries.tables(len(self._holders))
    count = 1 << (max(len(seated), self._eighth) - 1).bit_length()
    rows, members = np.full(count, len(self._holders), np.int32), np.full(count, -1, np.int32)
    rows[: len(seated)], members[: len(seated)] = zip(*seated, strict=True)
    froms = np.where(members < 0, 0, places_B[np.minimum(rows, len(places_B) - 1)] // entries.width)
    new = self.given.rows_of(None, None, froms, rows, members)
    return new._replace(members_GR=members_GR, places_B=places_B)

  def _make_room(self, run: prefill.Prefilled, slots: int, kept: tuple[int, int, int] | None) -> None:
    ends = (run.last_BD.shape[1], str(run.last_BD.dtype)) if kept else None
    kind, vocab = self.given.kind, 0
    if self._state is None and any(kind):
      vocab = row_state.vocabulary(self._bind, self._params, run.last_BD)
      self.given.require_in(vocab)
    shape = row_state.Shape(
      len(self._holders), slots, self._new, self.given.mixed, kind, vocab if kind.penalties else 0, kept, ends
    )
    given = (self._state, shape, self.given.lead, self.given.shards)
    self._state = row_state.with_room(self._bind, self._params, *given)

  def _admit(self, new: row_state.Entering) -> None:
    self._state = admit.program(self._bind)(self._params, self._state, new, self._stops)

  def _halve(self) -> None:
    """Half of the rows, with all those that are held."""
    rows = sorted(range(len(self._holders)), key=lambda row: self._holders[row] is None)[: len(self._holders) // 2]
    self._holders = [self._holders[row] for row in rows]
    self._watches = {k: self._watches[row] for k, row in enumerate(rows) if row in self._watches}
    if self._state is None:  # the first to enter are too long for more
      return
    freed = row_state.host_bytes(self._state)
    pick = functools.partial(row_state.pick_program(self._bind), self._state, np.asarray(rows, np.int32))
    self._state = None  # `pick` holds the only one
    if self._entries is None:
      self._state = pick()
    else:
      kept = self._entries.picked(rows)
      self._state = pick(np.asarray(kept, np.int32), *self._entries.tables(len(rows)))
    del pick
    host.give_back(freed)

  def _go_on(self, enough: int) -> None:
    """A round of tokens: until so many rows have ended, or texts are to be looked at."""
    watched = any(watch.stops for watch in self._watches.values())
    most = STREAM if self._on_text else LOOK if watched else self._new
    free_B = np.asarray([holder is None for holder in self._holders])
    how = row_state.Round(self._stops, np.int32(most), free_B)
    self._state = row_state.loop_program(self._bind)(self._params, self._state, min(enough, len(self._holders)), how)

  def _look(self) -> list[tuple[int, Generation]]:
    """Samples that have ended; their rows are free."""
    texts = row_state.texts(self._bind, self._state)
    if not self._watches:  # then somebody has ended
      texts = jax.device_get(texts)
    out_BS, count_B, done_B = jax.device_get((texts.out_BS, texts.count_B, texts.done_B))
    ends: list[tuple[int, int, watch_lib.Cut | None]] = []
    for row, i in enumerate(self._holders):
      if i is None:
        continue
      cut = None
      if watch := self._watches.get(row):
        tokens = out_BS[row, : count_B[row]].tolist()
        cut = watch.cut(tokens, bool(done_B[row]))
        if self._on_text and not cut and not done_B[row] and (shown := watch.shown(tokens)) is not None:
          self._tell(i, tokens, shown, None)
      if done_B[row] or cut:
        ends.append((row, i, cut))
    texts = jax.device_get(texts) if ends else texts
    return [(i, self._end(row, i, cut, texts)) for row, i, cut in ends]

  def _end(self, row: int, i: int, cut: watch_lib.Cut | None, texts: row_state.Texts) -> Generation:
    """What the row has said; it is free."""
    n, sample = int(texts.count_B[row]) if cut is None else cut.tokens, self.given.samples[i]
    tokens, by_token, top, end = texts.out_BS[row, :n].tolist(), bool(texts.stopped_B[row]) and not cut, None, None
    text = cut.text if cut else None if self._text is None else self._text(tokens)
    if texts.top_BSK is not None:
      pairs = zip(texts.top_BSK[row, :n].tolist(), texts.top_logprob_BSK[row, :n].tolist(), strict=True)
      top = [list(zip(ids, likely, strict=True)) for ids, likely in pairs]
    if by_token:
      end = int(texts.last_B[row]), float(texts.last_logprob_B[row])
    finish = "stop_string" if cut else "stop" if by_token else "length"
    self._holders[row] = None
    self._watches.pop(row, None)
    if self._entries is not None:
      self._entries.leave(row)
    if self._on_text:
      self._tell(i, tokens, text or "", finish)
    logprobs = texts.logprob_BS[row, :n].tolist()
    return Generation(tokens, logprobs, finish, sample.id, sample.number, text, end, top)

  def _tell(self, i: int, tokens: list[int], text: str, finish: str | None) -> None:
    told, sample = self._told.get(i, 0), self.given.samples[i]
    if self._on_text is not None and (finish is not None or len(tokens) > told):
      self._told[i] = len(tokens)
      self._on_text(watch_lib.Piece(sample.id, sample.number, tokens[told:], text, finish))


def _seats(turns: Sequence[turns_lib.Turn]) -> list[tuple[int, int]]:
  """(row, sample) of all of them."""
  units = [unit for turn in turns for units in turn.units for unit in units]
  return [pair for unit in units for pair in zip(unit.rows, unit.members, strict=True)]
