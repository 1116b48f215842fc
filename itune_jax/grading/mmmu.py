"""How MMMU reads answers (Yue et al. 2024; the official `eval_utils.py`), but for one thing: an answer that names no
choice is a failure (None), where the script draws a letter by chance.
"""

from collections.abc import Sequence
import re

from itune_jax.grading import letters

_SIGNS = (",", ".", "!", "?", ";", ":", "'")
_KEYS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_SENTENCES = re.compile(r"\.\s(?=[A-Z])|\n")
_NUMBERS = (
  re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
  re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+"),
  re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),
)


def letter(text: str, options: Sequence[str]) -> str | None:
  """The letter that an answer to a multiple choice names, the last where it names several; None where it names none.

  In this order: letters in brackets, letters between spaces, and, of more than five words, texts of choices.
  """
  for sign in _SIGNS:
    text = text.strip(sign)
  text = f" {text} "
  names = [letters.letter(i) for i in range(len(options))]
  for mark in ("({})", " {} "):
    if found := {name: text.rfind(mark.format(name)) for name in names if mark.format(name) in text}:
      return _last(found)
  if len(text.split()) > 5:
    lowered = text.lower()
    pairs = list(zip(names, (option.lower() for option in options), strict=True))
    if found := {name: lowered.rfind(option) for name, option in pairs if option in lowered}:
      return _last(found)
  return None


def is_open_right(text: str, gold: str | Sequence[str]) -> bool:
  """Whether an open answer has one of the right texts in its key sentences, or a number equal to two digits."""
  golds = [one for each in ((gold,) if isinstance(gold, str) else gold) for one in _normal(each)]
  texts = [one for one in golds if isinstance(one, str)]
  return any(any(one in said for one in texts) if isinstance(said, str) else said in golds for said in _said(text))


def _last(found: dict[str, int]) -> str:
  return max(found, key=lambda name: found[name])  # of two at one place the first, as numpy's argmax


def _said(text: str) -> list[str | float]:
  keys = _key_parts(text)
  parts = [*keys, *(number for key in keys for pattern in _NUMBERS for number in pattern.findall(key))]
  return [one for part in parts for one in _normal(part)]


def _key_parts(text: str) -> list[str]:
  """Of each sentence the shortest text behind a word that announces an answer; the whole answer without any."""
  text = text.strip().strip(".").lower()
  parts, found = _SENTENCES.split(text), []
  for number, part in enumerate(parts):
    keys = (*_KEYS, "=") if number == len(parts) - 1 else _KEYS
    shortest = ""
    for behind in (part.split(key)[-1].strip() for key in keys if key in part):
      shortest = behind if not shortest or len(behind) < len(shortest) else shortest
    if shortest and shortest not in _SIGNS:
      found.append(shortest)
  return found or [text]


def _normal(text: str) -> list[str | float]:
  """A number with two digits; a text in lower case, of one character with a space on either side."""
  text = text.strip()
  try:
    return [round(float(text.replace(",", "")), 2)]
  except ValueError:
    lowered = text.lower()
    return [" " + lowered, lowered + " "] if len(lowered) == 1 else [lowered]
