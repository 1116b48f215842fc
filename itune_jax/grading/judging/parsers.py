r"""How answers of judges are read, by the rules of their makers. None is no verdict: it is counted, never guessed.

MT-bench (FastChat `llm_judge/common.py`): a rating is the first `[[number]]`, or else the first `[number]`; of two
answers `[[A]]` is looked for first, then `[[B]]`, then `[[C]]`. AlpacaEval 2: the name m or M alone. Arena-Hard
(`gen_judgment.py`): the last `[[A>>B]]`, or else the last of single brackets. LLMBar: `Output (a)` at the begin of a
line, or `Output (a) is better.`.
"""

from collections.abc import Callable, Mapping
import re

from itune_jax.grading.safety import harm_parsers

_ONE = (re.compile(r"\[\[(\d+\.?\d*)\]\]"), re.compile(r"\[(\d+\.?\d*)\]"))
_TWO = (re.compile(r"\[\[(\d+\.?\d*),\s?(\d+\.?\d*)\]\]"), re.compile(r"\[(\d+\.?\d*),\s?(\d+\.?\d*)\]"))
_LABELS = (re.compile(r"\[\[([AB<>=]+)\]\]"), re.compile(r"\[([AB<>=]+)\]"))
_OUTPUT = {1.0: re.compile(r"(?:^|\n) ?Output \(a\)"), 0.0: re.compile(r"(?:^|\n) ?Output \(b\)")}
_BETTER = {1.0: re.compile(r"Output \(a\) is better."), 0.0: re.compile(r"Output \(b\) is better.")}
_PYTHON_NUMBER = re.compile(r"0+|[1-9][0-9]*|[0-9]+\.[0-9]*")
TIE = 0.1  # two ratings that differ by no more are equal

ARENA: Mapping[str, tuple[float, int]] = {
  "A>>B": (1.0, 3),
  "A>B": (1.0, 1),
  "A=B": (0.5, 1),
  "B>A": (0.0, 1),
  "B>>A": (0.0, 3),
  "A<B": (0.0, 1),
  "A<<B": (0.0, 3),
  "B=A": (0.5, 1),
  "B<A": (1.0, 1),
  "B<<A": (1.0, 3),
}
"""Of each label: what the first answer is worth, and how often the game counts (Arena-Hard's `show_result.py`)."""


def rating(text: str) -> float | None:
  """A rating, whatever its scale. A number that Python does not read as one (`[[05]]`) is none."""
  found = _first(_ONE, text)
  return None if found is None else _number(found[1])


def pair(text: str) -> float | None:
  """What the first of two answers is worth: 1 is better, 0.5 a tie, 0 worse."""
  return next((worth for mark, worth in (("[[A]]", 1.0), ("[[B]]", 0.0), ("[[C]]", 0.5)) if mark in text), None)


def two_ratings(text: str) -> float | None:
  """The same from the ratings of both; those that differ by no more than 0.1 are a tie."""
  found = _first(_TWO, text)
  numbers = [None, None] if found is None else [_number(found[1]), _number(found[2])]
  if numbers[0] is None or numbers[1] is None:
    return None
  return 0.5 if abs(numbers[0] - numbers[1]) <= TIE else float(numbers[0] > numbers[1])


def model_name(text: str) -> float | None:
  """AlpacaEval's: m is the first, M the second; nothing else may stand there but space."""
  return {"m": 1.0, "M": 0.0}.get(text.strip())


def label(text: str) -> str | None:
  """Arena-Hard's label, which may be none of the five (`ARENA`)."""
  for pattern in _LABELS:
    if found := pattern.findall(text.upper()):
      return found[-1]
  return None


def arena(text: str) -> float | None:
  """What the first of two answers is worth by Arena-Hard's label."""
  return ARENA.get(label(text) or "", (None, 0))[0]


def digit(text: str) -> float | None:
  """One digit alone, as a rating."""
  found = text.strip()
  return float(found) if re.fullmatch("[0-9]", found) else None


def output_letter(text: str) -> float | None:
  """LLMBar's plain verdict; where both stand there the first answer wins, as there."""
  return next((worth for worth, pattern in _OUTPUT.items() if pattern.search(text.strip())), None)


def output_better(text: str) -> float | None:
  """LLMBar's verdict behind an explanation."""
  return next((worth for worth, pattern in _BETTER.items() if pattern.search(text.strip())), None)


PARSERS: Mapping[str, Callable[[str], float | None]] = {
  "rating": rating,
  "pair": pair,
  "two_ratings": two_ratings,
  "model_name": model_name,
  "arena": arena,
  "digit": digit,
  "output_letter": output_letter,
  "output_better": output_better,
  "yes_or_no": harm_parsers.yes_or_no,
  "first_yes_or_no": harm_parsers.first_yes_or_no,
  "refusal_class": harm_parsers.refusal_class,
  "strong_reject": harm_parsers.strong_reject_score,
}


def _first(patterns: tuple[re.Pattern[str], ...], text: str) -> re.Match[str] | None:
  return next((found for pattern in patterns if (found := pattern.search(text))), None)


def _number(text: str) -> float | None:
  return float(text) if _PYTHON_NUMBER.fullmatch(text) else None
