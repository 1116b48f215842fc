"""The equations of a worked solution: what they are, and whether they hold.

Source: OFA-Sys/gsm8k-ScRel: calculator annotations `<<a=b>>` are checked within 1e-3, and solutions are told apart by
the ordered list of them. Solutions without annotations are read for `a op b = c` in plain text.
"""

import ast
from collections.abc import Sequence
from fractions import Fraction
import re

_MARKED = re.compile(r"<<([^<>=]+)=([^<>=]+)>>")
_EQUALS = re.compile(r"=\s*\$?\s*(-?\$?\d[\d,]*(?:\.\d+)?)")
_LEFT = re.compile(r"(?:[-+*/().$%\d\s\u00d7\u00f7]|,(?=\d{3}))*$")
_TIMES = re.compile(r"(?<=[\d)%])(\s*)[x\u00d7](\s*)(?=[\d($])")
_BEGINS = re.compile(r"(?<![\d.,])[-$]?\d|\(")
_SIGNS = str.maketrans({"\u00d7": "*", "\u00f7": "/", "$": "", ",": "", " ": "", "\t": ""})
TOLERANCE = Fraction(1, 1000)
_DEEPEST, _LONGEST = 40, 200  # of an expression that is worked out


def of(text: str) -> list[tuple[str, str]]:
  """The equations of a text, in order: both sides without spaces. Marked ones count alone where there are any."""
  found = _MARKED.findall(text) or _plain(text)
  return [(left.translate(_SIGNS), right.translate(_SIGNS)) for left, right in found]


def _plain(text: str) -> list[tuple[str, str]]:
  """`expression = number` in running text. The expression is the longest one that ends at the sign: words before it,
  and numbers that belong to them, are no part of it."""
  found, text = [], _TIMES.sub(r"\1*\2", text)
  for mark in _EQUALS.finditer(text):
    line = text.rfind("\n", 0, mark.start()) + 1
    left = _LEFT.search(text[max(line, text.rfind("=", line, mark.start()) + 1) : mark.start()][-_LONGEST:])
    for begin in _BEGINS.finditer(left[0] if left else ""):
      part = (left[0] if left else "")[begin.start() :].strip()
      if re.search(r"[\d)%]\s*[-+*/\u00f7]", part) and value(part) is not None:
        found.append((part, mark[1]))
        break
  return found


def wrong(text: str) -> str:
  """The first equation of a text that does not hold, or cannot be read; "" where all do."""
  for left, right in of(text):
    values = value(left), value(right)
    if values[0] is None or values[1] is None or abs(values[0] - values[1]) >= TOLERANCE:
      return f"{left}={right}"
  return ""


def value(text: str) -> Fraction | None:
  """The value of an expression of numbers and + - * / ( ), exactly; None for anything else, and for division by 0."""
  if re.search(r"[\d.]\s+[\d.]", text):  # two numbers side by side are no one number
    return None
  cleaned = re.sub(r"(\d+(?:\.\d+)?)%", r"(\1/100)", text.translate(_SIGNS))
  if not cleaned or len(cleaned) > _LONGEST or not re.fullmatch(r"[-+*/().\d]+", cleaned) or "**" in cleaned:
    return None
  cleaned = re.sub(r"(?<![\d.])0+(?=\d)", "", cleaned)
  try:
    return _value(ast.parse(cleaned, mode="eval").body, 0)
  except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
    return None


def _value(node: ast.AST, depth: int) -> Fraction:
  if depth > _DEEPEST:
    raise ValueError("too deep")
  if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
    return Fraction(str(node.value))
  if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
    inner = _value(node.operand, depth + 1)
    return -inner if isinstance(node.op, ast.USub) else inner
  if isinstance(node, ast.BinOp):
    a, b = _value(node.left, depth + 1), _value(node.right, depth + 1)
    match node.op:
      case ast.Add():
        return a + b
      case ast.Sub():
        return a - b
      case ast.Mult():
        return a * b
      case ast.Div():
        return a / b
  raise ValueError("no arithmetic")


def most_unlike(texts: Sequence[str], distance) -> int:
  """The place of the text whose distances to the others sum to the most, the first of equal ones."""
  sums = [sum(distance(a, b) for b in texts) for a in texts]
  return sums.index(max(sums))
