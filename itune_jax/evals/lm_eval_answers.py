"""What lm-evaluation-harness asks of an answer (`gen_kwargs`), as a request here, and the text that it gets back.

The names and defaults are those of lm-eval 0.4.13 (`normalize_gen_kwargs`); what a model's Hugging Face backend would
hand on to transformers is taken where decoding here knows it by the same name, and refused by name otherwise.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from lm_eval.models import utils as lm_eval_utils  # pyright: ignore[reportMissingImports]  # optional

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.sampling.decode import call
from itune_jax.sampling.decode import controls

MAX_GEN_TOKS = 256  # lm-eval's default for a task that says nothing
_SAMPLING = ("top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "min_new_tokens")
_OWN = ("until", "max_gen_toks", "do_sample", "temperature")
_NEUTRAL = {"num_beams": 1}  # what tasks say though it changes nothing


@dataclasses.dataclass(frozen=True)
class Plan:
  """One set of `gen_kwargs`: strings that end an answer, its most tokens, and how those are drawn."""

  stops: tuple[str, ...]
  limit: int
  sampling: controls.Sampling

  @property
  def draws(self) -> bool:
    """Whether two answers to one prompt may differ."""
    return self.sampling.temperature > 0


def plan(gen_kwargs: Mapping[str, Any]) -> Plan:
  """What a task's `generation_kwargs` ask for. Raises InputError, by name, for what is not known here."""
  check.require(isinstance(gen_kwargs, Mapping), f"generation_kwargs are {gen_kwargs!r}: a table of names and values")
  given: dict[str, Any] = dict(lm_eval_utils.normalize_gen_kwargs(dict(gen_kwargs), MAX_GEN_TOKS))
  for name, neutral in _NEUTRAL.items():
    check.require(given.pop(name, neutral) == neutral, f"generation_kwargs: {name} other than {neutral} is not known")
  unknown = sorted(set(given) - {*_OWN, *_SAMPLING})
  known = ", ".join((*_OWN, *_SAMPLING))
  check.require(not unknown, f"generation_kwargs: {', '.join(unknown)}: not known here; known are {known}")
  stops = given["until"]
  check.require(all(isinstance(stop, str) for stop in stops), f"generation_kwargs: until = {stops!r}: texts are wanted")
  check.require(given["max_gen_toks"] > 0, f"generation_kwargs: max_gen_toks = {given['max_gen_toks']}: 1 or more")
  temperature = float(given.get("temperature", 0.0)) if given["do_sample"] else 0.0
  check.require(
    temperature > 0 or not given["do_sample"], "generation_kwargs: do_sample=True needs a temperature above 0"
  )
  values = {name: given[name] for name in _SAMPLING if name in given}
  try:
    sampling = controls.Sampling(temperature=temperature, **values)
  except errors.InputError as e:
    raise errors.InputError(f"generation_kwargs: {e}") from None
  return Plan(tuple(stop for stop in stops if stop), given["max_gen_toks"], sampling)


class Texts:
  """Ids into text as lm-eval's Hugging Face backend reads it: without special tokens, cut as its tasks want it.

  think_end: what ends the thinking of a model, a text or the id of a token; answers begin behind the last of it. Stop
  strings are looked for behind it only: reasoning is full of them.
  """

  def __init__(self, tokenizer: Any, stops: Sequence[str], think_end: str | int | None = None):
    self._tokenizer, self._think_end = tokenizer, think_end
    special = {token.content: i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    self._shown = {text: special[text] for text in dict.fromkeys(stops) if text in special}
    self._hidden = set(special.values()) - set(self._shown.values())
    self._eos = tokenizer.decode([tokenizer.eos_token_id])

  def __call__(self, ids: Sequence[int]) -> str:
    """The text of ids, for who watches for stop strings: those that are special tokens are seen."""
    if not self._shown:
      return self._tokenizer.decode(ids, skip_special_tokens=True)
    return self._tokenizer.decode([i for i in ids if i not in self._hidden], skip_special_tokens=False)

  def stops(self, wanted: Plan) -> tuple[str, ...]:
    """The strings that end decoding: none as long as a model thinks."""
    return () if self._think_end is not None else wanted.stops

  def answer(self, said: call.Generation, wanted: Plan) -> str:
    """The answer: thinking cut off first, then whatever stands behind a stop string or the end token."""
    ids, text = said.tokens, said.text
    if isinstance(self._think_end, int) and self._think_end in ids:
      ids = ids[len(ids) - ids[::-1].index(self._think_end) :]
    if self._think_end is not None or text is None:
      text = self(ids)
    if isinstance(self._think_end, int):
      text = text.lstrip()
    think_end = self._think_end if isinstance(self._think_end, str) else None
    text = lm_eval_utils.postprocess_generated_text(text, [*wanted.stops, self._eos], think_end)
    for shown in self._shown:
      text = text.replace(shown, "")  # another task's stop string: to this one a special token like all others
    return text
