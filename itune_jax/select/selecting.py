"""One selection from a file to a file: passes, scores, the choice, and a manifest beside what is kept."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import importlib.metadata
import json
import os
import shutil
from typing import Any

import numpy as np

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import lazy
from itune_jax.data import fields
from itune_jax.select import baselines as baselines_lib
from itune_jax.select import input_rows
from itune_jax.select import scored
from itune_jax.select import row_fields
from itune_jax.select import select_protocol
from itune_jax.select import stages

journal = lazy.module("itune_jax.sampling.responders.journal")  # it brings JAX; only what asks a model comes to it

ANSWERS = "answers.jsonl"  # what a model answered to steps, in the work folder: a killed selection asks for the rest
_PACKAGES = ("itune-jax", "numpy", "rapidfuzz", "rensa", "ftfy", "lingua-language-detector", "json-repair")


class _NothingLeft(errors.RunError):
  """No row came through."""


def select(
  selection: select_protocol.Selection,
  source: str,
  output: str,
  *,
  begin: stages.Begin,
  outside: select_protocol.Outside,
  ask: select_protocol.Ask | None = None,
  overwrite: bool = False,
  baselines: bool = False,
  spread: stages.Spread | None = None,
) -> dict[str, Any]:
  """Writes the rows that are kept, in the order of the input, and their manifest (`manifest_of`); returns it.

  What is there already of the same input and values is not made again, and what was killed goes on from its last
  finished pass or block.

  Args:
    source, output: files. begin: told of each piece of work, for progress. outside: benchmarks and encoders.
    ask: a model, where the selection needs one.
    overwrite: takes the place of an output, or of unfinished work, of other values. baselines: writes the rows of each
      baseline too, in files beside the output. spread: has passes done elsewhere, whose outcomes are the same.

  Raises:
    InputError for input that cannot be read, a score without its model, or a place that is taken. RunError when no row
    is left.
  """
  if selection.needs_model and ask is None:
    raise errors.InputError("a step, a score, the diversity or the budget asks a model: name it with --base")
  _require_apart(source, output)
  identity = _identity(selection, source, ask)
  with files.locked(output):
    if (known := _known(output, identity, overwrite)) is not None:
      return known
    folder = _claimed(f"{output}.work", identity, overwrite)
    try:
      manifest = identity | _run(selection, source, output, folder, begin, outside, ask, baselines, spread)
    except (errors.InputError, _NothingLeft):
      shutil.rmtree(folder)  # other values are needed, to which what is done so far says nothing
      raise
    files.write_json(manifest_of(output), manifest)
    shutil.rmtree(folder)
    return manifest


def _require_apart(source: str, output: str) -> None:
  """Raises InputError for an output that takes the place of an input, or lies where it would be one the next time."""
  place, inputs = os.path.realpath(output), [os.path.realpath(file) for file in input_rows.files(source)]
  for written in (place, os.path.realpath(manifest_of(output))):
    if written in inputs:
      raise errors.InputError(
        f"{output}: is what --input reads ({source}); write the rows that are kept to another file"
      )
  if os.path.isdir(source) and os.path.dirname(place) == os.path.realpath(source):
    raise errors.InputError(f"{output}: lies in the folder that --input reads, where it would be input the next time")


def manifest_of(output: str) -> str:
  """Where the manifest of an output is."""
  return f"{output.removesuffix('.jsonl')}.manifest.json"


def described(value: Any) -> Any:
  """A value of a recipe as JSON: dataclasses by their class and fields."""
  if dataclasses.is_dataclass(value):
    own = {field.name: described(vars(value)[field.name]) for field in dataclasses.fields(value)}
    return {"class": type(value).__name__, **own}
  if isinstance(value, Mapping):
    return {str(key): described(one) for key, one in value.items()}
  if isinstance(value, (tuple, list)):
    return [described(one) for one in value]
  return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


def _run(
  selection: select_protocol.Selection,
  source: str,
  output: str,
  folder: str,
  begin: stages.Begin,
  outside: select_protocol.Outside,
  ask: select_protocol.Ask | None,
  baselines: bool,
  spread: stages.Spread | None,
) -> dict[str, Any]:
  if ask is not None and any(step.needs == "model" for step in selection.steps):
    outside = _Asking(outside, ask, os.path.join(folder, ANSWERS))
  passed, said = stages.read(folder, _rows(selection, source), begin)
  passes = list(said)
  for n, steps in enumerate(stages.grouped(selection.steps), 1):
    passed, said = stages.run_pass(folder, n, steps, passed, begin, outside, spread)
    passes += said
  found = {score.name: scored.numbers(folder, score, passed.rows, ask, begin) for score in selection.scores}
  worths = scored.worth(selection, found, len(passed.rows))
  kept = scored.chosen(selection, passed.rows, worths, ask)
  missing = {f"no {name}": int(np.isnan(one).sum()) for name, one in found.items() if np.isnan(one).any()}
  over = len(passed.rows) - len(kept) - int(np.isnan(worths).sum())
  reasons = missing | ({"not chosen": over} if over else {})
  passes.append({"step": "choose", "given": len(passed.rows), "kept": len(kept), "dropped": reasons})
  if not len(kept):
    why = "; ".join(f"{n} × {reason}" for one in passes for reason, n in one["dropped"].items())
    raise _NothingLeft(f"{source}: no row is left ({why or 'it has no rows'}); {output} is not written")
  _write(output, passed, kept, found)
  beside = _beside(selection, output, passed, kept, found, ask, with_files=baselines) if selection.scores else {}
  return {
    "rows": passes[0]["given"],
    "kept": len(kept),
    "passes": passes,
    **beside,
    "output_sha256": files.sha256(output),
  }


class _Asking(select_protocol.Outside):
  """What lies outside, with a model whose answers are kept as they come."""

  def __init__(self, inner: select_protocol.Outside, ask: select_protocol.Ask, path: str):
    self._inner, self._ask, self._path = inner, ask, path

  def items(self, name: str) -> Iterator[select_protocol.Held]:
    """As outside."""
    return self._inner.items(name)

  def benchmarks(self) -> list[str]:
    """As outside."""
    return self._inner.benchmarks()

  def embed(self, encoder: str, texts: Sequence[str]) -> np.ndarray:
    """As outside."""
    return self._inner.embed(encoder, texts)

  def asking(self) -> select_protocol.Asking:
    """The model, behind what it answered already."""
    return select_protocol.Asking(journal.Journal(self._ask.responder, self._path), self._ask.name)


def _beside(
  selection: select_protocol.Selection,
  output: str,
  passed: stages.Passed,
  kept: np.ndarray,
  found: Mapping[str, np.ndarray],
  ask: select_protocol.Ask | None,
  with_files: bool,
) -> dict[str, Any]:
  """What the baselines would have taken (`baselines`), and with files their rows as well."""
  taken = baselines_lib.chosen(passed.rows, kept, selection.seed, ask, selection.budget, found)
  for name, own in taken.items() if with_files else ():
    if not isinstance(own, str):
      _write(baseline_of(output, name), passed, own, found)
  return {"beside": baselines_lib.report(taken, kept, found)}


def baseline_of(output: str, name: str) -> str:
  """Where the rows of a baseline are."""
  return f"{output.removesuffix('.jsonl')}.{name}.jsonl"


def _write(output: str, passed: stages.Passed, kept: np.ndarray, found: Mapping[str, np.ndarray]) -> None:
  """The rows that are kept, with their scores, whole or not at all."""
  partial, wanted = f"{output}.{os.getpid()}.partial", np.zeros(len(passed.rows), bool)
  wanted[kept] = True
  try:
    os.makedirs(os.path.dirname(output) or ".", exist_ok=True)
    with open(partial, "w", encoding="utf-8") as f:
      for i, row in enumerate(passed.rows):
        if wanted[i]:
          f.write(
            json.dumps(_scored(row, {name: float(one[i]) for name, one in found.items()}), ensure_ascii=False) + "\n"
          )
    os.replace(partial, output)
  except OSError as e:
    raise errors.RunError(f"{output}: could not be written ({e.strerror or e})") from None
  finally:
    if os.path.exists(partial):
      os.remove(partial)


def _scored(row: select_protocol.Row, found: Mapping[str, float]) -> select_protocol.Row:
  if not found:
    return row
  try:
    return {**row, "scores": {**row_fields.object_in(row, "scores"), **found}}
  except fields.BadRow as e:  # rows of the input can bear scores, so a step wrote this
    raise errors.InputError(f"a step wrote a row that cannot bear scores: {e}; give that key another name") from None


def _bears_scores(row: select_protocol.Row) -> bool:
  try:
    row_fields.object_in(row, "scores")
  except fields.BadRow:
    return False
  return True


def _rows(selection: select_protocol.Selection, source: str) -> Iterator[select_protocol.Outcome]:
  """The rows of the input; one that is no object of JSON, or cannot bear scores, is bad."""
  for given in input_rows.rows(source):
    problem, kind = given.problem, given.kind
    if given.row is not None and selection.scores and not _bears_scores(given.row):
      problem = kind = "its `scores` is no object"
    where = f"{given.file}:{given.place}: {problem}"
    if problem and selection.bad_rows == "refuse":
      raise errors.InputError(f"{where}; mend it, or set Selection.bad_rows = 'drop'")
    yield select_protocol.dropped(kind, where) if problem else select_protocol.Outcome(given.row, marks=given.marks)


def _identity(selection: select_protocol.Selection, source: str, ask: select_protocol.Ask | None) -> dict[str, Any]:
  beside = [file for step in selection.steps for file in step.files()]
  for file in beside:
    if not os.path.isfile(file):
      raise errors.InputError(f"{file}: a step reads this file, and it is not there")
  inputs = [{"file": file, "sha256": files.sha256(file)} for file in (*input_rows.files(source), *beside)]
  model = {} if ask is None else {"model": dict(ask.identity)}
  return {"inputs": inputs, "values": described(selection), "seed": selection.seed, "versions": _versions(), **model}


def _versions() -> dict[str, str]:
  """What is installed of the packages whose work a selection may be."""
  there = {dist.metadata["Name"].lower().replace("_", "-") for dist in importlib.metadata.distributions()}
  return {name: importlib.metadata.version(name) for name in _PACKAGES if name in there}


def _known(output: str, identity: Mapping[str, Any], overwrite: bool) -> dict[str, Any] | None:
  """The manifest of an output that is this very selection, unchanged since."""
  if not os.path.exists(output):
    return None
  if os.path.exists(manifest_of(output)):
    manifest = files.read_json(manifest_of(output))
    same = all(manifest.get(key) == value for key, value in identity.items())
    if same and manifest.get("output_sha256") == files.sha256(output):
      return manifest
  if not overwrite:
    raise errors.InputError(f"{output}: is there already, and is of other rows or values; give --overwrite")
  return None


def _claimed(folder: str, identity: Mapping[str, Any], overwrite: bool) -> str:
  """The work folder, which is of this selection alone."""
  claim = os.path.join(folder, "claim.json")
  if os.path.isdir(folder) and (not os.path.exists(claim) or files.read_json(claim) != identity):
    if not overwrite and os.path.exists(claim):
      raise errors.InputError(f"{folder}: holds unfinished work of other rows or values; give --overwrite to drop it")
    shutil.rmtree(folder)
  if not os.path.isdir(folder):
    files.make_folder(folder)
    files.write_json(claim, identity)
  return folder
