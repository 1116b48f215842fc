"""Prefill and decoding as compiled functions on the training mesh.

A batch is a number of rows of a cache. The loop runs until enough rows have ended; their texts are taken out, waiting
prompts are prefilled into their places, and it goes on (continuous batching, Yu et al. 2022): no row waits for a slower
one. What all prompts begin with runs once and is kept once, in front of all rows; a prompt that several rows continue
runs once and is kept once for them. Every row has its own cursor, settings and keys, so its text is the same in any
company.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import ranges
from itune_jax.sampling.decode import admission
from itune_jax.sampling.decode import call as call_lib
from itune_jax.sampling.decode import controls
from itune_jax.sampling.decode import fronts
from itune_jax.sampling.decode import one_token as one_token_lib
from itune_jax.sampling.decode import row_state
from itune_jax.sampling.decode import watch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decode(controls.Sampling):
  """How to generate: how tokens are drawn (`controls.Sampling`), and when a text ends. As it is, greedily.

  n: samples of each prompt. stop: strings that end a text, which is cut before the first of them; one string is one.
  top_logprobs: so many of the likeliest tokens of each place are told with their log-probabilities. `batch` rows ride
  together.

  max_new_tokens: tokens of a text at most. seed: of what is drawn at a temperature above 0. batch: rows that run
  together.
  """

  max_new_tokens: int = 64
  n: int = 1
  stop: str | tuple[str, ...] = ()
  top_logprobs: int = 0
  seed: ranges.Seed = 0
  batch: int = 16

  def __post_init__(self):
    super().__post_init__()
    check.require(self.max_new_tokens > 0 and self.batch > 0, "Decode.max_new_tokens and Decode.batch must be positive")
    check.require(self.n > 0, f"Decode.n must be how many samples of each prompt, 1 or more, not {self.n}")
    check.require(self.top_logprobs >= 0, f"Decode.top_logprobs = {self.top_logprobs}; it counts tokens, 0 is none")
    check.require(
      self.min_new_tokens <= self.max_new_tokens,
      f"Decode.min_new_tokens = {self.min_new_tokens} is more than max_new_tokens = {self.max_new_tokens}",
    )
    stops_of(self.stop)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ask:
  """One request: a prompt of ids, and where it differs from the call's `Decode`.

  id: what its samples' randomness hangs on, with the seed; its place in the call unless given. n: samples, from number
  `first` on. limit: of new tokens, below `max_new_tokens`. stop, sampling: in place of Decode's. adapter: the number of
  its adapter, where several ride on one base (`peft.combine.mixed`); None is the base alone. images: pixels
  [I, H, W, 3].
  """

  prompt: Sequence[int]
  id: str | int | None = None
  n: int | None = None
  first: int = 0
  limit: int | None = None
  stop: str | tuple[str, ...] | None = None
  sampling: controls.Sampling | None = None
  adapter: int | None = None
  images: Any = None

  def __post_init__(self):
    counts = {"n": self.n, "limit": self.limit, "first": self.first + 1}
    bad = next((name for name, value in counts.items() if value is not None and value < 1), None)
    check.require(bad is None, f"Ask.{bad} = {getattr(self, str(bad), None)}; n and limit count from 1, first from 0")
    if isinstance(self.id, int):
      check.require(0 <= self.id < 2**32, f"Ask.id = {self.id}; a number is from 0 to {2**32 - 1}, or give a string")
    if self.stop is not None:
      stops_of(self.stop)


def stops_of(stop: str | Sequence[str]) -> tuple[str, ...]:
  """Stop strings as a tuple; a string is one. Raises InputError for an empty one, which would end every text."""
  stops = (stop,) if isinstance(stop, str) else tuple(stop)
  check.require(all(stops), f"stop = {stop!r}: an empty stop string would end every text before it begins")
  return stops


def generate(
  bind: Callable,
  params: Any,
  asks: Sequence[Ask | Sequence[int]],
  decode: Decode,
  stop_ids: Sequence[int],
  max_length: int,
  progress: Callable[[int], None] = lambda n: None,
  images: Sequence[Any] = (),
  one_token: tuple[Any, Any] | None = None,
  adapters: Sequence[int] | None = None,
  limits: Sequence[int] | None = None,
  text: watch.Text | None = None,
  on_text: Callable[[watch.Piece], None] | None = None,
  on_end: Callable[[int, call_lib.Generation], None] = lambda i, generation: None,
) -> list[call_lib.Generation]:
  """Continues prompts: every sample of every request, in the order given, samples of a request together.

  asks: requests, or prompts of ids alone; of those, images (pixels [I, H, W, 3] of each prompt or None), adapters and
  limits may be given beside them. one_token: what `one_token.prepare` gave for these parameters, where it is kept from
  call to call. text: of ids, which stop strings need. on_text: gets what is new of each text, between rounds.
  on_end: gets each sample by its number as soon as it has ended.

  Raises InputError when a prompt leaves no room for a new token in `max_length` positions, or is empty.
  """
  asks = with_own(asks, images, adapters, limits)
  samples = _samples(asks, decode, max_length)
  if not samples:
    return []
  if text is None and any(s.stops for s in samples):
    raise errors.InputError("stop strings need the text of ids: give the tokenizer's (`text`)")
  mixed = any(ask.adapter is not None for ask in asks)
  most = max(s.limit for s in samples)
  new = min(decode.max_new_tokens, row_state.slots_for(most))  # what can be said, in few sizes
  one_token = one_token or one_token_lib.prepare(bind, params)
  shares = all(s.images is None for s in samples) and bind(params).can_share
  every = list(range(len(samples)))
  found: dict[int, call_lib.Generation] = {}
  begin = [s.prompt for s in samples], [s.adapter for s in samples]
  for members in fronts.apart(*begin, decode.batch) if shares else [every]:
    own = [samples[i] for i in members]
    given = admission.Given.of(bind, params, own, decode.batch, decode.seed, decode.top_logprobs, mixed)
    call = call_lib.Call(given, one_token, stop_ids, new, max_length, text, on_text)
    said = call.run(progress, lambda k, generation, members=members: on_end(members[k], generation))
    found |= dict(zip(members, said, strict=True))
  return [found[i] for i in every]


def with_own(asks: Sequence[Ask | Sequence[int]], images, adapters, limits) -> list[Ask]:
  """Requests, of prompts of ids with what is given beside them. Raises InputError where both come."""
  beside = any(x is not None for x in images) or adapters is not None or limits is not None
  if any(isinstance(ask, Ask) for ask in asks) and beside:
    raise errors.InputError("images, adapters and limits are fields of each Ask; beside them only prompts of ids stand")
  found = []
  for i, ask in enumerate(asks):
    if not isinstance(ask, Ask):
      pick = lambda values, i=i: values[i] if values else None
      ask = Ask(prompt=ask, images=pick(images), adapter=pick(adapters), limit=pick(limits))
    found.append(ask)
  return found


def _samples(asks: Sequence[Ask], decode: Decode, max_length: int) -> list[admission.Sample]:
  samples = []
  for i, ask in enumerate(asks):
    if not 0 < len(ask.prompt) < max_length:
      raise errors.InputError(f"prompt {i} has {len(ask.prompt)} tokens; the model takes 1 to {max_length - 1}")
    prompt = list(ask.prompt)
    limit = min(decode.max_new_tokens, max_length - len(prompt), ask.limit or decode.max_new_tokens)
    stops = stops_of(decode.stop if ask.stop is None else ask.stop)
    one = admission.Sample(
      *(i if ask.id is None else ask.id, 0, prompt, limit, ask.sampling or decode, stops),
      adapter=-1 if ask.adapter is None else ask.adapter,
      images=ask.images,
    )
    samples += [one._replace(number=ask.first + k) for k in range(ask.n or decode.n)]
  return samples
