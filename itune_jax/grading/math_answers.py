r"""Final answers to problems in the form of MATH: where they stand, and normal forms that make equal ones alike.

| what | who defines it |
|---|---|
| `boxed`, `hendrycks_form`, `hendrycks_same`, `between_dollars` | hendrycks/math (MIT), lm-eval: `hendrycks_math` |
| `minerva_said`, `minerva_form` | Lewkowycz et al. 2022, appendix D; lm-eval: `minerva_math` |

These compare text. `grading/math_equal.py` asks whether two answers are the same value.
"""

import re

NO_ANSWER = "[invalidanswer]"

_SAID = re.compile(r"Final Answer: The final answer is(.*?). I hope it is correct.")

# Minerva's tables: what is replaced one after the other, and what is taken out.
_REPLACED = (
  ("an ", ""),
  ("a ", ""),
  (".$", "$"),
  ("\\$", ""),
  ("\\ ", ""),
  (" ", ""),
  ("mbox", "text"),
  (",\\text{and}", ","),
  ("\\text{and}", ","),
  ("\\text{m}", "\\text{}"),
)
_TAKEN_OUT = (
  *("square", "ways", "integers", "dollars", "mph", "inches", "ft", "hours", "km", "units", "\\ldots", "sue", "points"),
  *("feet", "minutes", "digits", "cents", "degrees", "cm", "gm", "pounds", "meters", "meals", "edges", "students"),
  *("childrentickets", "multiples", "\\text{s}", "\\text{.}", "\\text{\ns}", "\\text{}^2", "\\text{}^3", "\\text{\n}"),
  *("\\text{}", "\\mathrm{th}", "^\\circ", "^{\\circ}", "\\;", ",\\!", "{,}", '"', "\\dots"),
)
_UNIT_WORDS = tuple(re.compile(rf"(?<!\\)\b{unit}\b") for unit in _TAKEN_OUT if unit.isalpha())
_COMMAND = re.compile(r"(\\[a-zA-Z]+)")
_UNWRAPPED = (  # with what must be there, and how often, for a match at all
  ("$", 2, re.compile(r"(.*?)(\$)(.*?)(\$)(.*)"), r"$\3$"),
  ("}", 1, re.compile(r"(\\text\{)(.*?)(\})"), r"\2"),
  ("}", 1, re.compile(r"(\\textbf\{)(.*?)(\})"), r"\2"),
  ("}", 1, re.compile(r"(\\overline\{)(.*?)(\})"), r"\2"),
  ("}", 1, re.compile(r"(\\boxed\{)(.*)(\})"), r"\2"),
  ("frac", 1, re.compile(r"(frac)([^{])(.)"), r"frac{\2}{\3}"),
  ("]", 1, re.compile(r"(sqrt)(\[[^\]]*\])(\w)"), r"\1\2{\3}"),
  ("sqrt", 1, re.compile(r"(sqrt)(?!\[)([^{])"), r"sqrt{\2}"),
)
_THOUSANDS = re.compile(r"-?\d{1,3}(,\d{3})+")

_SPELT = (  # the replacements of hendrycks/math before units are cut off
  *(("\n", ""), ("\\!", ""), ("\\\\", "\\"), ("tfrac", "frac"), ("dfrac", "frac"), ("\\left", ""), ("\\right", "")),
  *(("^{\\circ}", ""), ("^\\circ", ""), ("\\$", "")),
)


def boxed(text: str) -> str | None:
  r"""What stands in the last \boxed{…}, \boxed … or \fbox{…} of a text; None without a whole one."""
  if "\\boxed " in text:
    return text.split("\\boxed ")[-1].split("$")[0]
  for command in ("\\boxed", "\\fbox"):
    if (at := text.rfind(command)) >= 0:
      return _in_braces(text[at + len(command) :])
  return None


def between_dollars(text: str) -> str:
  """What stands between the first and the last dollar sign; the whole text where there are not two."""
  first, last = text.find("$"), text.rfind("$")
  return text[first + 1 : last] if first < last else text


