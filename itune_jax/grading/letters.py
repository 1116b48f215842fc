r"""Which letter of a multiple choice a text names, as lm-eval 0.4.13 reads answers to MMLU and BIG-Bench-Hard.

| variant of lm-eval | read by | compared by |
|---|---|---|
| `mmlu_generative` | `first_line` | `same_letter`, the gold "A" |
| `mmlu_flan_n_shot_generative` strict | the text as it is | equality with "(A)" |
| `mmlu_flan_n_shot_generative` flexible | `named(…, which=0)` | equality with "(A)" |
| `mmlu_flan_cot_zeroshot` strict | `sentence` | `same_letter`, the gold "(A)" |
| `mmlu_flan_cot_zeroshot` flexible | `named(…, which=-1)` | `same_letter`, the gold "(A)" |
| `mmlu_flan_cot_fewshot` | `sentence(…, few_shot=True)` | `same_letter`, the gold "(A)" |

By log-likelihoods nothing is read: the choice is the likeliest letter, or the likeliest text (`evals/choice.py`).
"""

from collections.abc import Sequence
import re
import unicodedata

from itune_jax.grading import extract
from itune_jax.grading import normal

_IN_BRACKETS = re.compile(r"(\([A-Z]\))")
_FIRST_LINE = re.compile(r"^(.*?)(?=\n|$)")
_WITHOUT_END = re.compile(r"^(.*?)\s*$")
_FEW_SHOT = re.compile(r"(?<=answer is )(.*)(?=.)")
_ZERO_SHOT = re.compile(
  r"((?<=The answer is )(.*)(?=.)|(?<=answer is )(.*)(?=.)|(?<=The answer: )(.*)(?=.)|(?<=The final answer: )(.*)(?=.))"
)
# How answers dress a letter up, and what is left of them (`bare`): thought, marks of markdown and TeX, fences, quotes,
# letters and brackets of full width, characters that nobody sees.
_THOUGHT = re.compile(r"\A.*</think>|<think>.*\Z", re.DOTALL)
_FENCE = re.compile(r"```[\w+-]*\n?|~~~[\w+-]*\n?")
_TEX = re.compile(r"\\(?:boxed|fbox|text|textbf|textit|mathrm|mathbf|mathsf)\s*\{([^{}]*)\}|\\[()\[\]]|\$")
_MARKS = re.compile(r"\*+|__|`|(?<![A-Za-z0-9_])_(?=[A-Za-z]_)|(?<=_[A-Za-z])_")
_QUOTED = re.compile(r"(?<![A-Za-z])[\"'“”‘’«»「」]\s*(\(?[A-Za-z]\)?[.)]?)\s*[\"'“”‘’«»「」]")
_OTHER_BRACKETS = re.compile(r"(?<![A-Za-z0-9])[\[{<]\s*([A-Z])\s*[\]}>]")

_ALONE = re.compile(
  r"\s*(?!\([A-Z]\)\s+(?:and|or|is|are)\b)\(?([A-Z])\)?\s*(?:$|[.):\n]|,(?!\s*(?:and\s|or\s)?\(?[A-Z]\b)|\s[-–—]\s)"
)
_WHOLE = re.compile(r"\s*\(?([a-z])\)?[.)]?\s*")
_SAID = r"\s*(?:(?:the\s+)?(?:option|choice|letter)\s*)?:?\s*\(?(?:([A-Z])\b|([a-z])(?=\)?[.)!]?\s*$))\)?"
_ANSWER = re.compile(
  r"(?:\b(?i:answer)|答案)(?:\s+(?i:is|would\s+be|should\s+be)\b|\s*[:=是为為]|\s+[-–—])?" + _SAID, re.MULTILINE
)
_LABELLED = re.compile(r"^[^\W\d_][\w ]{0,30}:\s*\(?([A-Z])\)?[.。]?\s*$", re.MULTILINE)
_NAMED = re.compile(
  r"(?<!not )(?i:\b(?:option|choice|choose|select|pick|it's|it\s+is|option\s+is|choice\s+is))\s+\(?([A-Z])\b\)?"
  r"(?!\s+(?:is|was|seems)\s+(?:clearly\s+)?(?:wrong|incorrect|not|false|out)\b)"
)
_LAST = re.compile(r"(?:^|[.!?:\n])\s*\(?([A-Z])\)?[.!]?\s*$")


