"""One answer of a judge as a verdict: a value, or by name why there is none."""

from collections.abc import Mapping, Sequence
import math
import re
from typing import Literal, NamedTuple

from itune_jax.grading.judging import parsers
from itune_jax.grading.judging import judge_prompt as prompt_lib

Kind = Literal["read", "unparsed", "off_scale", "refused", "cut_off", "empty", "no_logprobs", "failed"]
KINDS: tuple[Kind, ...] = ("read", "unparsed", "off_scale", "refused", "cut_off", "empty", "no_logprobs", "failed")

# How refusals of chat models begin; only texts without a verdict are looked at.
_REFUSAL = re.compile(
  r"^\W*(?:i(?:'|’)?m sorry|sorry|i apologi[sz]e|i can(?:no|'|’)t|i am (?:un|not )able|i(?:'|’)m (?:un|not )able|"
  r"as an ai|i won(?:'|’)t|i will not|i must decline)",
  re.IGNORECASE,
)


class Reading(NamedTuple):
  """value: a rating, or what the first answer of a pair is worth; None unless `kind` is "read". said: the judge's
  words, or what became of its answer. mass: probability of all answers that the rubric knows, where it was weighed.
  votes: what each of several voices said, None for one without a verdict; empty of one voice."""

  value: float | None
  kind: Kind
  said: str
  mass: float | None = None
  votes: tuple[float | None, ...] = ()


def together(voices: Sequence[tuple[str, Reading]]) -> Reading:
  """What several voices say together: the mean of the verdicts that were read, as panels of judges pool them (Verga et
  al. 2024). Of none it is what became of the first.

  voices: who spoke, and what.
  """
  read = [one.value for _, one in voices if one.value is not None]
  said = "\n\n".join(f"[{name}] {one.said}" for name, one in voices)
  votes = tuple(one.value for _, one in voices)
  if not read:
    return Reading(None, voices[0][1].kind, said, votes=votes)
  return Reading(math.fsum(read) / len(read), "read", said, votes=votes)


def of_text(prompt: prompt_lib.Prompt, text: str, finish: str) -> Reading:
  """What a text says by the prompt's parser. A rating outside of the scale is no verdict."""
  value = parsers.PARSERS[prompt.reads](text)
  low, high = prompt.scale
  if value is not None:
    return Reading(value, "read", text) if low <= value <= high else Reading(None, "off_scale", text)
  if finish == "content_filter" or _REFUSAL.match(text):
    return Reading(None, "refused", text)
  if not text.strip():
    return Reading(None, "empty", text)
  return Reading(None, "cut_off" if finish == "length" and prompt.limit > 1 else "unparsed", text)


def of_tokens(prompt: prompt_lib.Prompt, top: Sequence[tuple[str, float]] | None, said: str) -> Reading:
  """The expectation over the answers that the rubric knows (DEITA, AlpacaEval 2): Σ p·worth / Σ p.

  top: tokens and log-probabilities (nats) at the answer's first place. Space around a token is not looked at unless the
  prompt is `exact`; a token that is no answer has no part in the sum.
  """
  if top is None:
    return Reading(None, "no_logprobs", said)
  weights: dict[str, float] = {}
  for token, logprob in top:
    name = token if prompt.exact else token.strip()
    if name in prompt.tokens:
      weights[name] = weights.get(name, 0.0) + math.exp(logprob)
  return expectation(prompt.tokens, weights, said)


def expectation(worths: Mapping[str, float], weights: Mapping[str, float], said: str) -> Reading:
  """The same from probabilities of the answers themselves."""
  mass = math.fsum(weights.values())
  if not mass > 0:
    return Reading(None, "unparsed", said, 0.0)
  value = math.fsum(worths[name] * weight for name, weight in weights.items()) / mass
  return Reading(value, "read", said, min(mass, 1.0))


def count(readings: Sequence[Reading]) -> dict[str, int]:
  """How many of each kind that is no verdict, where there are any."""
  found = {kind: sum(reading.kind == kind for reading in readings) for kind in KINDS[1:]}
  return {kind: number for kind, number in found.items() if number}
