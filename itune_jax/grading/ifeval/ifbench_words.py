"""Constraints of IFBench about counts and words (Pyatkin et al. 2025, arXiv 2507.02833; `instructions.py`).

Verdicts are those of the official checkers, including where these are looser than their sentence: "words" are then runs
without white space, bare of ASCII punctuation. What needs a package (emoji, syllapy) is told in `ifbench.py`.
"""

import collections
import dataclasses
import itertools
import re
import string

from itune_jax.core import lazy
from itune_jax.grading.ifeval import instruction
from itune_jax.grading.ifeval import texts

syllapy = lazy.module("syllapy")

EDGES = f"{string.punctuation} "  # what words are stripped of
_NO_SIGNS = str.maketrans("", "", string.punctuation)
_VOWELS, _CONSONANTS = frozenset("aeiou"), frozenset("bcdfghjklmnpqrstvwxyz")
_PRIMES = frozenset(n for n in range(2, 98) if all(n % k for k in range(2, n)))
_CONJUNCTIONS = frozenset(("and", "but", "for", "nor", "or", "so", "yet"))
_JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
# NLTK's English stop words; those with an apostrophe are none of the runs of word characters that are counted.
_STOP_WORDS = """
  i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself it its
  itself they them their theirs themselves what which who whom this that these those am is are was were be been being
  have has had having do does did doing a an the and but if or because as until while of at by for with about against
  between into through during before after above below to from up down in out on off over under again further then once
  here there when where why how all any both each few more most other some such no nor not only own same so than too
  very s t can will just don should now d ll m o re ve y ain aren couldn didn doesn hadn hasn haven isn ma mightn mustn
  needn shan shouldn wasn weren won wouldn
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
NAMES = (
  *("Emma", "Liam", "Sophia", "Jackson", "Olivia", "Noah", "Ava", "Lucas", "Isabella", "Mason", "Mia", "Ethan"),
  *("Charlotte", "Alexander", "Amelia", "Benjamin", "Harper", "Leo", "Zoe", "Daniel", "Chloe", "Samuel", "Lily"),
  *("Matthew", "Grace", "Owen", "Abigail", "Gabriel", "Ella", "Jacob", "Scarlett", "Nathan", "Victoria", "Elijah"),
  *("Layla", "Nicholas", "Audrey", "David", "Hannah", "Christopher", "Penelope", "Thomas", "Nora", "Andrew", "Aria"),
  *("Joseph", "Claire", "Ryan", "Stella", "Jonathan"),
)
_PRONOUNS = """
  i me we us you he him she her it they them my mine our ours your yours his hers its their theirs myself ourselves
  yourself yourselves himself herself itself themselves this that these those who whom whose which what whoever whomever
  whatever whichever anybody anyone anything everybody everyone everything nobody nothing somebody someone something
  each either neither both all some any none
