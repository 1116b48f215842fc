"""What a model says of prepared data, stored beside it: found by what it is of, and never read by mistake.

A folder's name is a digest of the source, of the model, and of what the feed puts beside the examples. So what another
model said is not found, and the error says how the one that is there differs.
"""

from collections.abc import Mapping, Sequence
import hashlib
import json
import os
from typing import Any, NamedTuple

from itune_jax.core import errors
from itune_jax.core import files


class Kind(NamedTuple):
  """What is stored: its folder, what it is called, how it is made, and which fields of a manifest must be the same,
  with what another one is called."""

  folder: str
  what: str
  cure: str
  fields: Sequence[tuple[str, str]]


def key(source: str, of: tuple, beside: str) -> str:
  """The address of what a model says of a source. beside: what the feed puts beside its examples."""
  return hashlib.sha256(json.dumps([source, *of, beside]).encode()).hexdigest()[:24]


def find(root: str, kind: Kind, source: str, of: Any, beside: str, name: str) -> str:
  """The folder. Raises InputError where there is none, saying of which other models there are some."""
  folder = os.path.join(root, kind.folder, key(source, tuple(of), beside))
  if files.exists(os.path.join(folder, "manifest.json")):
    return folder
  others = []
  for other in files.names(os.path.join(root, kind.folder)):
    path = os.path.join(root, kind.folder, other, "manifest.json")
    if files.exists(path) and (found := files.read_json(path)).get("source") == source:
      others.append(found)
  said = "; ".join(sorted({_told(kind, of._asdict(), beside, found) for found in others}))
  raise errors.InputError(
    f"source {name}: no {kind.what} are stored ({said or 'none of any model'}): run `{kind.cure}` with the same recipe "
    "and values"
  )


def _told(kind: Kind, of: Mapping[str, Any], beside: str, found: Mapping[str, Any]) -> str:
  """Why those that are there are not those that are asked for."""
  for field, what in kind.fields:
    if found[field] != of[field]:
      there, here = (str(value)[:16] or "none" for value in (found[field], of[field]))
      return f"there are some of {what}: {there}, not {here}"
  return f"there are some for other examples beside them: {found['beside'] or 'none'}, not {beside or 'none'}"
