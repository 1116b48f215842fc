"""Short answers to questions about images: yes or no as POPE reads them, and ChartQA's relaxed accuracy."""

from typing import Literal

RELAXED = 0.05  # how far a number may be from the right one, as a share of it


def pope(text: str) -> Literal["yes", "no"]:
  """POPE's own rule (its `evaluate.py`): "no" where the first sentence has the word No, no or not, else "yes"."""
  words = text.split(".")[0].replace(",", "").split(" ")
  return "no" if any(word in words for word in ("No", "not", "no")) else "yes"


def names_either(text: str) -> bool:
  """Whether an answer has a yes or a no at all: POPE takes one that has neither for yes."""
  words = {word.strip(".,:;!\"'").lower() for word in text.split()}
  return bool(words & {"yes", "no", "not"})


def relaxed(said: str, gold: str) -> bool:
  """Relaxed accuracy (Masry et al. 2022, as Pix2Struct computes it): numbers within 5 %, texts equal but for case."""
  one, two = _number(said), _number(gold)
  if one is not None and two:
    return abs(one - two) / abs(two) <= RELAXED
  return said.lower() == gold.lower()


def _number(text: str) -> float | None:
  """A number, or a percentage as a share; None for another text."""
  try:
    return float(text.rstrip("%")) / 100.0 if text.endswith("%") else float(text)
  except ValueError:
    return None
