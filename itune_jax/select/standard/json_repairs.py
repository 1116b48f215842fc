"""Texts that should be JSON: mended by json-repair, and checked with a JSON Schema."""

from collections.abc import Mapping
import dataclasses
import functools
import json
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import jsontext
from itune_jax.core import lazy
from itune_jax.select import select_protocol

json_repair = lazy.module("json_repair")
jsonschema = lazy.module("jsonschema")


@dataclasses.dataclass(frozen=True, kw_only=True)
class JsonRepairs(select_protocol.RowStep):
  """Mends the JSON in a key of the row: quotes, commas, brackets, what a fence of code or words around it leave.

  field: a key whose text should be JSON. optional: whether rows without the key go on as they are. parse: whether the
  value takes the place of its text. A row whose text has no object and no list, even mended, is dropped.
  """

  field: str
  optional: bool = False
  parse: bool = False

  def __post_init__(self):
    check.check_types(self)

  def row(self, row: select_protocol.Row) -> select_protocol.Outcome:
    """The row with JSON under its key."""
    text = row.get(self.field)
    if not isinstance(text, str):
      fine = isinstance(text, (dict, list)) or (text is None and self.optional)
      return select_protocol.Outcome(row) if fine else select_protocol.dropped(f"no JSON under {self.field!r}")
    try:
      value, marks = jsontext.loads(text), ()
    except ValueError:
      value, marks = json_repair.loads(text), (f"JSON mended under {self.field!r}",)
      if not isinstance(value, (dict, list)) or not value:
        return select_protocol.dropped(f"no JSON under {self.field!r}")
    if not marks and not self.parse:
      return select_protocol.Outcome(row)
    new = value if self.parse else json.dumps(value, ensure_ascii=False)
    return select_protocol.Outcome({**row, self.field: new}, marks=marks)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SchemaCheck(select_protocol.RowStep):
  """Drops rows that do not fit a JSON Schema; the reason names the place and the rule.

  path: the file of the schema. field: the key whose value is checked, as JSON where it is text; the whole row without.
  """

  path: str
  field: str = ""

  def __post_init__(self):
    check.check_types(self)

  def files(self) -> tuple[str, ...]:
    """The schema, whose digest is part of what a selection is."""
    return (self.path,)

  def row(self, row: select_protocol.Row) -> select_protocol.Outcome:
    """The row, if it fits."""
    value = row.get(self.field) if self.field else row
    if isinstance(value, str) and self.field:
      try:
        value = jsontext.loads(value)
      except ValueError:
        return select_protocol.dropped(f"schema: no JSON under {self.field!r}")
    error = next(_validator(self.path).iter_errors(value), None)
    if error is None:
      return select_protocol.Outcome(row)
    place = "/".join("*" if isinstance(one, int) else str(one) for one in error.absolute_path) or "the row"
    return select_protocol.dropped(f"schema: {place} breaks {error.validator}")


@functools.lru_cache(8)
def _validator(path: str) -> Any:
  """Raises InputError for a file that is no schema."""
  schema: Mapping[str, Any] = files.read_object(path)
  kind = jsonschema.validators.validator_for(schema)
  try:
    kind.check_schema(schema)
  except jsonschema.SchemaError as e:
    raise errors.InputError(f"{path}: is no JSON Schema ({jsontext.said(e)})") from None
  return kind(schema)
