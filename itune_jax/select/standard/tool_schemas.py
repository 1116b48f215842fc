"""Descriptions of tools as JSON Schema in OpenAI's form, from the other forms in use."""

from collections.abc import Mapping
import dataclasses
import json
from typing import Any

from itune_jax.core import check
from itune_jax.core import jsontext
from itune_jax.select import select_protocol
from itune_jax.select.standard import tool_types

# What stands in a schema beside its parameters. One such as `type` may be the name of a parameter as well.
_KEYWORDS = frozenset(
  (
    *(
      "type",
      "properties",
      "required",
      "additionalProperties",
      "description",
      "title",
      "default",
      "examples",
      "strict",
    ),
    *("$schema", "$id", "$ref", "$defs", "definitions", "anyOf", "oneOf", "allOf", "not", "patternProperties"),
    *("propertyNames", "minProperties", "maxProperties", "dependentRequired", "unevaluatedProperties", "$comment"),
  )
)


class _Unknown(ValueError):
  """A description that is none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToolSchemas(select_protocol.RowStep):
  """Writes `tools` as [{"type": "function", "function": {"name", "description", "parameters": JSON Schema}}].

  Read are OpenAI's own form, bare functions, Anthropic's `input_schema`, and maps or lists of parameters whose types
  are named as Python does (`int`, `List[str]`, `Literal["a"]`, `str, optional`). A row with a description that is none
  is dropped, and the reason says which tool, parameter and type.

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
    except _Unknown as e:
      return select_protocol.dropped(f"a tool is no description of a function{e}")
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
  try:
    parameters = _object(schema, function.get("required"))
  except ValueError as e:
    raise _Unknown(f": tool {jsontext.shown(function['name'])}: {e}") from None
  made = {"name": function["name"], **said, "parameters": parameters, **others}
  return {"type": "function", "function": made}


def _object(schema: Any, required: Any) -> dict[str, Any]:
  """The schema of all parameters: as it is, or of a map or list of them."""
  if schema in (None, {}, []):
    return {"type": "object", "properties": {}}
  if isinstance(schema, list):
    if not all(isinstance(one, Mapping) and isinstance(one.get("name"), str) for one in schema):
      raise ValueError("its list of parameters has one without a name")
    schema = {one["name"]: {k: v for k, v in one.items() if k != "name"} for one in schema}
  if not isinstance(schema, Mapping):
    raise ValueError(f"its parameters are {jsontext.name(schema)}")
  if _is_schema(schema):
    found = _property(schema)
    return found | {key: new for key, new in (("type", "object"), ("properties", {})) if key not in found}
  if isinstance(schema.get("required"), list):  # beside the parameters, which is where a schema has it
    required, schema = schema["required"], {name: one for name, one in schema.items() if name != "required"}
  properties, needed = _named(schema), list(required) if isinstance(required, list) else []
  if not isinstance(required, list):
    needed = [name for name, one in schema.items() if not _may_lack(one)]
  return {"type": "object", "properties": properties} | ({"required": needed} if needed else {})


def _is_schema(given: Mapping[str, Any]) -> bool:
  """Whether it is the schema of all parameters, not a map of them: it says that it is an object, has `properties`, or
  has nothing but keywords, none of which is described as a parameter is."""
  if given.get("type") in ("object", ["object"]):
    return True
  if isinstance(given.get("properties"), Mapping):
    return not isinstance(given["properties"].get("type"), str)
  return set(given) <= _KEYWORDS and not any(map(_is_parameter, given.values()))


def _is_parameter(given: Any) -> bool:
  return tool_types.is_name(given.get("type") if isinstance(given, Mapping) else given)


def _may_lack(given: Any) -> bool:
  """Whether a parameter need not be given."""
  if isinstance(given, str):
    return tool_types.may_lack(given)
  kind = given.get("type")
  return "default" in given or given.get("required") is False or (isinstance(kind, str) and tool_types.may_lack(kind))


def _named(given: Mapping[str, Any]) -> dict[str, Any]:
  """The schemas of parameters by name, whose types are named as JSON Schema does. Raises ValueError with the name."""
  found = {}
  for name, one in given.items():
    if not isinstance(one, (Mapping, str, bool)):
      raise ValueError(f"parameter {jsontext.shown(name)} is {jsontext.name(one)}")
    try:
      found[name] = _property({"type": one} if isinstance(one, str) else one)
    except ValueError as e:
      raise ValueError(f"parameter {jsontext.shown(name)}: {e}") from None
  return found


def _property(given: Any) -> Any:
  """A schema with the names of types that JSON Schema has, all the way down."""
  if not isinstance(given, Mapping):
    return given
  found = {key: value for key, value in given.items() if not (key == "required" and isinstance(value, bool))}
  if isinstance(given.get("type"), str):
    kind = tool_types.schema(given["type"])
    found |= {key: value for key, value in kind.items() if key == "type" or key not in found}
    if "type" not in kind:
      del found["type"]
  for key in ("items", "additionalProperties", "not"):
    if key in found:
      found[key] = _property(found[key])
  for key in ("properties", "$defs", "definitions"):
    if isinstance(found.get(key), Mapping):
      found[key] = _named(found[key])
  for key in ("anyOf", "oneOf", "allOf"):
    if isinstance(found.get(key), list):
      found[key] = [_property(one) for one in found[key]]
  return found
