r"""How answers to the 27 tasks of BIG-Bench-Hard are read and compared, as lm-eval 0.4.13 does in its four variants.

| variant | read by | compared |
|---|---|---|
| `cot_fewshot` | what stands behind "the answer is " | exactly |
| `fewshot` | the text as it is | exactly |
| `cot_zeroshot` | `strict`: a sentence with the answer; `flexible`: the task's own way, its last find | `loosely` |
| `zeroshot` | `strict`: the text as it is; `flexible`: the task's own way, its first find | `loosely` |

The task's own way is that of `FLEXIBLE`. The authors' own evaluation (suzgunmirac/BIG-Bench-Hard) is exact match on
what stands behind "the answer is ".
"""

from collections.abc import Callable
import functools
import re

from itune_jax.grading import extract
from itune_jax.grading import letters
from itune_jax.grading import number_words

Way = Callable[[str, str, int], str]  # (response, question, which find) -> answer

_COT_FEW_SHOT = re.compile(r"(?<=the answer is )(.*)(?=.)")
_COT_ZERO_SHOT = re.compile(
  r"((?<=The answer is )(.*)(?=.)|(?<=the answer is )(.*)(?=.)|(?<=The answer: )(.*)(?=.)|"
  r"(?<=The final answer: )(.*)(?=.))"
)
_IGNORED = (r"\.$", ",", r"\\", "\n", '"')
_OPTION = re.compile(r"\([A-Z]\)([^\n^(]*)")
_DIGITS = re.compile(r"([-0-9]+)")


def behind_words(text: str) -> str:
  """What stands behind "the answer is ", up to one character before the line ends."""
  return extract.matched(_COT_FEW_SHOT, text)


def in_sentence(text: str) -> str:
  """What stands behind one of four openings of an answer, up to one character before the line ends."""
  return extract.matched(_COT_ZERO_SHOT, text)


def flexible(task: str, text: str, question: str, which: int) -> str:
  """The answer by the task's own way. which: 0 for its first find, -1 for its last. Raises KeyError for no task."""
  return FLEXIBLE[task](text, question, which)


def loosely(extracted: str, target: str) -> bool:
  """Whether they are the same but for case, commas, quotes, backslashes, line ends and a full stop at the end."""
  return extract.exact_match(extracted, target, ignored=_IGNORED, ignore_case=True)


def options(question: str) -> list[str]:
  """The texts of the options (A), (B), … of a question."""
  return [option.strip() for option in _OPTION.findall(question)]


def _pattern(regex: str) -> Way:
  pattern = re.compile(regex)
  return lambda text, question, which: extract.matched(pattern, text, which)


def _letter(text: str, question: str, which: int) -> str:
  return letters.named(text, options(question), which)


def _number(text: str, question: str, which: int) -> str:
  del question
  found = _DIGITS.findall(text)
  return found[which] if found else number_words.found(text.lower(), which) or extract.INVALID


def _sorted_words(text: str, question: str, which: int) -> str:
  """The words of the question's list where the response says each of them last, in that order."""
  del which
  words = "".join(question.split("List:")[1:2]).split()
  said = re.findall("|".join(rf"\b{re.escape(word)}\b" for word in words), text)
  last = dict.fromkeys(reversed(said))
  return " ".join(reversed(last))


def _verdict(text: str, question: str, which: int, *, no: str, yes: str) -> str:
  """yes or no by the words for each."""
  del question
  lowered = text.lower()
  found = extract.matched(re.compile(f"{no}|{yes}"), lowered, which)
  if found == extract.INVALID:
    return found
  return "no" if re.search(no, found) else "yes"


_TRUE_FALSE = _pattern(r"\b(True|False)\b")
_YES_NO = _pattern(r"\b(Yes|No|yes|no)\b")
_BRACKETS = _pattern(r'(?<= )([" \[\(<{}>\)\]]+)|([" \[\(<{}>\)\]]+)')
_VALID = _pattern(r"\b(valid|invalid)\b")
_PLAUSIBLE = functools.partial(_verdict, no=r"\b(no|not plausible)\b", yes=r"\b(yes|plausible)\b")
_TRUTH = functools.partial(
  _verdict,
  no=r"\b(no|does not tell the truth|is not telling the truth)\b",
  yes=r"\b(yes|tells the truth|is telling the truth)\b",
)

FLEXIBLE: dict[str, Way] = {
  "boolean_expressions": _TRUE_FALSE,
  "causal_judgement": _YES_NO,
  "date_understanding": _letter,
  "disambiguation_qa": _letter,
  "dyck_languages": _BRACKETS,
  "formal_fallacies": _VALID,
  "geometric_shapes": _letter,
  "hyperbaton": _letter,
  "logical_deduction_five_objects": _letter,
  "logical_deduction_seven_objects": _letter,
  "logical_deduction_three_objects": _letter,
  "movie_recommendation": _letter,
  "multistep_arithmetic_two": _number,
  "navigate": _YES_NO,
  "object_counting": _number,
  "penguins_in_a_table": _letter,
  "reasoning_about_colored_objects": _letter,
  "ruin_names": _letter,
  "salient_translation_error_detection": _letter,
  "snarks": _letter,
  "sports_understanding": _PLAUSIBLE,
  "temporal_sequences": _letter,
  "tracking_shuffled_objects_five_objects": _letter,
  "tracking_shuffled_objects_seven_objects": _letter,
  "tracking_shuffled_objects_three_objects": _letter,
  "web_of_lies": _TRUTH,
  "word_sorting": _sorted_words,
}
TASKS = tuple(FLEXIBLE)
