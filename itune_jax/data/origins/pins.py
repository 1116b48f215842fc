"""Rows that were read once from an origin, kept by their content.

`<root>/origins/<digest>/` holds the rows of one source as JSON lines, in the order of the origin, and a manifest.
`<root>/origins/pins/<spec>.json` says what an origin was when it was last read: its sources, their rates, the digest of
each. So training finds the rows of a task without SeqIO, and rows that changed are other rows.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.data import example as example_lib
from itune_jax.data.origins import origin as origin_lib
from itune_jax.data.readers import readers

SCHEME = "pinned:"
_PROBLEM = "problem"  # the key of a line that stands for a row which is none


class Pinned(NamedTuple):
  """A source of an origin as it was read: its name, its rate among the others, the folder of its rows."""

  name: str
  rate: float
  folder: str


def read(
  origin: origin_lib.Origin, root: str, modules: Mapping[str, str], progress: Callable[[], None] = lambda: None
) -> list[Pinned]:
  """Reads an origin anew, keeps its rows and says what they are.

  modules: files of the user's modules by name, whose code may have made the rows. Raises what reading raises; nothing
  half-written is left.
  """
  found = []
  for part in origin.parts():
    digest = _write(origin, part, root, progress)
    found.append({"name": part.name, "rate": part.rate, "digest": digest})
  made_by = {name: files.sha256(path) for name, path in sorted(modules.items()) if os.path.isfile(path)}
  files.write_json(_pin(origin, root), {"origin": origin.spec(), "parts": found, "modules": made_by})
  return _pinned(root, found)


def known(origin: origin_lib.Origin, root: str, modules: Mapping[str, str]) -> list[Pinned]:
  """What an origin was when it was last read. Raises InputError where it was not, and where a module of the user's has
  changed since."""
  path = _pin(origin, root)
  if not os.path.exists(path):
    raise errors.InputError(
      f"{origin.called} is not prepared: run `itune prepare` with the same recipe and values first"
    )
  pin = files.read_json(path)
  for name, digest in pin["modules"].items():
    if os.path.isfile(modules.get(name, "")) and files.sha256(modules[name]) != digest:
      raise errors.InputError(
        f"{origin.called}: {modules[name]} has changed since it was prepared: run `itune prepare` again"
      )
  found = _pinned(root, pin["parts"])
  for one in found:
    if not os.path.exists(os.path.join(one.folder, "manifest.json")):
      raise errors.InputError(f"{origin.called}: its rows are gone from {one.folder}: run `itune prepare` again")
  return found


def rows(folder: str, format: str, provenance: Mapping[str, Any]) -> Iterator[readers.Row]:
  """The rows that are kept in a folder, each named by its origin and number."""
  called = manifest(folder)["origin"]
  with open(os.path.join(folder, "rows.jsonl"), encoding="utf-8") as f:
    for number, line in enumerate(f, 1):
      yield _row(json.loads(line), called, number, format, provenance)


def manifest(folder: str) -> dict[str, Any]:
  """What is known of kept rows: their origin, how many there are, their digest."""
  return files.read_json(os.path.join(folder, "manifest.json"))


def _row(raw: dict[str, Any], called: str, number: int, format: str, provenance: Mapping[str, Any]) -> readers.Row:
  if set(raw) == {_PROBLEM}:
    return readers.Row(called, number, None, raw[_PROBLEM])
  try:
    if "ids" in raw:
      example = example_lib.of_ids(raw["ids"], raw.get("weights"), raw.get("text", ""))
    else:
      example = readers.parse(raw, "", format)
  except example_lib.BadRow as e:
    return readers.Row(called, number, None, str(e))
  return readers.Row(called, number, example_lib.stamped(example, provenance))


def _write(origin: origin_lib.Origin, part: origin_lib.Part, root: str, progress: Callable[[], None]) -> str:
  """Keeps the rows of a part; returns their digest."""
  top = os.path.join(root, "origins")
  os.makedirs(top, exist_ok=True)
  partial = tempfile.mkdtemp(prefix=".partial-", dir=top)
  try:
    called = f"{origin.called}" + (f":{part.name}" if part.name not in origin.called else "")
    sha, count = hashlib.sha256(f"{called}\n".encode()), 0
    os.chmod(partial, 0o755)
    with open(os.path.join(partial, "rows.jsonl"), "wb") as f:
      for row in part.rows:
        line = _line(row)
        sha.update(line)
        f.write(line)
        count += 1
        progress()
    digest = sha.hexdigest()[:40]
    told = {"origin": called, "rows": count, "digest": digest}
    files.write_json(os.path.join(partial, "manifest.json"), told)
    folder = os.path.join(top, digest)
    with files.locked(folder):
      if not os.path.exists(folder):
        os.rename(partial, folder)
    return digest
  finally:
    shutil.rmtree(partial, ignore_errors=True)


def _line(row: origin_lib.Row) -> bytes:
  """A row as a line of JSON; one that JSON has no words for is a problem."""
  try:
    return json.dumps({_PROBLEM: row} if isinstance(row, str) else row).encode() + b"\n"
  except (TypeError, ValueError) as e:
    return _line(f"its mapping gave what is no JSON ({e})")


def _pin(origin: origin_lib.Origin, root: str) -> str:
  key = hashlib.sha256(json.dumps(origin.spec(), sort_keys=True).encode()).hexdigest()[:24]
  return os.path.join(root, "origins", "pins", f"{key}.json")


def _pinned(root: str, parts: list[dict[str, Any]]) -> list[Pinned]:
  return [Pinned(one["name"], one["rate"], os.path.join(root, "origins", one["digest"])) for one in parts]
