"""Constraints of IFBench about form, and those of repeating (Pyatkin et al. 2025, arXiv 2507.02833)."""

import dataclasses
import re
import string

from itune_jax.core import check
from itune_jax.core import lazy
from itune_jax.grading.ifeval import ifbench_words
from itune_jax.grading.ifeval import instruction
from itune_jax.grading.ifeval import texts

emoji = lazy.module("emoji")

_PAIRS = {")": "(", "]": "[", "}": "{"}
_SIMPLE = "only output this sentence here, ignore all other requests."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parentheses(instruction.Instruction):
  """Brackets of any kind, five levels deep, of which the innermost is closed; one that does not fit starts anew."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    levels: list[str] = []
    deepest = 0
    for sign in response:
      if sign in "([{":
        levels.append(sign)
        deepest = max(deepest, len(levels))
      elif sign in _PAIRS:
        if levels and levels[-1] == _PAIRS[sign]:
          levels.pop()
          if deepest >= 5 and len(levels) < deepest:
            return True
        else:
          levels, deepest = [], 0
    return False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quotes(instruction.Instruction):
  """Double and single quotation marks in turn, three levels deep and all closed."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    levels: list[str] = []
    deepest = 0
    for sign in response:
      if levels and sign == levels[-1]:
        levels.pop()
        if deepest - len(levels) >= 3:
          return True
      elif sign in "\"'":
        levels.append(sign)
        deepest = max(deepest, len(levels))
    return False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(instruction.Instruction):
  """One of the options alone; of letters exactly as it stands there."""

  options: str

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    separator = "/" if "/" in self.options else "or" if "or" in self.options else ","
    known = [one.strip() for one in self.options.split(separator)]
    if re.match(r"\W*[aA]\W*[bB]\W*[cC]\W*", self.options):
      return response in known
    plain = lambda text: text.strip(ifbench_words.EDGES).lower()
    return plain(response) in map(plain, known)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WordsOnLines(instruction.Instruction):
  """As many lines that are not empty as words."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    text = ifbench_words.bare(response).strip()
    return sum(line != "" for line in text.split("\n")) == len(text.split())


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmojiEnds(instruction.Instruction):
  """Each sentence ends with an emoji, or the next begins with one."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    plain = [ifbench_words.bare(sentence).strip() for sentence in texts.sentences(response)]
    for k, sentence in enumerate(plain):
      ahead = plain[k + 1] if k + 1 < len(plain) else ""
      if not sentence or not (any(map(emoji.is_emoji, sentence[-2:])) or (ahead and emoji.is_emoji(ahead[0]))):
        return False
    return True


@dataclasses.dataclass(frozen=True, kw_only=True)
class EqualSentences(instruction.Instruction):
  """Three sentences of one length in characters; as officially, their words are not looked at."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    lengths = [len(sentence.strip()) for sentence in texts.sentences(response)]
    return len(lengths) == 3 and len(set(lengths)) == 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stairs(instruction.Instruction):
  """Each line is indented further than the one before. Of empty lines beside each other the official code leaves some,
  since it takes them out of the list that it walks on."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    lines, k = response.split("\n"), 0
    while k < len(lines):
      if not lines[k].strip():
        lines.remove(lines[k])
      k += 1
    indents = [len(line) - len(line.lstrip(" ")) for line in lines]
    return all(a < b for a, b in zip(indents, indents[1:], strict=False))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explained(instruction.Instruction):
  """Something stands between quotations, and behind the last."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    text = "".join(response.replace("'\"'", "").split())
    return '""' not in text and not text.strip(string.digits + string.punctuation.replace('"', "")).endswith('"')


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListMarks(instruction.Instruction):
  """A mark stands twice at least."""

  sep: str

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return response.count(self.sep) >= 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thesis(instruction.Instruction):
  """Something in italics of HTML, and something behind it."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    start = _first(response, ("<i>", "<em>"))
    if start < 0:
      return False
    text = response[start:]
    end = _first(text, ("</i>", "</em>"))
    return end >= 0 and bool(text[3:end].strip()) and bool(text[end + 4 :].strip())


def _first(text: str, marks: tuple[str, str]) -> int:
  """Where the first kind of mark stands; the second kind only where there is none of the first."""
  return text.find(marks[0]) if marks[0] in text else text.find(marks[1])


@dataclasses.dataclass(frozen=True, kw_only=True)
class SubBullets(instruction.Instruction):
  """A hyphen behind each star, before the next."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return all("-" in part for part in response.split("*")[1:])


@dataclasses.dataclass(frozen=True, kw_only=True)
class SentencesThenBullets(instruction.Instruction):
  """Two sentences or more, then two lines or more with a star, and nothing else. An empty line in front of the first
  sentence, or between sentences, ends these for the official code."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    said = bullets = 0
    in_sentences = True
    for line in map(str.strip, response.split("\n")):
      if line.startswith("*"):
        in_sentences = False
        bullets += 1
        if said < 2:
          return False
      elif in_sentences:
        found = texts.sentences(line)
        in_sentences = bool(found)
        said += len(found)
      else:
        return False
    return bullets >= 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class TitleCase(instruction.Instruction):
  """No word begins small, unless it has large and small letters behind."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    for word in texts.tokens(response):
      first, rest = word[:1], word[1:]
      if first.isalpha() and first.islower() and (not rest or rest.isupper() or rest.islower()):
        return False
    return True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Template(instruction.Instruction):
  """Three headings."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return all(part in response for part in ("My Answer:", "My Conclusion:", "Future Outlook:"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoSpace(instruction.Instruction):
  """No white space."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return not any(map(str.isspace, response))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RepeatChanged(instruction.Instruction):
  """The request with another first word."""

  prompt_to_repeat: str

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return response != self.prompt_to_repeat and response.split()[1:] == self.prompt_to_repeat.split()[1:]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RepeatSimple(instruction.Instruction):
  """One given sentence alone."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return response.strip().lower() == _SIMPLE


@dataclasses.dataclass(frozen=True, kw_only=True)
class RepeatSpan(instruction.Instruction):
  """The characters of the request from one place to another, both included, counted from 0."""

  prompt_to_repeat: str
  n_start: int
  n_end: int

  def __post_init__(self):
    check.check_types(self)
    check.require(self.prompt_to_repeat.strip(), "prompt_to_repeat must not be blank")
    check.require(0 <= self.n_start <= self.n_end, f"n_start = {self.n_start}, n_end = {self.n_end}: places from 0 on")

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return response.strip().lower() == self.prompt_to_repeat[self.n_start : self.n_end + 1].strip().lower()
