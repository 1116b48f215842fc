"""What steps write into beside the texts of a row: keys of ours, which a row may bring along. Null is as good as
absent. A value of another type is refused by name, since adding to it would change what it means."""

from collections.abc import Mapping
from typing import Any

from itune_jax.core import jsontext
from itune_jax.data import fields


def object_in(row: Mapping[str, Any], key: str) -> dict[str, Any]:
  """The object under a key, {} where there is none. Raises BadRow for a value of another type."""
  value = row.get(key)
  if value is None:
    return {}
  if not isinstance(value, dict):
    raise fields.BadRow(f"its `{key}` is {jsontext.name(value)}, and must be an object")
  return value


def list_in(row: Mapping[str, Any], key: str) -> list[Any]:
  """The list under a key, [] where there is none. Raises BadRow for a value of another type."""
  value = row.get(key)
  if value is None:
    return []
  if not isinstance(value, list):
    raise fields.BadRow(f"its `{key}` is {jsontext.name(value)}, and must be a list")
  return value
