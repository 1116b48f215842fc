"""Function calls against possible answers, as the Berkeley Function-Calling Leaderboard's v4 checks them for Python
(Patil et al. 2025; `bfcl_eval/eval_checker/ast_eval/ast_checker.py` and `model_handler/utils.py`).

An answer is `[f(a=1), g(b="x")]`. A call is right where its function is the expected one, all required arguments are
there, none is unknown, and each value has the function's type and is one of the possible ones. Texts are compared
without case, spaces and `,./-_*^`. An empty text among the possible values says that the argument may lack.

Faults of the checker are kept: types of lists are looked at one level deep, and a value of the possible answers' own
type passes for a variable.
"""

import ast
from collections.abc import Mapping, Sequence
import operator
import re
from typing import Any

TYPES: dict[str, type] = {
  "string": str,
  "integer": int,
  "float": float,
  "boolean": bool,
  "array": list,
  "tuple": list,
  "dict": dict,
  "any": str,
}
Call = Mapping[str, Any]
_IGNORED = re.compile(r"[ \,\.\/\-\_\*\^]")
_OPERATIONS = {
  ast.Add: operator.add,
  ast.Sub: operator.sub,
  ast.Mult: operator.mul,
  ast.Div: operator.truediv,
  ast.FloorDiv: operator.floordiv,
  ast.Mod: operator.mod,
}


def decoded(text: str) -> list[dict[str, Any]] | None:
  """The calls of an answer, {function: {argument: value}} each; None for what is no list of calls."""
  text = text.strip("`\n ")
  text = text if text.startswith("[") else "[" + text
  text = text if text.endswith("]") else text + "]"
  try:
    body = ast.parse(text.strip().strip("'"), mode="eval").body
    calls = [body] if isinstance(body, ast.Call) else body.elts if isinstance(body, (ast.List, ast.Tuple)) else None
    if calls is None or not all(isinstance(one, ast.Call) for one in calls):
      return None
    return [_call(one) for one in calls if isinstance(one, ast.Call)]
  except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError, AttributeError):
    return None


def is_empty(calls: Sequence[Any] | None) -> bool:
  """Whether an answer calls nothing, which is right where no function fits."""
  return not calls or (len(calls) == 1 and not calls[0])


def right(
  category: str, functions: Sequence[Mapping[str, Any]], calls: Sequence[Call], answers: Sequence[Call]
) -> bool:
  """Whether calls are the possible ones. category: as the files name it; its word `parallel` says that order is free,
  `multiple` that the answer's function is one of several. answers: {function: {argument: possible values}} each."""
  if len(calls) != len(answers):
    return False
  described = {function["name"]: function for function in functions}
  if "parallel" not in category:
    expected = next(iter(answers[0]))
    function = described[expected] if "multiple" in category else functions[0]
    return _matches(function, calls[0], answers[0])
  left = list(range(len(calls)))
  for answer in answers:
    function = described[next(iter(answer))]
    found = next((i for i in left if _matches(function, calls[i], answer)), None)
    if found is None:
      return False
    left.remove(found)
  return True


def plain(text: str) -> str:
  """A text as it is compared."""
  return _IGNORED.sub("", text).lower().replace("'", '"')


def _matches(function: Mapping[str, Any], call: Call, answer: Call) -> bool:
  possible = next(iter(answer.values()))
  known, required = function["parameters"]["properties"], function["parameters"]["required"]
  given = call.get(function["name"])
  if not isinstance(given, Mapping) or any(name not in given for name in required):
    return False
  if any(name not in known or name not in possible for name in given):
    return False
  if not all(_fits(known[name], value, possible[name]) for name, value in given.items()):
    return False
  return all(name in given or "" in values for name, values in possible.items())


def _fits(described: Mapping[str, Any], value: Any, possible: Sequence[Any]) -> bool:
  """Whether a value has the type that is described, and is one of the possible ones."""
  kind = described["type"]
  wanted = TYPES[kind]
  inner = TYPES[described["items"]["type"]] if kind in ("array", "tuple") else None
  if kind == "tuple" and type(value) is tuple:
    value = list(value)
  if kind == "float" and type(value) is int:
    value = float(value)
  is_typed, is_variable = _typed(value, possible, wanted, inner)
  if not is_typed:
    return False
  if not is_variable:
    if wanted is dict:
      return _is_dict(value, possible)
    if wanted is list and inner is dict:
      return _are_dicts(value, possible)
    if wanted is str:
      return plain(value) in [plain(one) for one in possible if type(one) is str]
    if wanted is list:
      return [_plain(one) for one in value] in [[_plain(part) for part in one] for one in possible]
  return value in possible


def _typed(value: Any, possible: Sequence[Any], wanted: type, inner: type | None) -> tuple[bool, bool]:
  """Whether the type is right, and whether the value is taken for a variable."""
  own = next((type(one) for one in possible if one != ""), None)
  is_variable = own is not None and own is not wanted
  if type(value) is wanted:
    if inner is None:
      return True, is_variable
    for one in possible:
      if type(one) is not list or all(_typed(part, one, inner, None)[0] for part in value):
        return True, is_variable
  return (True, True) if own is not None and type(value) is own else (False, False)


def _is_dict(value: Mapping[str, Any], possible: Sequence[Any]) -> bool:
  for answer in possible:
    if answer == "":
      continue
    there = all(name in answer and _plain(one) in map(_plain, answer[name]) for name, one in value.items())
    if there and all(name in value or "" in values for name, values in answer.items()):
      return True
  return False


def _are_dicts(value: Sequence[Any], possible: Sequence[Any]) -> bool:
  return any(
    len(value) == len(answer) and all(_is_dict(one, [wanted]) for one, wanted in zip(value, answer, strict=True))
    for answer in possible
  )


def _plain(value: Any) -> Any:
  return plain(value) if type(value) is str else value


def _call(node: ast.Call) -> dict[str, Any]:
  parts, function = [], node.func
  while isinstance(function, ast.Attribute):
    parts.append(function.attr)
    function = function.value
  if isinstance(function, ast.Name):
    parts.append(function.id)
  return {".".join(reversed(parts)): {one.arg: _value(one.value) for one in node.keywords}}


def _value(node: ast.expr) -> Any:
  """An argument's value; names stand for themselves. Raises ValueError for an expression that is no value."""
  match node:
    case ast.Constant(value=value):
      return "..." if value is Ellipsis else value
    case ast.UnaryOp(operand=ast.Constant(value=(int() | float()) as value)):  # as there: of any sign the negative
      return -value
    case ast.List(elts=parts):
      return [_value(one) for one in parts]
    case ast.Tuple(elts=parts):
      return tuple(_value(one) for one in parts)
    case ast.Dict(keys=keys, values=values):
      return {_value(key): _value(one) for key, one in zip(keys, values, strict=True) if key is not None}
    case ast.BinOp():
      return _worked_out(node)
    case ast.Name(id=name):
      return name
    case ast.Call():
      return _call(node) if node.keywords else ast.unparse(node)
    case ast.Subscript():
      return f"{ast.unparse(node.value)}[{ast.unparse(node.slice)}]"
  raise ValueError(f"{type(node).__name__} is no value")


def _worked_out(node: ast.expr) -> Any:
  """Arithmetic of constants; the official code runs whatever stands there, which an answer must not be let to."""
  if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
    return _OPERATIONS[type(node.op)](_worked_out(node.left), _worked_out(node.right))
  if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
    return -_worked_out(node.operand)
  if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
    return node.value
  raise ValueError("no arithmetic of numbers")
