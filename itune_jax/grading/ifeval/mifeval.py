"""The kinds of M-IFEval by the names that rows give them, and those that need packages or models."""

from collections.abc import Mapping
import importlib.util
from typing import Any

from itune_jax.grading.ifeval import content
from itune_jax.grading.ifeval import form
from itune_jax.grading.ifeval import instruction
from itune_jax.grading.ifeval import japanese
from itune_jax.grading.ifeval import japanese_words
from itune_jax.grading.ifeval import kinds
from itune_jax.grading.ifeval import spanish_words
from itune_jax.grading.ifeval import tongues
from itune_jax.grading.ifeval import whole

# Kinds that are not checked here, and what their official checker needs.
_NEVER = {"es:length_constraints:number_sentences": "spaCy's trained models es_core_news_sm and xx_sent_ud_sm"}
# Kinds whose words a package finds, which the extra `mifeval` brings.
_BY_PACKAGE: dict[str, tuple[str, ...]] = {
  "spacy": (
    "es:length_constraints:number_words",
    "es:change_case:capital_word_frequency",
    "es:special_character:enie",
    "es:special_character:tildes",
    "es:special_character:dieresis",
  ),
  "janome": (
    "ja:keywords:existence",
    "ja:keywords:frequency",
    "ja:keywords:forbidden_words",
    "ja:detectable_format:nominal_ending",
  ),
}


def without() -> dict[str, str]:
  """The kinds that cannot be checked here, and what each needs: a package that is not installed, or a model."""
  lacking = {package: kinds for package, kinds in _BY_PACKAGE.items() if importlib.util.find_spec(package) is None}
  needs = {
    kind: f"{package} (pip install 'itune_jax[mifeval]')" for package, kinds in lacking.items() for kind in kinds
  }
  return {**_NEVER, **needs}