"""
PRONOUNS = frozenset(_PRONOUNS.split())


def bare(text: str) -> str:
  """A text without ASCII punctuation."""
  return text.translate(_NO_SIGNS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WordRange(instruction.Instruction):
  """From so many words to so many."""

  min_words: int
  max_words: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return self.min_words <= len(texts.words(response)) <= self.max_words


@dataclasses.dataclass(frozen=True, kw_only=True)
class UniqueWords(instruction.Instruction):
  """So many different words at least."""

  N: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return len({word.strip(EDGES) for word in response.lower().split()}) >= self.N


@dataclasses.dataclass(frozen=True, kw_only=True)
class StopWords(instruction.Instruction):
  """At most so many percent of the words are stop words."""

  percentage: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    words = texts.words(response)
    share = sum(word.lower() in STOP_WORDS for word in words) / len(words) * 100 if words else 101
    return share <= self.percentage


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conjunctions(instruction.Instruction):
  """So many different coordinating conjunctions; as officially, one with a comma behind it is another one."""

  small_n: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    found = {word for word in response.split() if word.strip(EDGES).lower() in _CONJUNCTIONS}
    return len(found) >= self.small_n


@dataclasses.dataclass(frozen=True, kw_only=True)
class PersonNames(instruction.Instruction):
  """So many different names of a list."""

  N: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return sum(re.search(rf"\b{name}\b", response) is not None for name in NAMES) >= self.N


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overlap(instruction.Instruction):
  """So many percent, two more or less, of the triples of characters are those of a reference."""

  reference_text: str
  percentage: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    triples = lambda text: {text[i : i + 3] for i in range(len(text) - 2)}
    own = triples(response)
    if not own:
      return False
    share = len(own & triples(self.reference_text)) / len(own)
    return self.percentage - 2 <= share * 100 <= self.percentage + 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Numbers(instruction.Instruction):
  """Exactly so many numbers."""

  N: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return len(re.findall(r"\d+", bare(response))) == self.N


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pronouns(instruction.Instruction):
  """So many pronouns at least; she/her counts as two."""

  N: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return sum(word in PRONOUNS for word in texts.tokens(response.replace("/", " ").lower())) >= self.N


@dataclasses.dataclass(frozen=True, kw_only=True)
class Punctuation(instruction.Instruction):
  """Every one of . , ! ? ; : and an interrobang beside these."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    if not any(bang in response for bang in ("!?", "?!", "‽")):
      return False
    without = response.replace("?!", "", 1)
    without = response.replace("!?", "", 1) if without == response else without
    return set(".,!?;:") <= set(without)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EveryNthJapanese(instruction.Instruction):
  """Every so many-th word has a Japanese character, unless it is a number or a sign."""

  N: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    chosen = (word.strip(EDGES) for word in response.split()[self.N - 1 :: self.N])
    return all(_JAPANESE.search(word) for word in chosen if word and not word.isdigit())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Keywords(instruction.Instruction):
  """Five keywords, in any case and within words too, once, twice, three, five and seven times."""

  keyword1: str
  keyword2: str
  keyword3: str
  keyword4: str
  keyword5: str

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    words = (self.keyword1, self.keyword2, self.keyword3, self.keyword4, self.keyword5)
    counts = [response.lower().count(word.strip().lower()) for word in words]
    return counts == [1, 2, 3, 5, 7]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlphabetLoop(instruction.Instruction):
  """Each word begins with the next letter of the alphabet, a behind z."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    words, letters = bare(response).split(), string.ascii_lowercase
    firsts = [word.lower()[0] for word in words]
    if not words or words[0][0].lower() not in letters:
      return False
    start = letters.index(firsts[0])
    return all(first == letters[(start + k) % 26] for k, first in enumerate(firsts))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ThreeVowels(instruction.Instruction):
  """One line with at most three of the vowels."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    text = response.strip()
    return "\n" not in text and len(_VOWELS & set(text.lower())) <= 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clusters(instruction.Instruction):
  """Each word has two consonants beside each other."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    has = lambda word: any(a in _CONSONANTS and b in _CONSONANTS for a, b in itertools.pairwise(word))
    return all(map(has, response.lower().split()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Palindromes(instruction.Instruction):
  """Ten words of five letters or more that are read the same backwards."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    words = bare(response).lower().split()
    return sum(len(word) >= 5 and word == word[::-1] for word in words) >= 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrimeLengths(instruction.Instruction):
  """The length of each word is a prime below 100."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return all(len(word) in _PRIMES for word in bare(response).split())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Repeats(instruction.Instruction):
  """No word more than so many times."""

  small_n: int

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    counts = collections.Counter(bare(response.lower()).split())
    return max(counts.values(), default=0) <= self.small_n


@dataclasses.dataclass(frozen=True, kw_only=True)
class SyllableParity(instruction.Instruction):
  """Words of an odd and of an even number of syllables take turns, as syllapy counts them."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    odd = [syllapy.count(word) % 2 for word in bare(response).lower().split()]
    return all(a != b for a, b in itertools.pairwise(odd))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParagraphFirstLast(instruction.Instruction):
  """Each line ends with the word that it begins with."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    lines = [line.strip().lower().strip(EDGES).split() for line in response.split("\n")]
    return all(words[0] == words[-1] for words in lines if words)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoSameFirst(instruction.Instruction):
  """No two words beside each other begin with one letter."""

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    return all(a[0] != b[0] for a, b in itertools.pairwise(bare(response.lower()).split()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SecondWords(instruction.Instruction):
  """A keyword is the second word and the last but one, a sign at the end aside."""

  keyword: str

  def follows(self, response: str) -> bool:
    """Whether a response does."""
    words = texts.tokens(response)
    last = 3 if words and words[-1] in string.punctuation else 2
    if len(words) < last:
      return False
    return words[1].lower() == words[-last].lower() == self.keyword.strip().lower()
