"""English number words as lm-eval reads them: its pattern, and the arithmetic of word2number 1.1, quirks included."""

import re

_TEENS = (
  *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
  *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = {"thousand": 1000, "million": 1_000_000, "billion": 1_000_000_000}
_VALUES = {word: i for i, word in enumerate(_TEENS)} | {word: 10 * i for i, word in enumerate(_TENS, 2)}
_VALUES |= {"hundred": 100, **_SCALES}

# lm-eval's pattern; its three places differ in which endings may be missing, so that "eight" alone is none.
_UNITS = r"zero|one|two|three|four|five|(?:twen|thir|for|fif|six|seven|nine)"
_REST = r"ten|eleven|twelve|fourteen|hundred|thousand|(?:m|b|tr)illion"
_FIRST = rf"{_UNITS}(?:teen|ty)|eight(?:|een|y)|{_REST}"
_NEXT = rf"{_UNITS}(?:|teen|ty)|eight(?:een|y)|{_REST}|[^\S\r\n]|,|and|&"
_LAST = rf"{_UNITS}(?:teen|ty)|eight(?:een|y)|{_REST}"
_FOUND = re.compile(rf"((?:(?:{_FIRST})(?:{_NEXT})+)?(?:{_LAST}))")


def found(text: str, which: int) -> str:
  """The number that a text in lower case says in words, in digits; "" where it says none.

  which: 0 the first, -1 the last. Where word2number raises (a word that it does not know, "thousand" twice), there is
  none here.
  """
  phrases = _FOUND.findall(text)
  value = _value(phrases[which].strip()) if phrases else None
  return "" if value is None else str(value)


def _value(phrase: str) -> int | None:
  """The number of a phrase, None where it is none."""
  words = [word for word in phrase.split() if word in _VALUES]
  if not words or any(words.count(scale) > 1 for scale in _SCALES):
    return None
  if len(words) == 1:
    return _VALUES[words[0]]
  places = {scale: words.index(scale) for scale in _SCALES if scale in words}
  order = [places[scale] for scale in ("billion", "million", "thousand") if scale in places]
  if order != sorted(order):
    return None
  return _scaled(words, places)


def _scaled(words: list[str], places: dict[str, int]) -> int | None:
  """Billions, millions, thousands and the rest, added up; None where a scale has nothing in front of it.

  Where the smallest scale is the last word, what stands behind the next larger one counts once more as a rest:
  "two million five thousand" is 2,006,005 to word2number.
  """
  total, begin = 0, 0
  for scale in ("billion", "million", "thousand"):
    if scale in places:
      front = words[begin : places[scale]]
      if not front:
        return None
      total, begin = total + _small(front) * _SCALES[scale], places[scale] + 1
  rests = (words[places[scale] + 1 :] for scale in _SCALES if scale in places)
  rest = next((behind for behind in rests if behind), []) if places else words
  return total + (_small(rest) if rest else 0)


def _small(words: list[str]) -> int:
  """A number below a thousand; of more than four words only the first counts, as there."""
  values = [_VALUES[word] for word in words]
  if len(values) == 4:
    return values[0] * values[1] + values[2] + values[3]
  if len(values) == 3:
    return values[0] * values[1] + values[2]
  if len(values) == 2:
    return values[0] * values[1] if 100 in values else values[0] + values[1]
  return values[0]
