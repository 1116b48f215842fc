r"""Short answers out of long ones by patterns, and exact match, as lm-eval 0.4.13 and the authors of GSM8K do it.

| what | who defines it |
|---|---|
| `matched`, `exact_match` | lm-eval: its filter `regex`, its metric `exact_match` |
| `gsm8k_strict`, `gsm8k_flexible`, `gsm8k_match` | lm-eval: tasks `gsm8k`, `gsm8k_cot`, `gsm8k_cot_zeroshot` |
| `gsm8k_official`, `gsm8k_official_match` | openai/grade-school-math, grade_school_math/dataset.py |

`grading/numbers.py` is the project's own, stricter reading of numbers; what stands here is kept as its authors have it,
faults included, so that figures are those of the literature.
"""

from collections.abc import Sequence
import re
import string

INVALID = "[invalid]"

_GSM8K_HASHES = re.compile(r"#### (\-?[0-9\.\,]+)")
_GSM8K_SENTENCE = re.compile(r"The answer is (\-?[0-9\.\,]+).")
_GSM8K_ANY_NUMBER = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_GSM8K_IGNORED = (",", r"\$", r"(?s).*#### ", r"\.$")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def matched(pattern: re.Pattern[str], text: str, which: int = 0) -> str:
  """The match of a pattern that stands at place `which` (0 the first, -1 the last), without white space at its ends.

  Of a pattern with groups it is the first group that is not empty. `INVALID` where nothing matches.
  """
  found = pattern.findall(text)
  if not found:
    return INVALID
  one = found[which]
  if isinstance(one, tuple):
    one = next((group for group in one if group), INVALID)
  return one.strip()


def exact_match(
  prediction: str,
  reference: str,
  *,
  ignored: Sequence[str] = (),
  ignore_case: bool = False,
  ignore_punctuation: bool = False,
) -> bool:
  """Whether two texts are the same when what does not count is taken out of both.

  ignored: regular expressions whose matches are taken out first, one after the other (lm-eval's `regexes_to_ignore`).
  ignore_punctuation: that of ASCII. lm-eval compares arrays of numpy, which drop NUL characters at the end and keep a
  text as long as it was when lower case is longer (İ); so does this.
  """
  left, right = prediction, reference
  for number, pattern in enumerate(ignored):
    if number:  # what the expression before left was put into an array
      left, right = left.rstrip("\0"), right.rstrip("\0")
    left, right = re.sub(pattern, "", left), re.sub(pattern, "", right)
  if ignore_case:
    left, right = _lower(left), _lower(right)
  if ignore_punctuation:
    left, right = left.translate(_NO_PUNCTUATION), right.translate(_NO_PUNCTUATION)
  return left.rstrip("\0") == right.rstrip("\0")


def gsm8k_strict(text: str, *, sentence: bool = False) -> str:
  """The number behind the first `#### `; sentence: behind the first "The answer is ", as chains of thought end."""
  return matched(_GSM8K_SENTENCE if sentence else _GSM8K_HASHES, text)


def gsm8k_flexible(text: str) -> str:
  """The last thing of a text that looks like a number: two or more of `$0-9.,`, or digits."""
  return matched(_GSM8K_ANY_NUMBER, text, -1)


def gsm8k_match(extracted: str, answer: str) -> bool:
  """Whether what was extracted is the gold answer, which may be the whole official solution ("… #### 72")."""
  return exact_match(extracted, answer, ignored=_GSM8K_IGNORED, ignore_case=True)


def gsm8k_official(text: str) -> str:
  """The authors' own rule: the number behind the first `#### `, without commas."""
  return matched(_GSM8K_HASHES, text).replace(",", "")


def gsm8k_official_match(text: str, answer: str) -> bool:
  """The authors' verdict on a completion, given the official solution. Raises ValueError where that has no number."""
  gold = gsm8k_official(answer)
  if gold == INVALID:
    raise ValueError(f"the gold answer has no number behind '#### ': {answer[-60:]!r}")
  return gsm8k_official(text) == gold


def _lower(text: str) -> str:
  """In lower case, as long at most as the text with its NUL characters was."""
  return text.rstrip("\0").lower()[: len(text)].rstrip("\0")
