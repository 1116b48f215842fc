"""The same question with small changes that leave its meaning: HELM's kinds of perturbation (Liang et al. 2022).

Each is a function of a text and a generator of random numbers. Numbers, and what stands in code or formulas (words with
digits, signs or capitals inside), are never changed, since they may be what is asked.
"""

from collections.abc import Callable, Mapping
import re

import numpy as np

Rng = np.random.Generator

TYPO, SPACE = 0.1, 0.1  # share of words that is changed
# Neighbours on a QWERTY keyboard.
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEIGHBOURS = {c: row[max(i - 1, 0) : i] + row[i + 1 : i + 2] for row in _ROWS for i, c in enumerate(row)}
_PLAIN = re.compile(r"[A-Za-z]?[a-z]{3,}")
_CONTRACTED = {
  "it is": "it's", "that is": "that's", "what is": "what's", "who is": "who's", "there is": "there's",
  "do not": "don't", "does not": "doesn't", "is not": "isn't", "are not": "aren't", "cannot": "can't",
  "did not": "didn't", "was not": "wasn't", "will not": "won't", "would not": "wouldn't", "they are": "they're",
}  # fmt: skip
_DIALECT = {
  "going to": "gonna", "want to": "wanna", "have to": "gotta", "you all": "y'all", "nothing": "nothin'",
  "because": "'cause", "them": "'em", "something": "somethin'", "isn't": "ain't", "is not": "ain't",
  "yes": "aye", "small": "wee", "very": "right", "child": "bairn", "children": "bairns", "over there": "yonder",
}  # fmt: skip
_BRITISH = {
  "color": "colour", "favorite": "favourite", "center": "centre", "organize": "organise", "realize": "realise",
  "behavior": "behaviour", "traveling": "travelling", "gray": "grey", "meter": "metre", "labor": "labour",
}  # fmt: skip
_SLOTS: tuple[tuple[str, tuple[str, ...]], ...] = (
  ("which of the following", ("which one of these", "which of these")),
  ("what is the", ("tell me the", "give the")),
  ("how many", ("what number of",)),
  ("answer with", ("reply with",)),
  ("write a", ("compose a", "produce a")),
  ("explain", ("make clear", "set out")),
  ("choose", ("pick", "select")),
  ("find", ("work out", "determine")),
  ("please", ("kindly",)),
)
_DISTRACTORS = (
  "The shop around the corner opens at nine.",
  "It rained a little on Tuesday, and then the sky cleared.",
  "My neighbour has two bicycles and a red umbrella.",
  "The train to the coast was late again.",
  "Somebody had left a window open in the hall.",
  "There were pears on the table, and a folded map.",
)


def typos(text: str, rng: Rng) -> str:
  """A tenth of the longer words with a slip: a neighbouring key, a letter twice, lost, or two in the wrong order."""
  return _by_words(text, TYPO, rng, _slip)


def _slip(word: str, rng: Rng) -> str:
  place, kind = int(rng.integers(1, len(word) - 1)), int(rng.integers(4))
  a, b = word[place], word[place + 1]
  near = _NEIGHBOURS.get(a, a)
  changed = (near[int(rng.integers(len(near)))] + b, a + a + b, b, b + a)[kind]
  return word[:place] + changed + word[place + 2 :]


def lower(text: str, rng: Rng) -> str:
  """All in lower case."""
  return text.lower()


def upper(text: str, rng: Rng) -> str:
  """All in upper case."""
  return text.upper()


def spaces(text: str, rng: Rng) -> str:
  """A tenth of the spaces between words are two or three."""
  return re.sub("(?<=\\S) (?=\\S)", lambda _: " " * (1 + int(rng.random() < SPACE) * int(rng.integers(1, 3))), text)


def contractions(text: str, rng: Rng) -> str:
  """Contracted forms."""
  return _replaced(text, _CONTRACTED)


def dialect(text: str, rng: Rng) -> str:
  """Words of spoken and regional English."""
  return _replaced(text, _DIALECT)


def british(text: str, rng: Rng) -> str:
  """British spelling of American words."""
  return _replaced(text, _BRITISH)


def paraphrase(text: str, rng: Rng) -> str:
  """Other words in the slots of an instruction."""
  for slot, others in _SLOTS:
    text = _replaced(text, {slot: others[int(rng.integers(len(others)))]})
  return text


def distractor(text: str, rng: Rng) -> str:
  """A sentence that has nothing to do with it in front."""
  return f"{_DISTRACTORS[int(rng.integers(len(_DISTRACTORS)))]} {text.lstrip()}"


KINDS: Mapping[str, Callable[[str, Rng], str]] = {
  "typos": typos,
  "lower": lower,
  "upper": upper,
  "spaces": spaces,
  "contractions": contractions,
  "dialect": dialect,
  "british": british,
  "paraphrase": paraphrase,
  "distractor": distractor,
}


def _by_words(text: str, share: float, rng: Rng, change: Callable[[str, Rng], str]) -> str:
  """Plain words of four letters or more, each with this chance."""
  pick = lambda match: change(match[0], rng) if _PLAIN.fullmatch(match[0]) and rng.random() < share else match[0]
  return re.sub(r"(?<![\w$\\'’-])[A-Za-z]{4,}(?![\w'’-])", pick, text)


def _replaced(text: str, table: Mapping[str, str]) -> str:
  """Whole words and phrases by others, with a capital where there was one."""

  def put(match: re.Match[str]) -> str:
    found = table[match[0].lower()]
    return found[0].upper() + found[1:] if match[0][0].isupper() else found

  longest = sorted(table, key=len, reverse=True)
  return re.sub(rf"\b(?:{'|'.join(map(re.escape, longest))})\b", put, text, flags=re.IGNORECASE)
