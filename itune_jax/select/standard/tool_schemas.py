"""Descriptions of tools as JSON Schema in OpenAI's form, from the other forms in use."""

from collections.abc import Mapping
import dataclasses
import json
from typing import Any

from itune_jax.core import check
from itune_jax.core import jsontext
from itune_jax.select import select_protocol

TYPES = {
  "str": "string", "text": "string", "int": "integer", "long": "integer", "float": "number", "double": "number",
  "num": "number", "bool": "boolean", "list": "array", "tuple": "array", "set": "array", "dict": "object",
  "map": "object", "none": "null", "any": "",
}  # fmt: skip
_KNOWN = ("string", "integer", "number", "boolean", "array", "object", "null")


class _Unknown(ValueError):
  """A description that is none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToolSchemas(select_protocol.RowStep):
  """Writes `tools` as [{"type": "function", "function": {"name", "description", "parameters": JSON Schema}}].

  Read are OpenAI's own form, bare functions, Anthropic's `input_schema`, and maps or lists of parameters whose types
  are named as Python does (`int`, `List[str]`, `str, optional`). A row with a description that is none is dropped.

  key: where the tools of a row are.
  """

  key: str = "tools"

  def __post_init__(self):
    check.check_types(self)

  def row(self, row: select_protocol.Row) -> select_protocol.Outcome:
    """The row with its tools in that form; one without tools as it is."""
    given = row.get(self.key)
    if given in (None, "", [], {}):
      return select_protocol.Outcome(row)
    try:
      tools = jsontext.loads(given) if isinstance(given, str) else given
      found = [tool(one) for one in (tools if isinstance(tools, list) else [tools])]
    except ValueError:
      return select_protocol.dropped("a tool is no description of a function")
    same = json.dumps(found) == json.dumps(given)
    return select_protocol.Outcome({**row, self.key: found}, marks=() if same else ("tool schemas",))


def tool(given: Any) -> dict[str, Any]:
  """A tool in OpenAI's form. Raises ValueError."""
  function = given.get("function", given) if isinstance(given, Mapping) else None
  if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
    raise _Unknown
  schema = function.get("parameters", function.get("input_schema", function.get("arguments")))
  said = {"description": function["description"]} if function.get("description") else {}
  others = {"strict": function["strict"]} if "strict" in function else {}
  made = {"name": function["name"], **said, "parameters": _object(schema, function.get("required")), **others}
  return {"type": "function", "function": made}


def _object(schema: Any, required: Any) -> dict[str, Any]:
  """The schema of all parameters: as it is, or of a map or list of them."""
  if schema in (None, {}, []):
    return {"type": "object", "properties": {}}
  if isinstance(schema, list):
    if not all(isinstance(one, Mapping) and isinstance(one.get("name"), str) for one in schema):
      raise _Unknown
    schema = {one["name"]: {k: v for k, v in one.items() if k != "name"} for one in schema}
  if not isinstance(schema, Mapping):
    raise _Unknown
  if isinstance(schema.get("properties"), Mapping):
    return _property(schema)
  properties, needed = {}, [] if not isinstance(required, list) else list(required)
  for name, one in schema.items():
    if not isinstance(one, (Mapping, str)):
      raise _Unknown
    kind = one if isinstance(one, str) else str(one.get("type", ""))
    properties[name] = _property({"type": one} if isinstance(one, str) else one)
    optional = "optional" in kind.lower() or (
      isinstance(one, Mapping) and ("default" in one or one.get("required") is False)
    )
    if not optional and not isinstance(required, list):
      needed.append(name)
  return {"type": "object", "properties": properties} | ({"required": needed} if needed else {})


def _property(given: Any) -> Any:
  """A schema with the names of types that JSON Schema has, all the way down."""
  if not isinstance(given, Mapping):
    return given
  found = {key: value for key, value in given.items() if not (key == "required" and isinstance(value, bool))}
  if isinstance(given.get("type"), str):
    found |= _type(given["type"])
    if not found["type"]:
      del found["type"]
  for key in ("items", "additionalProperties", "not"):
    if key in found:
      found[key] = _property(found[key])
  for key in ("properties", "$defs", "definitions"):
    if isinstance(found.get(key), Mapping):
      found[key] = {name: _property(one) for name, one in found[key].items()}
  for key in ("anyOf", "oneOf", "allOf"):
    if isinstance(found.get(key), list):
      found[key] = [_property(one) for one in found[key]]
  return found


def _type(said: str) -> dict[str, Any]:
  """What a name of a type is in JSON Schema."""
  plain = said.lower().replace("optional[", "[").split(",")[0].strip() if "[" not in said else said.lower()
  plain = plain.removesuffix(", optional").strip()
  if plain.startswith("optional[") and plain.endswith("]"):
    plain = plain[len("optional[") : -1]
  head, bracket, inner = plain.partition("[")
  kind = TYPES.get(head.strip(), head.strip())
  if kind not in (*_KNOWN, ""):
    raise _Unknown
  if bracket and kind == "array" and "," not in inner:
    return {"type": "array", "items": _type(inner.removesuffix("]"))}
  return {"type": kind}