_SHARED: dict[str, type[instruction.Instruction]] = {
  "language:response_language": tongues.ResponseLanguage,
  "length_constraints:number_paragraphs": form.NumberParagraphs,
  "detectable_content:number_placeholders": content.Placeholders,
  "detectable_format:json_format": form.JsonFormat,
  "combination:two_responses": whole.TwoResponses,
}
_LATIN: dict[str, type[instruction.Instruction]] = {
  "keywords:existence": content.Existence,
  "keywords:frequency": tongues.Frequency,
  "keywords:forbidden_words": content.ForbiddenWords,
  "keywords:letter_frequency": tongues.LetterFrequency,
  "detectable_format:number_highlighted_sections": form.HighlightedSections,
  "detectable_format:multiple_sections": form.MultipleSections,
  "combination:repeat_prompt": whole.RepeatPrompt,
  "punctuation:no_comma": whole.NoComma,
}
_SPANISH: dict[str, type[instruction.Instruction]] = {
  "length_constraints:nth_paragraph_first_word": tongues.FirstWords,
  "detectable_content:postscript": tongues.SpanishPostscript,
  "detectable_format:number_bullet_lists": tongues.Lines,
  "detectable_format:constrained_response": tongues.OneOf,
  "detectable_format:title": form.Title,
  "startend:end_checker": tongues.SpanishEnd,
  "startend:quotation": whole.Quotation,
  "change_case:spanish_capital": tongues.SpanishCapital,
  "change_case:spanish_lowercase": tongues.SpanishLower,
  "length_constraints:number_words": spanish_words.SpanishNumberWords,
  "change_case:capital_word_frequency": spanish_words.SpanishCapitalWords,
  "special_character:enie": spanish_words.Enie,
  "special_character:tildes": spanish_words.Tildes,
  "special_character:dieresis": spanish_words.Dieresis,
  "punctuation:question_marks": tongues.Has,
  "punctuation:exclamation_marks": tongues.Exclaims,
}
_FRENCH: dict[str, type[instruction.Instruction]] = {
  "length_constraints:number_words": tongues.NumberWords,
  "length_constraints:number_sentences": tongues.FrenchSentences,
  "length_constraints:nth_paragraph_first_word": form.ParagraphFirstWord,
  "detectable_content:postscript": content.Postscript,
  "detectable_content:informal_address": tongues.InformalAddress,
  "detectable_content:no_digits": tongues.Without,
  "detectable_format:number_bullet_lists": form.BulletLists,
  "detectable_format:constrained_response": tongues.OneOfFrench,
  "detectable_format:title": tongues.FrenchTitle,
  "startend:end_checker": whole.EndChecker,
  "startend:quotation": tongues.Between,
  "change_case:capital_word_frequency": tongues.CapitalWords,
  "change_case:french_capital": tongues.FrenchCapital,
  "change_case:french_lowercase": tongues.FrenchLower,
  "special_character:ethel_or_cedilla": tongues.ForbiddenChar,
  "special_character:no_accents": tongues.NoAccents,
  "special_character:accents": tongues.Accents,
}
_JAPANESE: dict[str, type[instruction.Instruction]] = {
  "keywords:existence": japanese_words.JapaneseExistence,
  "keywords:frequency": japanese_words.JapaneseFrequency,
  "keywords:forbidden_words": japanese_words.JapaneseForbidden,
  "keywords:letter_frequency": japanese.KanaFrequency,
  "length_constraints:number_sentences": japanese_words.JapaneseSentences,
  "detectable_format:nominal_ending": japanese_words.NominalEndings,
  "length_constraints:number_letters": japanese.NumberLetters,
  "length_constraints:nth_paragraph_first_word": japanese.JapaneseFirst,
  "detectable_content:postscript": japanese.JapanesePostscript,
  "detectable_format:number_bullet_lists": japanese.JapaneseBullets,
  "detectable_format:number_numbered_lists": japanese.NumberedLines,
  "detectable_format:constrained_response": japanese.OneOfJapanese,
  "detectable_format:number_highlighted_sections": japanese.JapaneseHighlights,
  "detectable_format:multiple_sections": japanese.JapaneseSections,
  "detectable_format:title": japanese.JapaneseTitle,
  "combination:repeat_prompt": japanese.JapaneseRepeat,
  "startend:end_checker": japanese.JapaneseEnd,
  "startend:quotation": japanese.JapaneseBetween,
  "startend:sentence_unified_end": japanese.SameEnding,
  "punctuation:no_comma": japanese.NoJapaneseComma,
  "punctuation:no_period": japanese.NoJapanesePeriod,
  "letters:furigana": japanese.Furigana,
  "letters:kansuuji": tongues.Without,
  "letters:no_katakana": japanese.NoKatakana,
  "letters:katakana_only": japanese.KatakanaOnly,
  "letters:no_hiragana": japanese.NoHiragana,
  "letters:hiragana_only": japanese.HiraganaOnly,
  "letters:kanji": japanese.Kanji,
}
KINDS: dict[str, type[instruction.Instruction]] = {
  f"{code}:{name}": kind
  for code, table in (
    ("es", _SHARED | _LATIN | _SPANISH),
    ("fr", _SHARED | _LATIN | _FRENCH),
    ("ja", _SHARED | _JAPANESE),
  )
  for name, kind in table.items()
}
# Arguments that rows have under another name, and those that the Spanish rows have although nothing compares by them.
_NAMES = {"let_relation": "relation", "capital_relation": "relation"}
_UNREAD = ("number_placeholders", "number_highlighted_sections", "multiple_sections")


def build(kind: Any, kwargs: Any) -> instruction.Instruction:
  """The instruction of a kind and its kwargs, as a row gives them. Raises InputError as `kinds.build` does."""
  if isinstance(kwargs, Mapping) and isinstance(kind, str):
    unread = {"relation"} if kind.startswith("es:") and kind.rpartition(":")[2] in _UNREAD else set()
    kwargs = {_NAMES.get(name, name): value for name, value in kwargs.items() if name not in unread}
  return kinds.build(kind, kwargs, KINDS)
