"""Runs a generator into a folder, batch by batch; a run that was killed goes on, and ends with the same bytes.

rows.jsonl      the rows, as they are kept
journal.jsonl   a line a batch: its number, the bytes of rows.jsonl behind it, what was dropped; written after the rows
manifest.json   counts, written last
"""

import collections
from collections.abc import Callable, Mapping, Sequence
import dataclasses
import json
import os
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.sampling import requests as requests_lib
from itune_jax.synth import generator as generator_lib


def run(
  generator: generator_lib.Generator,
  responder: requests_lib.Responder,
  folder: str,
  *,
  identity: Mapping[str, Any],
  progress: Callable[[int], None] = lambda rows: None,
) -> dict[str, Any]:
  """Runs to the end, or goes on where a run of the same identity ended; returns the manifest.

  Args:
    identity: what makes the run what it is, as JSON: the generator's values, the responder's model and settings.
    progress: called with the rows of each batch as it is done.

  Raises:
    InputError when the folder holds a run of another identity, or its files are damaged.
  """
  os.makedirs(folder, exist_ok=True)
  with files.locked(os.path.join(folder, "journal.jsonl")):
    _claim(folder, dict(identity))
    if files.exists(os.path.join(folder, "manifest.json")):
      return files.read_json(os.path.join(folder, "manifest.json"))
    state = _resumed(folder)
    progress(len(state.pool))
    with open(state.rows, "a", encoding="utf-8") as rows, open(state.journal, "a", encoding="utf-8") as journal:
      while asked := generator.requests(state.next, state.pool):
        requests_lib.unique(asked)
        kept, dropped = generator.rows(state.next, state.pool, responder.answer(asked))
        rows.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))
        rows.flush()
        line = {"batch": state.next, "bytes": rows.tell(), "kept": len(kept), "dropped": dict(dropped)}
        journal.write(json.dumps(line) + "\n")
        journal.flush()
        state.took(kept, line)
        progress(len(kept))
    manifest = {**identity, "batches": state.next, "rows": len(state.pool), "dropped": dict(state.dropped)}
    files.write_json(os.path.join(folder, "manifest.json"), manifest)
    return manifest


@dataclasses.dataclass
class _State:
  """Where a run is: its files, the rows so far, and the number of the next batch."""

  rows: str
  journal: str
  pool: list[generator_lib.Row] = dataclasses.field(default_factory=list)
  dropped: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
  next: int = 0

  def took(self, kept: Sequence[generator_lib.Row], line: Mapping[str, Any]) -> None:
    """Books a batch."""
    self.pool += kept
    self.dropped.update(line["dropped"])
    self.next += 1


def _claim(folder: str, identity: dict[str, Any]) -> None:
  path = os.path.join(folder, "run.json")
  if not files.exists(path):
    check.require(not _nonempty(folder), f"{folder} is not empty and holds no run of a generator: give a new folder")
    files.write_json(path, identity)
    return
  before = files.read_json(path)
  differ = sorted(k for k in {*before, *identity} if before.get(k) != json.loads(json.dumps(identity)).get(k))
  if differ:
    raise errors.InputError(
      f"{folder} holds a run that differs in {', '.join(differ)}: give a new folder, or the same values"
    )


def _nonempty(folder: str) -> bool:
  return bool(set(os.listdir(folder)) - {"rows.jsonl", "journal.jsonl"})


def _resumed(folder: str) -> _State:
  """The state that the journal tells; rows of a batch that it does not know are cut off."""
  state = _State(os.path.join(folder, "rows.jsonl"), os.path.join(folder, "journal.jsonl"))
  lines, whole = _whole_lines(state.journal)
  _cut(state.journal, whole)
  size = lines[-1]["bytes"] if lines else 0
  if os.path.exists(state.rows) and os.path.getsize(state.rows) > size:
    _cut(state.rows, size)
  rows, whole = _whole_lines(state.rows)
  if whole != size or len(rows) != sum(line["kept"] for line in lines):
    raise errors.InputError(f"{state.rows}: not what {state.journal} says: the folder is damaged; give a new one")
  at = 0
  for line in lines:
    state.took(rows[at : at + line["kept"]], line)
    at += line["kept"]
  return state


def _whole_lines(path: str) -> tuple[list[Any], int]:
  """The lines of a file as JSON, up to one that a kill has cut off, and their bytes."""
  found: list[Any] = []
  size = 0
  if os.path.exists(path):
    with open(path, "rb") as f:
      for line in f:
        if not line.endswith(b"\n"):
          break
        try:
          found.append(json.loads(line))
        except ValueError:
          raise errors.InputError(f"{path}: line {len(found) + 1} is not JSON: the folder is damaged") from None
        size += len(line)
  return found, size


def _cut(path: str, size: int) -> None:
  with open(path, "ab") as f:
    f.truncate(size)
