"""The kinds of instructions by the names that rows give them. A further kind is a class and a row."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.core import nearest
from itune_jax.grading.ifeval import content
from itune_jax.grading.ifeval import form
from itune_jax.grading.ifeval import instruction
from itune_jax.grading.ifeval import whole

KINDS: dict[str, type[instruction.Instruction]] = {
  "keywords:existence": content.Existence,
  "keywords:frequency": content.Frequency,
  "keywords:forbidden_words": content.ForbiddenWords,
  "keywords:letter_frequency": content.LetterFrequency,
  "language:response_language": whole.ResponseLanguage,
  "length_constraints:number_sentences": form.NumberSentences,
  "length_constraints:number_paragraphs": form.NumberParagraphs,
  "length_constraints:number_words": form.NumberWords,
  "length_constraints:nth_paragraph_first_word": form.ParagraphFirstWord,
  "detectable_content:number_placeholders": content.Placeholders,
  "detectable_content:postscript": content.Postscript,
  "detectable_format:number_bullet_lists": form.BulletLists,
  "detectable_format:constrained_response": form.ConstrainedResponse,
  "detectable_format:number_highlighted_sections": form.HighlightedSections,
  "detectable_format:multiple_sections": form.MultipleSections,
  "detectable_format:json_format": form.JsonFormat,
  "detectable_format:title": form.Title,
  "combination:two_responses": whole.TwoResponses,
  "combination:repeat_prompt": whole.RepeatPrompt,
  "startend:end_checker": whole.EndChecker,
  "startend:quotation": whole.Quotation,
  "change_case:capital_word_frequency": content.CapitalWords,
  "change_case:english_capital": whole.EnglishCapital,
  "change_case:english_lowercase": whole.EnglishLowercase,
  "punctuation:no_comma": whole.NoComma,
}


def build(
  kind: Any, kwargs: Any, table: Mapping[str, type[instruction.Instruction]] = KINDS
) -> instruction.Instruction:
  """The instruction of a kind of a table and its kwargs, as a row gives them.

  Arguments that are null are left out: tables hold every argument of every kind. Raises InputError, naming the kind and
  the argument, for an unknown kind, and for arguments that are missing, unknown, or of a type or value that is none.
  """
  if not isinstance(kind, str) or kind not in table:
    meant = nearest.meant(str(kind)[:80], table) or f"; they are {', '.join(table)}"
    raise errors.InputError(f"unknown instruction {jsontext.shown(kind)}{meant}")
  if not isinstance(kwargs, Mapping):
    raise errors.InputError(f"{kind}: its kwargs are {jsontext.name(kwargs)}; they must be an object")
  known = {field.name for one in table.values() for field in _fields(one)}
  given = {name: value for name, value in kwargs.items() if value is not None or name not in known}
  takes = [field.name for field in _fields(table[kind])]
  said = f"it takes {', '.join(takes) or 'none'}"
  for name in given:
    if name not in takes:
      raise errors.InputError(
        f"{kind}: unknown argument {jsontext.shown(name)}{nearest.meant(str(name), takes)}; {said}"
      )
  for name in takes:
    if name not in given:
      raise errors.InputError(f"{kind}: argument `{name}` is missing; {said}")
  try:
    return table[kind](**{name: _plain(value) for name, value in given.items()})
  except errors.InputError as e:
    raise errors.InputError(f"{kind}: {e}") from None


def _plain(value: Any) -> Any:
  """A list as a tuple, and a whole number that a table wrote as 300.0 as the number that it is."""
  if isinstance(value, float) and value.is_integer():
    return int(value)
  return tuple(value) if isinstance(value, list) else value


def _fields(kind: type[instruction.Instruction]) -> tuple[dataclasses.Field[Any], ...]:
  return dataclasses.fields(kind)  # pyright: ignore[reportArgumentType]
