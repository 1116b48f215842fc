"""Formats of one prompt, from the grammar of FormatSpread (Sclar et al. 2024): how descriptors are written, what stands
behind and between them, and how options are numbered.

A prompt's parts are read from its text: lines that begin with a descriptor ("Question:", "Q:", "Answer:" …) and lines
of options ("A. …", "(b) …", in order from the first). Words that stand in no such place are never changed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import re

import numpy as np

# FormatSpread's lists; of separators the empty one, which leaves a descriptor and its text as one word, is left out.
SEPARATORS = ("::: ", ":: ", ": ", " \n\t", "\n    ", " : ", " - ", " ", "\n ", "\n\t", ":", "::", "- ", "\t")
SPACES = (" ", "\n", " \n", " -- ", "  ", "; \n", " || ", " <sep> ", ", ", " \n ", " , ", "\n ", ". ", " ,  ")
CASES: Mapping[str, Callable[[str], str]] = {"same": str, "title": str.title, "upper": str.upper, "lower": str.lower}
WRAPPERS = ("({})", "{}.", "{})", "{} )", "[{}]", "<{}>")
_ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii", "xiii", "xiv", "xv")
NUMBERS: Mapping[str, Callable[[int], str]] = {
  "1": lambda i: str(i + 1),
  "A": lambda i: chr(ord("A") + i),
  "a": lambda i: chr(ord("a") + i),
  "Ⅰ": lambda i: chr(0x2160 + i),
  "i": lambda i: _ROMAN[i],
  "I": lambda i: _ROMAN[i].upper(),
}
MOST_OPTIONS = 12  # what every numbering has
DESCRIPTORS = (
  *("Question", "Answer", "Q", "A", "Passage", "Context", "Text", "Document", "Summary", "Claim", "Premise"),
  *("Hypothesis", "Sentence", "Input", "Output", "Problem", "Solution", "Options", "Choices", "Instruction"),
)
_FIELD = re.compile(rf"({'|'.join(DESCRIPTORS)}):(?: |$)")
_OPTION = re.compile(r"(\(?)([A-Za-z]|\d{1,2})([.)])[ \t]")


@dataclasses.dataclass(frozen=True)
class Format:
  """One way of writing a prompt."""

  separator: str
  space: str
  case: str
  wrapper: str
  number: str

  @property
  def name(self) -> str:
    """What tables call it."""
    signs = "".join({"\n": "⏎", "\t": "⇥", " ": "·"}.get(c, c) for c in f"{self.separator}¦{self.space}")
    return f"{self.case} {signs} {self.wrapper.format(self.number)}"

  @property
  def holds(self) -> bool:
    """FormatSpread's rule: a separator may only break the line where fields are on lines of their own."""
    return "\n" not in self.separator or "\n" in self.space


def sampled(count: int, seed: int) -> list[Format]:
  """So many different formats, drawn from the grammar."""
  rng, found = np.random.default_rng([seed, 0xF0]), {}
  draw = lambda options: options[int(rng.integers(len(options)))]
  while len(found) < count:
    one = Format(draw(SEPARATORS), draw(SPACES), draw(list(CASES)), draw(WRAPPERS), draw(list(NUMBERS)))
    if one.holds:
      found.setdefault(one.name, one)
  return list(found.values())


@dataclasses.dataclass(frozen=True)
class Part:
  """A part of a prompt. kind: free text, a field with its descriptor, or an option with its label."""

  kind: str
  text: str
  label: str = ""
  wrapper: str = ""


def parts(text: str) -> list[Part]:
  """The parts of a prompt, in order; a line that begins none belongs to the part before it."""
  found: list[Part] = []
  for line in text.split("\n"):
    found += list(_begun(line, found))
  return found if sum(one.kind == "option" for one in found) <= MOST_OPTIONS else []


def _begun(line: str, before: list[Part]) -> Iterator[Part]:
  field, option = _FIELD.match(line), _OPTION.match(line)
  if field:
    yield Part("field", line[field.end() :], field[1])
  elif option and _goes_on(before, option):
    yield Part("option", line[option.end() :], option[2], f"{option[1]}{{}}{option[3]}")
  elif before:
    last = before.pop()
    yield dataclasses.replace(last, text=f"{last.text}\n{line}")
  else:
    yield Part("text", line)


def _goes_on(before: Sequence[Part], option: re.Match[str]) -> bool:
  """Whether an option is the next of its kind: "B." behind "A.", "(2)" behind "(1)"."""
  own, label = [one for one in before if one.kind == "option"], option[2]
  wrapper = f"{option[1]}{{}}{option[3]}"
  if own and (own[0].wrapper != wrapper or own[0].label.isdigit() != label.isdigit()):
    return False
  if label.isdigit():
    return label == str(len(own) + 1)
  return label == chr(ord("a" if label.islower() else "A") + len(own))


def labels(given: Sequence[Part]) -> list[str]:
  """The labels of a prompt's options."""
  return [one.label for one in given if one.kind == "option"]


def written(given: Sequence[Part], how: Format) -> str:
  """The prompt in another format; a cue at its end has no space behind it."""
  found, option = [], 0
  for one in given:
    if one.kind == "field":
      found.append(CASES[how.case](one.label) + how.separator + one.text)
    elif one.kind == "option":
      found.append(f"{how.wrapper.format(NUMBERS[how.number](option))} {one.text}")
      option += 1
    else:
      found.append(one.text)
  last = given[-1]
  if last.kind == "field" and not last.text:
    found[-1] = found[-1].rstrip(" ")
  return how.space.join(found)


def plain(given: Sequence[Part]) -> str:
  """The prompt as it was read."""
  put = {"text": "{text}", "field": "{label}: {text}", "option": "{label} {text}"}
  lines = []
  for one in given:
    label = one.wrapper.format(one.label) if one.kind == "option" else one.label
    line = put[one.kind].format(label=label, text=one.text)
    lines.append(line if one.text or one.kind != "field" else line.rstrip(" "))
  return "\n".join(lines)