def minerva_said(text: str) -> str:
  """What stands in "Final Answer: The final answer is …. I hope it is correct."; `NO_ANSWER` without that sentence.

  The end of it is added, so that an answer that was cut off, or stops before it, counts as lm-eval counts it.
  """
  found = _SAID.search(text + "I hope it is correct.")
  return found.group(1).strip() if found else NO_ANSWER


def minerva_form(answer: str) -> str:
  """Minerva's normal form, with the repairs of lm-eval 0.4.13 (units inside LaTeX commands, roots, tuples)."""
  text = answer.split("=")[-1]
  for unit in _UNIT_WORDS:
    text = unit.sub("", text)
  for before, after in _REPLACED:
    text = text.replace(before, after)
  text = _without_units(text)
  for end, count, pattern, kept in _UNWRAPPED:
    if text.count(end) >= count:  # else each place would be followed to the end of the line: minutes of a long loop
      text = pattern.sub(kept, text)
  text = text.replace("$", "")
  return text.replace(",", "") if _THOUSANDS.fullmatch(text) else text


def hendrycks_same(a: str | None, b: str | None) -> bool:
  """Whether two answers have one normal form; where one has none, whether they are the same text."""
  if a is None or b is None:
    return a is b
  try:
    return hendrycks_form(a) == hendrycks_form(b)
  except ValueError:
    return a == b


def hendrycks_form(answer: str) -> str:
  """The normal form of hendrycks/math. Raises ValueError for text that its rules do not reach an end with."""
  text = answer
  for before, after in _SPELT:
    text = text.replace(before, after)
  text = _without_text(text).replace("\\%", "").replace("\\%", "").replace(" .", " 0.").replace("{.", "{0.")
  if not text:
    return text
  text = "0" + text if text[0] == "." else text
  left, sign, right = text.partition("=")
  if sign and "=" not in right and len(left) <= 2:
    text = right
  text = _fractions(_roots(text).replace(" ", ""))
  return _slash("\\frac{1}{2}" if text == "0.5" else text)


def _in_braces(text: str) -> str | None:
  """What stands in the braces that a text begins with; None where they do not close."""
  depth = 0
  for at, character in enumerate(text):
    depth += {"{": 1, "}": -1}.get(character, 0)
    if at == 0 and depth != 1:
      return None
    if depth == 0:
      return text[1:at]
  return None


def _without_units(text: str) -> str:
  """Units that stand glued to something, but for letters of LaTeX commands, and Minerva's other words."""
  for one in _TAKEN_OUT:
    if one.isalpha():
      parts = _COMMAND.split(text)
      text = "".join(part.replace(one, "") if i % 2 == 0 else part for i, part in enumerate(parts))
    else:
      text = text.replace(one, "")
  return text


def _without_text(text: str) -> str:
  r"""A text without the unit in "\text{ …" at its end."""
  parts = text.split("\\text{ ")
  if len(parts) > 2:
    raise ValueError("two units")
  return parts[0]


def _roots(text: str) -> str:
  r"""\sqrt3 as \sqrt{3}."""
  first, *rest = text.split("\\sqrt")
  if not all(rest):
    raise ValueError("a root of nothing")
  return first + "".join("\\sqrt" + (part if part[0] == "{" else f"{{{part[0]}}}{part[1:]}") for part in rest)


def _fractions(text: str) -> str:
  r"""\frac12 as \frac{1}{2}; the text as it is where a fraction lacks its lower half."""
  first, *rest = text.split("\\frac")
  found = first
  for part in rest:
    if not part:
      raise ValueError("a fraction of nothing")
    if part[0] == "{":
      found += "\\frac" + part
    elif len(part) < 2:
      return text
    else:
      below = part[1:] if part[1] == "{" else f"{{{part[1]}}}{part[2:]}"
      found += f"\\frac{{{part[0]}}}{below}"
  return found


def _slash(text: str) -> str:
  """1/2 as a fraction. Raises ValueError where the halves are no whole numbers."""
  parts = text.split("/")
  if len(parts) != 2:
    return text
  above, below = map(int, parts)
  return f"\\frac{{{above}}}{{{below}}}" if text == f"{above}/{below}" else text
