"""How a text's tokens are drawn: a value for users (`Sampling`), arrays for rows (`Controls`).

Other values compile nothing. What compiles is another kind: penalties need counts of tokens, bans and forced tokens
lists of them, and rows without have neither.
"""

from collections.abc import Sequence
import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.core import check

LISTED = 16  # places for banned and for forced ids, or a power of two above
NOWHERE = np.iinfo(np.int32).max  # an id behind every vocabulary: what is written there is dropped


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
  """How one text's tokens are drawn; as it is, greedily. They act in transformers' order: repetition, presence and
  frequency, bans, forced tokens, temperature, top_k, top_p, min_p.

  temperature: 0 is greedy. top_p: the smallest set of tokens that reaches it (Holtzman et al. 2020). top_k: the k
  likeliest, 0 for all. min_p: what is at least so likely as a share of the likeliest (Nguyen et al. 2024).
  repetition_penalty: of tokens in the prompt or the text (Keskar et al. 2019), 1 for none. presence_penalty,
  frequency_penalty: taken off the logits of tokens in the text, once and as often as they stand there (OpenAI's API).
  banned: ids that never come. forced: ids that come first. min_new_tokens: before them no stop token comes.
  """

  temperature: float = 0.0
  top_p: float = 1.0
  top_k: int = 0
  min_p: float = 0.0
  repetition_penalty: float = 1.0
  presence_penalty: float = 0.0
  frequency_penalty: float = 0.0
  banned: tuple[int, ...] = ()
  forced: tuple[int, ...] = ()
  min_new_tokens: int = 0

  def __post_init__(self):
    check.check_types(self)
    name = type(self).__name__
    check.require(
      0 <= self.temperature < math.inf and 0 < self.top_p <= 1,
      f"{name}(temperature={self.temperature}, top_p={self.top_p}): temperature >= 0 and top_p in (0, 1]",
    )
    check.require(self.top_k >= 0, f"{name}.top_k = {self.top_k}; it keeps so many tokens, 0 keeps all")
    check.require(0 <= self.min_p <= 1, f"{name}.min_p must be a share of the likeliest, 0 to 1, not {self.min_p}")
    penalty = self.repetition_penalty
    check.require(
      0 < penalty < math.inf, f"{name}.repetition_penalty = {penalty}; it divides: positive, 1 changes nothing"
    )
    for field in ("banned", "forced"):
      ids = getattr(self, field)
      check.require(all(i >= 0 for i in ids), f"{name}.{field} must be ids of tokens, from 0 on, not {ids!r}")
    check.require(self.min_new_tokens >= 0, f"{name}.min_new_tokens = {self.min_new_tokens}; it counts tokens")

  @property
  def penalises(self) -> bool:
    """Whether tokens count that were there before."""
    return self.repetition_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0

  @property
  def edits(self) -> bool:
    """Whether some tokens may not come, or have to."""
    return bool(self.banned or self.forced or self.min_new_tokens)


class Kind(NamedTuple):
  """What compiles: places for banned and forced ids, whether tokens are counted, how many log-probabilities of each
  place are kept beside the token's own."""

  banned: int = 0
  forced: int = 0
  penalties: bool = False
  top: int = 0


class Edits(NamedTuple):
  """Ids that may not come, or have to: `NOWHERE` and -1 fill the lists up."""

  min_new_B: Any
  banned_BM: Any
  forced_BF: Any


class Penalties(NamedTuple):
  """Of tokens that were there before: in the prompt, and how often in the text."""

  repetition_B: Any
  presence_B: Any
  frequency_B: Any
  seen_BV: Any
  counts_BV: Any


class Controls(NamedTuple):
  """The settings of rows."""

  temperature_B: Any
  top_p_B: Any
  top_k_B: Any
  min_p_B: Any
  edits: Edits | None = None
  penalties: Penalties | None = None


def kind_of(settings: Sequence[Sampling], top: int = 0) -> Kind:
  """The kind that has room for all of these."""
  room = lambda lists: 1 << (max(LISTED, *map(len, lists)) - 1).bit_length()
  edits = any(s.edits for s in settings)
  banned, forced = (room([getattr(s, name) for s in settings]) if edits else 0 for name in ("banned", "forced"))
  return Kind(banned, forced, any(s.penalises for s in settings), top)


def of_rows(settings: Sequence[Sampling], kind: Kind) -> Controls:
  """Their arrays; what is counted (`Penalties.seen_BV`, `counts_BV`) is None."""
  numbers = lambda name: np.asarray([getattr(s, name) for s in settings], np.float32)
  counts = lambda name: np.asarray([getattr(s, name) for s in settings], np.int32)
  lists = lambda name, width, fill: _filled([getattr(s, name) for s in settings], width, fill)
  controls = Controls(numbers("temperature"), numbers("top_p"), counts("top_k"), numbers("min_p"))
  if kind.banned:
    ids = lists("banned", kind.banned, NOWHERE), lists("forced", kind.forced, -1)
    controls = controls._replace(edits=Edits(counts("min_new_tokens"), ids[0], ids[1]))
  if kind.penalties:
    by = numbers("repetition_penalty"), numbers("presence_penalty"), numbers("frequency_penalty")
    controls = controls._replace(penalties=Penalties(by[0], by[1], by[2], None, None))
  return controls


def neutral(rows: int, kind: Kind, vocab: int, ctx: Any) -> Controls:
  """Settings that change nothing, and nothing counted."""
  found = jax.tree.map(jnp.asarray, of_rows([Sampling()] * rows, kind))
  return pinned(_counting(found, jnp.zeros((rows, vocab), bool)), ctx)


def started(controls: Controls, prompts_RP: Any, like: Controls) -> Controls:
  """Settings of rows that have said nothing: the ids of their prompts are what they have seen. like: those of all rows,
  which know the vocabulary."""
  if like.penalties is None:
    return controls
  seen_RV = jnp.zeros((prompts_RP.shape[0], like.penalties.seen_BV.shape[1]), bool)
  return _counting(controls, seen_RV.at[jnp.arange(len(seen_RV))[:, None], prompts_RP].set(True, mode="drop"))


def pinned(controls: Controls, ctx: Any) -> Controls:
  """The same, what is counted laid out as the rows are."""
  if controls.penalties is None:
    return controls
  pin = lambda x: ctx.constrain(x, ("rows", None))
  seen_BV, counts_BV = pin(controls.penalties.seen_BV), pin(controls.penalties.counts_BV)
  return controls._replace(penalties=controls.penalties._replace(seen_BV=seen_BV, counts_BV=counts_BV))


def _counting(controls: Controls, seen_BV: Any) -> Controls:
  if controls.penalties is None:
    return controls
  counts_BV = jnp.zeros(seen_BV.shape, jnp.int32)
  return controls._replace(penalties=controls.penalties._replace(seen_BV=seen_BV, counts_BV=counts_BV))


def _filled(lists: Sequence[Sequence[int]], width: int, fill: int) -> np.ndarray:
  found = np.full((len(lists), width), fill, np.int32)
  for row, ids in zip(found, lists, strict=True):
    row[: len(ids)] = ids
  return found
