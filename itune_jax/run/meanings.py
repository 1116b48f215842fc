"""What docstrings say of values: the clause `name: …`, of which the reference and `itune config` are made."""

from collections.abc import Callable
import inspect
import itertools
import re

# `name: `, `name, other: ` or `name and other: ` where a sentence begins; \0 stands for an empty line.
_HEAD = re.compile(r"(\0|(?:^|(?<=[.;] )|(?<=\0 ))(?:`?\w+`?(?:, | and ))*`?\w+`?: )")


def clause(doc: str, name: str) -> str:
  """What a docstring says of a name: what is behind `name: ` up to the next such head or an empty line, or ""."""
  pieces = _HEAD.split(" ".join(doc.replace("\n\n", " \0 ").split()))
  for head, text in itertools.pairwise(pieces):
    if head.endswith(": ") and name in re.findall(r"\w+", head.replace(" and ", " ")):
      return text.strip().rstrip(";")
  return ""


def doc(one: Callable) -> str:
  """Its docstring, and not the signature that dataclasses write in place of one."""
  found = inspect.cleandoc(vars(one).get("__doc__") or "") if isinstance(one, type) else inspect.getdoc(one) or ""
  return "" if found.startswith(f"{one.__name__}(") else found


def of(owner: Callable, name: str) -> str:
  """What a class, or one that it has the value from, says of a value; what a function says of its own. "" for none."""
  bases = owner.__mro__ if isinstance(owner, type) else (owner,)
  return next((found for base in bases if base is not object and (found := clause(doc(base), name))), "")