def letter(index: int) -> str:
  """A, B, …"""
  return chr(ord("A") + index)


def chosen(text: str, options: Sequence[str]) -> str:
  """The letter that a free answer names, by the project's own rules; `extract.INVALID` where it names none or several.

  Marks around it do not count (`bare`). In this order: a letter with which the answer begins ("B", "(B)", "B. …"), or
  that it is ("b"); the last "answer is B", "Answer: b", or line "Antwort: B"; the one letter that stands in brackets;
  the one that is called an option ("Option B"); the one choice whose text stands in the answer (of one within another
  the longer); the letter that is its last sentence.
  """
  text = _THOUGHT.sub("", text)
  known, plain = {letter(i) for i in range(len(options))}, bare(text)
  for first in (_ALONE.match(plain), _WHOLE.fullmatch(plain)):
    if first and first[1].upper() in known:
      return first[1].upper()
  said = ["".join(found).upper() for found in _ANSWER.findall(plain)] or _LABELLED.findall(plain)
  bracketed = {one[1] for one in _IN_BRACKETS.findall(plain)}
  for found in (said[-1:], bracketed):
    if len(found) == 1 and next(iter(found)) in known:
      return next(iter(found))
  called = set(_NAMED.findall(plain))
  if len(bracketed) > 1 or len(called) > 1:
    return extract.INVALID
  if called <= known and called:
    return called.pop()
  there = [i for i, option in enumerate(options) if option.strip() and normal.contains(text, option)]
  whole = [i for i in there if not any(i != j and normal.contains(options[j], options[i]) for j in there)]
  last = _LAST.search(plain)
  if not whole and last and last[1] in known:
    return last[1]
  return letter(whole[0]) if len(whole) == 1 else extract.INVALID


def bare(text: str) -> str:
  """A text without what answers dress a letter up in: markdown, TeX, fences, quotes, other brackets, full width."""
  text = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
  text = _FENCE.sub("", text)
  while (undressed := _TEX.sub(lambda found: found[1] or "", text)) != text:
    text = undressed
  return _OTHER_BRACKETS.sub(r"(\1)", _QUOTED.sub(r"\1", _MARKS.sub("", text)))


def named(text: str, choices: Sequence[str], which: int) -> str:
  """The letter in brackets, "(A)", that a text names; `extract.INVALID` where it names none.

  First an upper-case letter in brackets; without one the text of a choice, but for case and punctuation (of two that
  begin at one place the longer); without that a letter of the choices behind a colon. which: 0 the first, -1 the last.
  """
  found = _IN_BRACKETS.findall(text)
  if found:
    return found[which]
  letters = [chr(ord("A") + i) for i in range(len(choices))]
  plain = [unmarked(choice.strip()) for choice in choices]
  by_text = re.compile("|".join(sorted(map(re.escape, plain), key=len, reverse=True)))
  behind_colon = re.compile(rf":[\s]*({'|'.join(map(re.escape, letters))})")
  said = _at(by_text.findall(unmarked(text)), which)
  if said:
    return dict(zip(plain, (f"({letter})" for letter in letters), strict=True)).get(said, said)
  letter = _at(behind_colon.findall(text), which)
  return f"({letter})" if letter else extract.INVALID


def first_line(text: str) -> str:
  """The first line, without white space around it."""
  return extract.matched(_WITHOUT_END, extract.matched(_FIRST_LINE, text).strip())


def sentence(text: str, *, few_shot: bool = False) -> str:
  """What stands behind "answer is" up to one character before the line ends; `extract.INVALID` without such words."""
  return extract.matched(_FEW_SHOT if few_shot else _ZERO_SHOT, text)


def same_letter(extracted: str, gold: str) -> bool:
  """Whether they are the same but for case and punctuation."""
  return extract.exact_match(extracted, gold, ignore_case=True, ignore_punctuation=True)


def unmarked(text: str) -> str:
  """A text in lower case without punctuation of any script."""
  return "".join(c for c in text.lower() if not unicodedata.category(c).startswith("P"))


def _at(found: list[str], which: int) -> str:
  return found[which].strip() if found else ""
