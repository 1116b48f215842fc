"""How LegalBench scores the answers to each of its 162 tasks (Guha et al. 2023; the official `evaluation.py`).

| kind | tasks | figure |
|---|---|---|
| `exact` | all that are not below | balanced accuracy of texts without punctuation, in lower case |
| `numeric` | sara_numeric | the share within 10 % |
| `definition` | definition_extraction | the share where a term has the stem of a right one |
| `citation` | citation_prediction_open | the share whose text holds the case's name |
| `ssla` | ssla_* | F1 of names over all answers |
| `exceptions` | successor_liability | F1 of four exceptions; the official script counts it as `exact` |
| `manual` | rule_qa | none: people judge it |

Values are kept by answer so that their sums give the official figure: (label, prediction) of balanced accuracy, (2·tp,
2·tp + fp + fn) of F1, 0 or 1 of shares. Faults of the script are kept: its false positives of `ssla` are added once for
each right answer, and the first digits of an amount without its point ("1.50" is 150) are its number.
"""

import functools
import re
import string
from typing import Any, Literal

from itune_jax.core import lazy

_stem: Any = lazy.module("nltk.stem.porter")

Kind = Literal["exact", "numeric", "definition", "citation", "ssla", "exceptions", "manual"]
EXCEPTIONS = ("express agreement", "fraudulent conveyance", "de facto merger", "mere continuation")
_SPECIAL: dict[str, Kind] = {
  "sara_numeric": "numeric",
  "definition_extraction": "definition",
  "citation_prediction_open": "citation",
  "successor_liability": "exceptions",
  "rule_qa": "manual",
}
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_DIGITS = re.compile(r"\d+")


def kind(task: str) -> Kind:
  """How a task is scored."""
  return "ssla" if task.startswith("ssla") else _SPECIAL.get(task, "exact")


def value(how: Kind, said: str, answer: str) -> Any:
  """What one answer adds to the figure of its kind. Raises ValueError for an amount that is no number, and for
  `manual`."""
  if how == "manual":
    raise ValueError("people judge it")
  return _VALUES[how](said, answer)


def normalised(text: str) -> str:
  """Without ASCII punctuation and white space at the ends, in lower case."""
  return text.translate(_NO_PUNCTUATION).strip().lower()


def exact(said: str, answer: str) -> tuple[str, str]:
  """The pair that balanced accuracy is made of."""
  return normalised(answer), normalised(said)


def numeric(said: str, answer: str) -> bool:
  """Whether the first number is within 10 % of the right amount, of which 0.1 more keeps 0 dividable."""
  found = _DIGITS.search(said.replace(",", "").replace(".", ""))
  return abs((int(found[0]) if found else 0) / (int(answer.replace("$", "")) + 1e-1) - 1.0) < 0.1


def definition(said: str, answer: str) -> bool:
  """Whether one of the terms has the stem of a right one."""
  right = {stemmed(one) for one in answer.split(",")}
  return any(stemmed(one) in right for one in said.split(","))


def citation(said: str, answer: str) -> bool:
  """Whether the case's name stands in the answer."""
  return normalised(answer) in normalised(said)


def ssla(said: str, answer: str) -> tuple[int, int]:
  """2·tp and 2·tp + fp + fn of names; what is left of the answer after each right name counts as false each time."""
  left = [normalised(one) for one in said.split(",")]
  right = false = missed = 0
  for name in (normalised(one) for one in answer.split(",")):
    at = next((j for j, one in enumerate(left) if name in one), None)
    if at is None:
      missed += 1
    else:
      right += 1
      del left[at]
    false += len(left)
  return 2 * right, 2 * right + false + missed


def exceptions(said: str, answer: str) -> tuple[int, int]:
  """2·tp and 2·tp + fp + fn of the four exceptions that stand in the answer."""
  left, right, false = answer.split(","), 0, 0
  for one in (name for name in EXCEPTIONS if name in said):
    if one in left:
      left.remove(one)
      right += 1
    else:
      false += 1
  return 2 * right, 2 * right + false + len(left)


def stemmed(text: str) -> str:
  """The normalised text with Porter's stemmer run over it as one word, as the script does."""
  return _stemmer().stem(normalised(text))


@functools.cache
def _stemmer() -> Any:
  return _stem.PorterStemmer()


_VALUES = {
  "exact": exact,
  "numeric": numeric,
  "definition": definition,
  "citation": citation,
  "ssla": ssla,
  "exceptions": exceptions,
}
