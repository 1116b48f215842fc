"""The language of an answer, by lingua's models (Stahl), which are the same in every run and need no network.

A text with too few letters to tell is not judged. A language that lingua has no model of is named, and nothing of it is
judged: answers in it would be taken for another.
"""

from collections.abc import Iterable
import functools
import re
from typing import Any

from itune_jax.core import lazy
from itune_jax.core import log

_lingua: Any = lazy.module("lingua")

# Languages that a model may slip into, beside those that are asked for.
COMMON = ("en", "zh", "es", "fr", "de", "pt", "it", "ru", "ar", "hi", "ja", "id", "sw", "nl")
LETTERS = 20  # fewer letters tell too little, and a quarter of them where a character is a word or a syllable
_LETTER = re.compile(r"[^\W\d_]")
_DENSE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def known(codes: Iterable[str]) -> frozenset[str]:
  """Those of ISO 639-1 codes that have a detector."""
  return frozenset(codes).intersection(_all())


def said(text: str, codes: frozenset[str]) -> str | None:
  """The code of a text's language among `codes` and the common ones; None for a text that tells too little."""
  if len(_LETTER.findall(text)) + 3 * len(_DENSE.findall(text)) < LETTERS:
    return None
  found = _detector(codes).detect_language_of(text)
  return None if found is None else found.iso_code_639_1.name.lower()


def is_wrong(text: str, wanted: str, codes: frozenset[str]) -> bool | None:
  """Whether a text is in another language than is wanted; None where there is no detector, or too little text."""
  if wanted not in codes:
    return None
  found = said(text, codes)
  return None if found is None else found != wanted


@functools.cache
def judged(name: str, codes: tuple[str, ...]) -> frozenset[str]:
  """The codes that a benchmark can judge; says once, by name, which have no detector."""
  found = known(codes)
  if lacking := [code for code in codes if code not in found]:
    log.info(f"{name}: no detector knows {', '.join(lacking)}; whether answers are in these languages is not judged")
  return found


@functools.cache
def _all() -> dict[str, Any]:
  return {one.iso_code_639_1.name.lower(): one for one in _lingua.Language.all()}


@functools.cache
def _detector(codes: frozenset[str]) -> Any:
  languages = [_all()[code] for code in sorted(codes | known(COMMON))]
  return _lingua.LanguageDetectorBuilder.from_languages(*languages).build()
