"""The door of data files: JSON, JSON lines, and either with .gz, as raw rows with their line numbers."""

from collections.abc import Iterator
import glob
import gzip
import io
import os
from typing import Any
import zlib

from itune_jax.core import errors
from itune_jax.core import jsontext

READ = (".json", ".jsonl", ".ndjson")
_ENDINGS = (*READ, *(f"{ending}.gz" for ending in READ))
_SAYS = ".json, .jsonl, .ndjson, each with or without .gz"


def files(path: str) -> list[str]:
  """The data files behind a path. Raises InputError when there are none, or one is of a kind that is not read."""
  if os.path.isdir(path):
    found = sorted(file for ending in _ENDINGS for file in glob.glob(os.path.join(glob.escape(path), f"*{ending}")))
    others = sorted({os.path.splitext(name)[1] or name for name in os.listdir(path)})[:5]
    if not found:
      raise errors.InputError(
        f"{path}: no data files ({_SAYS}) in this folder; it holds {', '.join(others) or 'nothing'}"
      )
    return found
  found = [path] if os.path.exists(path) else sorted(glob.glob(path))
  if not found:
    raise errors.InputError(f"{path}: no such file, and no data files ({_SAYS}) behind it")
  for file in found:
    if not file.endswith(_ENDINGS):
      raise errors.InputError(f"{file}: data files are {_SAYS}; write its rows as JSON lines, one object a line")
  return found


def rows(file: str) -> Iterator[tuple[int, Any]]:
  """(line, raw row) of a file: a text for a line of JSON lines, a value for an element of a list.

  Raises InputError where the file cannot be read, or holds no rows as a whole.
  """
  try:
    with _opened(file) as f:
      first = next((line for line in f if line.strip()), "")
      f.seek(0)
      as_lines = file.removesuffix(".gz").endswith((".jsonl", ".ndjson"))
      if as_lines and first.strip() != "{" and not first.lstrip().startswith("["):  # else one value over many lines
        yield from ((number, line) for number, line in enumerate(f, 1) if line.strip())
        return
      yield from _whole(file, f.read(), as_lines)
  except UnicodeDecodeError as e:
    raise errors.InputError(f"{file}: cannot be read ({e.reason} at byte {e.start}): save it as UTF-8") from None
  except (OSError, EOFError, zlib.error) as e:
    raise errors.InputError(f"{file}: cannot be read ({e})") from None


def _opened(file: str) -> io.TextIOWrapper:
  """The file as text, without the mark that some editors write in front of it."""
  raw: Any = gzip.open(file, "rb") if file.endswith(".gz") else open(file, "rb")  # noqa: SIM115  # closed by the caller
  return io.TextIOWrapper(raw, encoding="utf-8-sig")


def _whole(file, text, as_lines):
  if not text.strip():
    return
  try:
    content = jsontext.loads(text)
  except ValueError as e:
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if as_lines or (len(lines) > 1 and _is_object(lines[0][1])):  # JSON lines, perhaps named .json
      yield from lines
      return
    raise errors.InputError(f"{file}: is not JSON ({e})") from None
  if isinstance(content, dict) and isinstance(content.get("Instances"), list):
    task = os.path.basename(file).split(".")[0]
    for number, instance in enumerate(content["Instances"], 1):
      own = instance if isinstance(instance, dict) else {"instance": instance}
      yield number, {"Definition": content.get("Definition"), **own, "task": task}
  elif isinstance(content, list):
    yield from enumerate(content, 1)
  elif isinstance(content, dict):
    yield 1, content
  else:
    raise errors.InputError(f"{file}: holds {jsontext.name(content)}; expected a list of rows, or one row")


def _is_object(line: str) -> bool:
  try:
    return isinstance(jsontext.loads(line), dict)
  except ValueError:
    return False
