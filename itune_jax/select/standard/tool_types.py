"""Types of parameters as JSON Schema, from the names that Python and other languages have for them."""

import ast
from collections.abc import Mapping
import re
from typing import Any

TYPES = {
  "str": "string", "text": "string", "char": "string", "path": "string", "bytes": "string", "url": "string",
  "int": "integer", "long": "integer", "float": "number", "double": "number", "num": "number", "decimal": "number",
  "bool": "boolean", "list": "array", "tuple": "array", "set": "array", "frozenset": "array", "sequence": "array",
  "iterable": "array", "collection": "array", "dict": "object", "map": "object", "mapping": "object",
  "none": "null", "nonetype": "null",
}  # fmt: skip
FORMATS = {"datetime": "date-time", "date": "date", "time": "time", "timedelta": "duration", "uuid": "uuid"}
KNOWN = ("string", "integer", "number", "boolean", "array", "object", "null")
_OF_LITERALS = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def is_name(said: Any) -> bool:
  """Whether a text names a type."""
  try:
    return isinstance(said, str) and bool(said.strip()) and schema(said) is not None
  except ValueError:
    return False


def may_lack(said: str) -> bool:
  """Whether a type says that its parameter may be left out: `Optional[int]`, `int | None`, `str, optional`."""
  return re.search(r"\b(?:optional|default)\b|(?<![\"'])\bnone\b", said, re.IGNORECASE) is not None


def schema(said: str) -> dict[str, Any]:
  """What a name of a type is in JSON Schema; {} for any value. Raises ValueError, which names the type.

  What may also be None is what it is otherwise: it is the parameter that may be left out.
  """
  if not said.strip():
    return {}
  plain = _before_comma(said.strip())
  if plain.endswith("[]"):
    return {"type": "array"} | _items(schema(plain[:-2]))
  try:
    return _read(ast.parse(plain, mode="eval").body)
  except (SyntaxError, ValueError, RecursionError, MemoryError):
    raise ValueError(f"the type {said[:60]!r} has no name in JSON Schema") from None


def _before_comma(said: str) -> str:
  """What stands before a remark such as ", optional"; commas in brackets are part of a type."""
  depth = 0
  for i, one in enumerate(said):
    depth += (one in "[(") - (one in "])")
    if one == "," and not depth:
      return said[:i].strip()
  return said


def _read(node: ast.expr) -> dict[str, Any]:
  match node:
    case ast.Constant(value=None):
      return {"type": "null"}
    case ast.Constant(value=str(quoted)):  # a name in quotes, as Python has for what is not yet there
      return schema(quoted)
    case ast.BinOp(op=ast.BitOr()):
      return _one_of([_read(node.left), _read(node.right)])
    case ast.Subscript():
      inside = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
      return _of(_name(node.value), inside)
    case _:
      return _plain(_name(node))


def _name(node: ast.expr) -> str:
  """The name of a type without its modules, in lower case."""
  if isinstance(node, (ast.Name, ast.Attribute)):
    return (node.id if isinstance(node, ast.Name) else node.attr).lower()
  raise ValueError


def _plain(name: str) -> dict[str, Any]:
  if name in ("any", "union", "optional"):
    return {}
  if name in FORMATS:
    return {"type": "string", "format": FORMATS[name]}
  kind = TYPES.get(name, name)
  if kind not in KNOWN:
    raise ValueError
  return {"type": kind}


def _of(name: str, inside: list[ast.expr]) -> dict[str, Any]:
  """A type with others in brackets behind it."""
  if name == "literal":
    return _literal([ast.literal_eval(one) for one in inside])
  if name in ("union", "optional"):
    return _one_of([_read(one) for one in inside])
  if name in ("annotated", "required", "notrequired"):
    return _read(inside[0])
  found = _plain(name)
  if found.get("type") == "array":
    same = inside[:1] if len(inside) == 1 or isinstance(inside[-1], ast.Constant) else []
    return found | (_items(_read(same[0])) if same else {})
  if found.get("type") == "object" and len(inside) == 2:
    values = _read(inside[1])
    return found | ({"additionalProperties": values} if values else {})
  raise ValueError


def _items(found: Mapping[str, Any]) -> dict[str, Any]:
  return {"items": dict(found)} if found else {}


def _literal(values: list[Any]) -> dict[str, Any]:
  kinds = {_OF_LITERALS.get(type(one), "") for one in values}
  if "" in kinds:
    raise ValueError
  return ({"type": kinds.pop()} if len(kinds) == 1 else {}) | {"enum": values}


def _one_of(found: list[dict[str, Any]]) -> dict[str, Any]:
  flat = [inner for one in found for inner in (one["anyOf"] if set(one) == {"anyOf"} else [one])]
  some = [one for i, one in enumerate(flat) if one != {"type": "null"} and one not in flat[:i]]
  if {} in some:
    return {}
  return {"anyOf": some} if len(some) > 1 else some[0] if some else {"type": "null"}
