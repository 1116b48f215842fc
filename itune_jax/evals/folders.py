"""Where the official files of a benchmark are: folders that are looked through in order, or one line that says where to
get them."""

from collections.abc import Iterator, Sequence
import csv
import dataclasses
import glob
import gzip
import hashlib
import importlib.util
import io
import itertools
import json
import os
from typing import Any
import zlib

from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.core import lazy

parquet = lazy.module("pyarrow.parquet")

_NAMED = 12  # keys that a message names
_CELL = 1 << 26  # characters: statutes stand in single cells


@dataclasses.dataclass(frozen=True)
class Folder:
  """The folder that holds a benchmark's files. Everything in it is read through here, so damage is told by file and
  line."""

  path: str

  def file(self, name: str) -> str:
    """The path of a file, which may lie there compressed (`.gz`). Raises InputError where it is not."""
    for candidate in (name, f"{name}.gz"):
      path = os.path.join(self.path, candidate)
      if os.path.exists(path):
        return path
    raise errors.InputError(f"{os.path.join(self.path, name)}: there is no such file")

  def files(self, pattern: str) -> list[str]:
    """The paths that a pattern matches (`a|b`: that the first does which matches any), sorted; `.gz` counts as well.

    Raises InputError where there is none.
    """
    for one in pattern.split("|"):
      if found := matches(self.path, one):
        return found
    raise errors.InputError(f"{os.path.join(self.path, pattern)}: no file is named so")

  def holds(self, pattern: str) -> bool:
    """Whether a file is named so."""
    return any(matches(self.path, one) for one in pattern.split("|"))

  def text(self, name: str) -> str:
    """The text of a file, UTF-8."""
    return text_of(self.file(name))

  def lines(self, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file:line, object) of JSON lines. Raises InputError with file and line for one that is no object."""
    return objects(self.file(name))

  def value(self, name: str) -> Any:
    """The value of a JSON file."""
    path = self.file(name)
    return _json(text_of(path), path)

  def object(self, name: str) -> dict[str, Any]:
    """The object of a JSON file. Raises InputError where it is another value."""
    return _object(self.value(name), self.file(name))

  def digest(self, patterns: Sequence[str]) -> str:
    """SHA-256 of names and bytes of the files that the patterns match."""
    sha = hashlib.sha256()
    for pattern in patterns:
      for path in self.files(pattern):
        sha.update(f"{os.path.relpath(path, self.path)}\n".encode())
        with _binary(path) as f:
          while block := f.read(1 << 22):
            sha.update(block)
    return sha.hexdigest()[:16]


def objects(path: str, halves: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
  """(file:line, object) of a file of JSON lines, `.gz` too; a file that is one JSON list gives its members, and one
  that ends in `.parquet` its rows. halves: takes half of a surrogate pair too, which what a model said may hold, where
  the texts are shown and never tokenised.

  Raises InputError with file and line for what is no object.
  """
  if path.endswith(".parquet"):
    yield from _parquet(path)
    return
  text = text_of(path)
  if text.lstrip()[:1] == "[":
    for number, member in enumerate(_json(text, path, halves), 1):
      yield f"{path}: row {number}", _object(member, f"{path}: row {number}")
    return
  for number, line in enumerate(text.split("\n"), 1):
    if line.strip():
      where = f"{path}:{number}"
      yield where, _object(_json(line, where, halves), where)


def table(path: str, separator: str) -> Iterator[tuple[str, dict[str, str]]]:
  """(file: row, cells by column) of a CSV or TSV file with a header; empty lines are none.

  Raises InputError for a row of another length, and for two columns of one name.
  """
  reader = cells_of(path, separator)
  header = next(reader, [])
  if len(set(header)) < len(header):
    raise errors.InputError(f"{path}: two columns have one name: {', '.join(map(jsontext.shown, header[:_NAMED]))}")
  for number, cells in enumerate(filter(None, reader), 1):
    where = f"{path}: row {number}"
    if len(cells) != len(header):
      raise errors.InputError(f"{where}: has {len(cells)} cells, the header {len(header)}")
    yield where, dict(zip(header, cells, strict=True))


def cells_of(path: str, separator: str = ",") -> Iterator[list[str]]:
  """The cells of each row of a CSV file, the header as well. Raises InputError for what is none."""
  csv.field_size_limit(_CELL)
  reader = csv.reader(io.StringIO(text_of(path), newline=""), delimiter=separator)
  try:
    yield from reader
  except csv.Error as e:
    raise errors.InputError(f"{path}:{reader.line_num}: is no CSV ({jsontext.said(e)})") from None


def one_of(folder: Folder, pattern: str) -> str:
  """The file of a pattern. Raises InputError where there are several, naming them."""
  found = folder.files(pattern)
  if len(found) > 1:
    names = ", ".join(os.path.relpath(path, folder.path) for path in found[:4])
    raise errors.InputError(f"{folder.path}: {len(found)} files are called {pattern} ({names}): keep one")
  return found[0]


def _parquet(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
  try:
    found = parquet.read_table(path).to_pylist()
  except (OSError, ValueError) as e:
    raise errors.InputError(f"{path}: is no parquet ({jsontext.said(e)})") from None
  for number, row in enumerate(found, 1):
    yield f"{path}: row {number}", row


def text_of(path: str) -> str:
  """The text of a file, UTF-8, of one that ends in `.gz` unpacked. Raises InputError where it cannot be read."""
  try:
    with _binary(path) as f:
      return f.read().decode("utf-8-sig")
  except (OSError, EOFError, zlib.error) as e:
    raise errors.InputError(f"{path}: cannot be read ({jsontext.said(e)})") from None
  except UnicodeDecodeError as e:
    raise errors.InputError(f"{path}: is no UTF-8 text ({jsontext.said(e)})") from None


def field(row: dict[str, Any], name: str, kind: type | tuple[type, ...], where: str) -> Any:
  """A field of a row. Raises InputError naming the place where it lacks or is of another type."""
  if not isinstance(row, dict):
    raise errors.InputError(f"{where}: is {jsontext.shown(row)}; an object with {name!r} is expected")
  if name not in row:
    more = f" and {len(row) - _NAMED} more" if len(row) > _NAMED else ""
    there = ", ".join(map(jsontext.shown, itertools.islice(row, _NAMED))) + more
    raise errors.InputError(f"{where}: has no {name!r}; it has {there or 'nothing'}")
  value = row[name]
  if not isinstance(value, kind) or (
    isinstance(value, bool) and bool not in (kind if isinstance(kind, tuple) else (kind,))
  ):
    kinds = kind if isinstance(kind, tuple) else (kind,)
    wanted = " or ".join(sorted({jsontext.name(one()) for one in kinds}))
    raise errors.InputError(
      f"{where}: {name!r} is {jsontext.name(value)} ({jsontext.shown(value)}); it must be {wanted}"
    )
  return value


def words(row: dict[str, Any], name: str, where: str) -> str:
  """A field that must hold text which says something. Raises InputError naming the place."""
  found = field(row, name, str, where)
  if not found.strip():
    raise errors.InputError(f"{where}: {name!r} is empty")
  return found


def _json(text: str, where: str, halves: bool = False) -> Any:
  """The value of a JSON text. Raises InputError for what is none, and for one that no prompt can hold."""
  try:
    value = jsontext.loads(text)
    if not halves and "\\ud" in text.lower():
      json.dumps(value, ensure_ascii=False).encode()
    return value
  except UnicodeEncodeError as e:
    half = f"\\u{ord(e.object[e.start]):04x}"
    raise errors.InputError(f"{where}: holds half of a surrogate pair ({half}), which is no character") from None
  except ValueError as e:
    raise errors.InputError(f"{where}: is no JSON ({jsontext.said(e)})") from None


def _object(value: Any, where: str) -> dict[str, Any]:
  if not isinstance(value, dict):
    raise errors.InputError(f"{where}: is {jsontext.name(value)}, a JSON object is expected")
  return value


def _binary(path: str):
  return gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb")


def find(names: Sequence[str], wanted: Sequence[str], roots: Sequence[str], hub: str = "") -> Folder | None:
  """The first folder that holds all wanted files: a root's subfolder of one of the names, the root itself, or, for a
  hub cache among the roots, a snapshot of the data set `hub`. None where there is none.

  Where files lie in subfolders of any name (`*/test.jsonl`), a root of many data sets is none for holding one that has
  such a file: half of its subfolders at least have them."""
  for root in roots:
    snapshots = os.path.join(root, f"datasets--{hub.replace('/', '--')}", "snapshots", "*") if hub else ""
    for path in (
      *(os.path.join(root, name) for name in names),
      root,
      *(sorted(glob.glob(snapshots)) if snapshots else ()),
    ):
      if not os.path.isdir(path) or not all(Folder(path).holds(one) for one in wanted):
        continue
      if path != root or _is_its_own(root, wanted):
        return Folder(path)
  return None


def _is_its_own(root: str, wanted: Sequence[str]) -> bool:
  """Whether a root's subfolders are those of one data set, where files are wanted of subfolders of any name."""
  found = [os.path.relpath(path, root).split(os.sep) for one in wanted for path in Folder(root).files(one)]
  firsts = {one.split("/")[0] for pattern in wanted for one in pattern.split("|") if "/" in one}
  if not any("*" in one for one in firsts) or any(len(parts) == 1 for parts in found):
    return True
  there = [name for name in os.listdir(root) if os.path.isdir(os.path.join(root, name)) and not name.startswith(".")]
  return 2 * len({parts[0] for parts in found}) >= len(there)


def of_package(name: str) -> tuple[str, ...]:
  """The folder `data` of an installed package, which is not imported; nothing where there is none, or no name."""
  found = importlib.util.find_spec(name) if name else None
  places = found.submodule_search_locations if found else None
  return tuple(os.path.join(path, "data") for path in places or ())


def matches(path: str, pattern: str) -> list[str]:
  """The files below a folder that a pattern matches, sorted; without one those that it matches with `.gz` behind it."""
  for one in (pattern, f"{pattern}.gz"):
    if found := sorted(filter(os.path.isfile, glob.glob(os.path.join(glob.escape(path), one)))):
      return found
  return []
