"""Thinking that ends at a budget: a text that still thinks after so many tokens gets the closing tag, and answers.

This is budget forcing (Muennighoff et al. 2025, s1, section 3.1, the upper bound). Texts run to their budget together;
those that are not at their end then go on together, from the same ids, behind the tag where it had to be put there.
How long a budget is compiles nothing, and a text is that of the same ids given at once.
"""

import bisect
from collections.abc import Callable, Sequence
import dataclasses
from typing import Any, NamedTuple

from itune_jax.core import conversation as conversation_lib
from itune_jax.sampling import engine as engine_lib
from itune_jax.sampling import requests as requests_lib
from itune_jax.sampling.decode import call as call_lib
from itune_jax.sampling.decode import controls
from itune_jax.sampling.decode import decode as decode_lib
from itune_jax.sampling.decode import watch

CLOSING = f"\n{requests_lib.THINK_END}\n\n"  # as chat templates of models that think write it behind a thought


class Thinker(NamedTuple):
  """A request, the most tokens of its thinking (0 where it has no such limit), and of its answer behind it."""

  ask: decode_lib.Ask
  budget: int
  limit: int


# Gets each sample by its number, and whether its thinking was ended for it.
Ended = Callable[[int, call_lib.Generation, bool], None]


def generate(
  engine: engine_lib.Engine,
  renderer: conversation_lib.Renderer,
  asks: Sequence[decode_lib.Ask],
  budgets: Sequence[int],
  decode: decode_lib.Decode,
  on_end: Ended,
) -> None:
  """Continues requests whose thinking has a budget, or none (0); samples of one request stand together.

  An answer has as many tokens as its request's limit, counted behind the closing tag. The second part of a text draws
  with keys of its own, and penalties of presence and frequency count there anew. Raises as `Engine.generate` does.
  """
  close = renderer.encode(CLOSING)
  thinkers = [_thinker(*given, decode, engine.max_length - len(close) - 1) for given in zip(asks, budgets, strict=True)]
  owners = [(k, i) for k, one in enumerate(thinkers) for i in range(one.ask.n or decode.n)]
  halves: list[tuple[int, call_lib.Generation, int | None]] = []
  quiet = engine.with_progress(lambda n: None)

  def tell(number: int, said: call_lib.Generation, cut: bool) -> None:
    engine.progress(1)
    on_end(number, said, cut)

  def paused(number: int, said: call_lib.Generation) -> None:
    one = thinkers[owners[number][0]]
    closed = _closed(renderer, said.tokens) if one.budget else None
    goes_on = one.budget and said.finish == "length" and (closed is None or len(said.tokens) - closed < one.limit)
    if goes_on:
      halves.append((number, said, closed))
    else:
      tell(number, said if closed is None else _trimmed(renderer, said, closed + one.limit), False)

  first = lambda one: dataclasses.replace(one.ask, limit=one.budget or one.limit)
  quiet.generate(list(map(first, thinkers)), _roomy(decode, [one.budget for one in thinkers]), on_end=paused)
  halves.sort(key=lambda half: half[0])  # as they ended hangs on the batch
  of = lambda half: thinkers[owners[half[0]][0]]
  again = [_second(of(half), owners[half[0]][1], half, close, decode) for half in halves]

  def answered(number: int, behind: call_lib.Generation) -> None:
    half = halves[number]
    put = close if half[2] is None else []
    tell(half[0], _joined(renderer, half[1], put, behind, again[number].stop or ()), half[2] is None)

  if again:
    quiet.generate(again, decode, on_end=answered)


def _thinker(ask: decode_lib.Ask, budget: int, decode: decode_lib.Decode, room: int) -> Thinker:
  """The budget as far as the model's positions leave room for an answer behind it; none where they leave none."""
  return Thinker(
    ask, max(0, min(budget, room - len(ask.prompt))), min(ask.limit or decode.max_new_tokens, decode.max_new_tokens)
  )


def _roomy(decode: decode_lib.Decode, budgets: Sequence[int]) -> decode_lib.Decode:
  return dataclasses.replace(decode, max_new_tokens=max(decode.max_new_tokens, *budgets))


def _second(one: Thinker, number: int, half: Any, close: Sequence[int], decode: decode_lib.Decode) -> decode_lib.Ask:
  """What goes on behind a thought, or behind an answer that had begun."""
  _, said, closed = half
  how = one.ask.sampling or decode
  names = [field.name for field in dataclasses.fields(controls.Sampling)]
  own = {name: vars(how)[name] for name in names}
  own |= {"forced": (), "min_new_tokens": max(0, how.min_new_tokens - len(said.tokens))}
  return dataclasses.replace(
    one.ask,
    prompt=[*one.ask.prompt, *said.tokens, *(close if closed is None else ())],
    id=f"{one.ask.id}/answer",
    n=1,
    first=number,
    limit=one.limit - (0 if closed is None else len(said.tokens) - closed),
    sampling=controls.Sampling(**own),
  )


def _closed(renderer: conversation_lib.Renderer, tokens: Sequence[int]) -> int | None:
  """How many tokens it takes until the closing tag is whole; None where it is not there."""
  if requests_lib.THINK_END not in renderer.decode(tokens):
    return None
  is_there = lambda n: requests_lib.THINK_END in renderer.decode(tokens[:n])
  return bisect.bisect_left(range(len(tokens)), True, key=is_there)


def _trimmed(renderer: conversation_lib.Renderer, said: call_lib.Generation, most: int) -> call_lib.Generation:
  """A text whose answer may not be longer: it is as if it had been cut off there."""
  if len(said.tokens) <= most:
    return said
  kept = said.tokens[:most]
  top = None if said.top is None else said.top[:most]
  changes: dict[str, Any] = dict(tokens=kept, logprobs=said.logprobs[:most], finish="length", end=None, top=top)
  return dataclasses.replace(said, text=renderer.decode(kept), **changes)


def _joined(renderer, first: call_lib.Generation, put: Sequence[int], behind: call_lib.Generation, stops) -> Any:
  """Both parts as one text. Nobody knows how likely the tag was that was put there: then the text has no log-probs."""
  tokens = [*first.tokens, *put, *behind.tokens]
  before, text = renderer.decode([*first.tokens, *put]), renderer.decode(tokens)
  if behind.finish == "stop_string" and (found := watch.first(text[len(before) :], stops)):
    text = text[: len(before) + found[0]]
  logprobs = [] if put else [*first.logprobs, *behind.logprobs]
  top = None if put or first.top is None or behind.top is None else [*first.top, *behind.top]
  return dataclasses.replace(behind, tokens=tokens, logprobs=logprobs, text=text, top=top)
