"""Instructions of M-IFEval that need Japanese words or sentences (Dussolle et al. 2025; `ja_instructions.py`).

Words are those of janome with its own dictionary (IPADIC). Sentences are found by rules: widths and spaces
are made even as NEologd says, lines end sentences unless they end in の, and 。 ! ? end them outside of quotation
marks and parentheses.
"""

import dataclasses
import functools
import itertools
import re
import unicodedata
from typing import Any

from itune_jax.core import lazy
from itune_jax.grading.ifeval import instruction
from itune_jax.grading.ifeval import tongues

janome = lazy.module("janome.tokenizer")

_QUOTED = re.compile(r"「.*?」|『.*?』")
_HALF = "!\"#$%&'()*+,-./:;<=>?@[¥]^_`{|}~｡､･｢｣"
_FULL = "！”＃＄％＆’（）＊＋，－．／：；＜＝＞？＠［￥］＾＿｀｛｜｝〜。、・「」"
_NARROWED = "！”＃＄％＆’（）＊＋，－．／：；＜＞？＠［￥］＾＿｀｛｜｝〜"  # ＝ 。 、 ・ 「 」 stay as they are
_BLOCKS = "\u4e00-\u9fff\u3040-\u309f\u30a0-\u30ff\u3000-\u303f\uff00-\uffef"
_SAFE = (re.compile(r"「[^「」]*」"), re.compile(r"\([^()]*\)"))


@functools.cache
def _tokenizer():
  return janome.Tokenizer()


def tokens(text: str) -> list[Any]:
  """janome's tokens, each with its surface and part of speech. Raises InputError without janome."""
  return list(_tokenizer().tokenize(text))


def words(text: str) -> list[str]:
  """The words of a text."""
  return [token.surface for token in tokens(text)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class JapaneseExistence(instruction.Instruction):
  """Each keyword is one of the words."""

  keywords: tuple[str, ...]

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return set(self.keywords) <= set(words(response))


@dataclasses.dataclass(frozen=True, kw_only=True)
class JapaneseFrequency(tongues.Counted):
  """A keyword is a word so many times."""

  keyword: str
  frequency: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return tongues.compare(words(response).count(self.keyword.strip()), self.relation, self.frequency)


@dataclasses.dataclass(frozen=True, kw_only=True)
class JapaneseForbidden(instruction.Instruction):
  """None of these is one of the words."""

  forbidden_words: tuple[str, ...]

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return set(self.forbidden_words).isdisjoint(words(response))


@dataclasses.dataclass(frozen=True, kw_only=True)
class NominalEndings(instruction.Instruction):
  """So many sentences at least, quotations aside, end in a noun (体言止め)."""

  count: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    found = tokens(_QUOTED.sub("", response))
    pairs = itertools.pairwise(found)
    return sum(b.surface in "。！？" and a.part_of_speech.startswith("名詞") for a, b in pairs) >= self.count


@dataclasses.dataclass(frozen=True, kw_only=True)
class JapaneseSentences(tongues.Counted):
  """So many sentences."""

  num_sentences: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return tongues.compare(len(sentences(response)), self.relation, self.num_sentences)


def sentences(text: str) -> list[str]:
  """The sentences of a text, by the rules that the official code sets for ja_sentence_segmenter."""
  lines: list[str] = []
  for line in even(text).splitlines():
    if lines and re.match(r"^.+の$", lines[-1]):
      lines[-1] += line
    else:
      lines.append(line)
  return [one for line in lines for one in _split(line)]


def _split(line: str) -> list[str]:
  """A line behind each 。 ! ? that stands in no innermost quotation or parentheses."""
  safe = {k for pattern in _SAFE for match in pattern.finditer(line) for k in range(*match.span())}
  put = "".join(f"{sign}\n" if sign in "。!?" and k not in safe else sign for k, sign in enumerate(line))
  return put.splitlines()


def even(text: str) -> str:
  """Text with letters and signs of one width, one kind of hyphen and of long vowel, and no spaces beside Japanese."""
  text = _narrow(text.strip(), "０-９Ａ-Ｚａ-ｚ｡-ﾟ").replace("－", "-")
  text = re.sub("[˗֊‐‑‒–⁃⁻₋−]+", "-", text)
  text = re.sub("[﹣－ｰ—―─━ー]+", "ー", text)
  text = re.sub("[~∼∾〜〰～]", "～", text)
  text = text.translate({ord(a): b for a, b in zip(_HALF, _FULL, strict=True)})
  text = re.sub("[ 　]+", " ", text)
  for before, behind in ((_BLOCKS, _BLOCKS), (_BLOCKS, "\u0000-\u007f"), ("\u0000-\u007f", _BLOCKS)):
    space = re.compile(f"([{before}]) ([{behind}])")
    while space.search(text):
      text = space.sub(r"\1\2", text)
  return _narrow(text, _NARROWED).replace("’", "'").replace("”", '"')


def _narrow(text: str, of: str) -> str:
  """Runs of some characters in NFKC; a full-width hyphen that comes of it is a hyphen."""
  found = re.sub(f"[{of}]+", lambda match: unicodedata.normalize("NFKC", match[0]), text)
  return found.replace("－", "-")
