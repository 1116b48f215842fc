"""Columns of other names: `columns={"prompt": "q", …}` says which column of the data is which field of a schema."""

from collections.abc import Mapping
from typing import Any

from itune_jax.core import check
from itune_jax.data import example as example_lib
from itune_jax.data import fields
from itune_jax.data.readers import building
from itune_jax.data.readers import formats
from itune_jax.data.readers import preferences
from itune_jax.data.readers import scored_pairs

FIELDS = tuple(
  dict.fromkeys(
    (
      *(key for keys in formats.KEYS.values() for together in keys for key in together),
      *("context", "history", "completions", "text", "content"),
      *(*building.SHARED, *building.SYSTEM, *building.REASONING, *example_lib.IMAGE_KEYS),
      *(*preferences.SIDES, *scored_pairs.SCORES, "label", "score", "scores", "responses", "labels"),
    )
  )
)


def require(name: str, columns: Mapping[str, str]) -> None:
  """Raises InputError for fields that no schema has."""
  for field, column in columns.items():
    check.require(
      field in FIELDS,
      f"Source {name}: columns names {field!r}, which is no field of a schema; fields are {', '.join(FIELDS)}",
    )
    check.require(isinstance(column, str) and bool(column), f"Source {name}: columns[{field!r}] must name a column")


def renamed(raw: Mapping[str, Any], columns: Mapping[str, str]) -> tuple[dict[str, Any], tuple[str, ...]]:
  """The row with its columns under the names of the fields, and the columns whose names they take.

  A column within an object is named with dots ("meta.score"). Raises BadRow for a row that lacks a column."""
  found = {field: _value(raw, column, field) for field, column in columns.items()}
  within = {column.partition(".")[0] for column in columns.values() if column not in raw}
  used = {*columns.values(), *within}
  displaced = [key for key in raw if key in columns and key not in used and not fields.is_null(raw[key])]
  displaced += [
    f"{outer}.{key}" for outer in sorted(within) for key in raw[outer] if not _is_named(outer, key, columns)
  ]
  rest = {key: value for key, value in raw.items() if key not in used and key not in columns}
  return rest | found, tuple(displaced)


def _is_named(outer: str, key: str, columns: Mapping[str, str]) -> bool:
  return any(f"{column}.".startswith(f"{outer}.{key}.") for column in columns.values())


def _value(raw: Mapping[str, Any], column: str, field: str) -> Any:
  if column in raw:
    return raw[column]
  value: Any = raw
  for part in column.split("."):
    if not isinstance(value, Mapping) or part not in value:
      raise fields.BadRow(f"it has no column `{column}`, which columns names as `{field}`")
    value = value[part]
  return value
