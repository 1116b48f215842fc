"""Files that generators read: rows in any known format, and tasks as Self-Instruct writes its seeds."""

import collections
from collections.abc import Iterator
import functools
import hashlib
import json
from typing import Any, NamedTuple

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.data import example as example_lib
from itune_jax.data import fields
from itune_jax.data.readers import containers
from itune_jax.data.readers import readers
from itune_jax.data.starter import rows as starter_rows

STARTER = "starter:"


class Inputs(NamedTuple):
  """The examples of a file, and how many of its rows are none, by reason."""

  examples: tuple[example_lib.Example, ...]
  refused: dict[str, int]

  def head(self, count: int) -> "Inputs":
    """The first ones."""
    return self._replace(examples=self.examples[:count])


class Task(NamedTuple):
  """A task: what is asked, what it is asked about ("" for nothing), an answer, and whether its answers are labels."""

  instruction: str
  input: str
  output: str
  is_classification: bool = False

  @property
  def question(self) -> str:
    """Instruction and input as one text."""
    return f"{self.instruction}\n\n{self.input}" if self.input else self.instruction


@functools.lru_cache(8)
def read(path: str) -> Inputs:
  """The examples of a file; rows that are prompts alone have no answer. Raises InputError where none is left."""
  found: list[example_lib.Example] = []
  refused: collections.Counter[str] = collections.Counter()
  for example, problem in _rows(path):
    if example is None:
      refused[problem] += 1
    else:
      found.append(example)
  if not found:
    raise readers.no_row("prompts_file", path, refused)
  return Inputs(tuple(found), dict(refused))


@functools.lru_cache(8)
def tasks(path: str) -> tuple[Task, ...]:
  """The tasks of a file: Self-Instruct's own seeds (`instruction`, `instances`), or rows of any format.

  Raises InputError, naming file and line, for a row that is no task.
  """
  found: list[Task] = []
  for number, raw in () if path.startswith(STARTER) else _objects(path):
    if "instances" not in raw:
      check.require(not found, f"{path}:{number}: has no `instances`, and the rows before it are seed tasks that do")
      break
    try:
      first, label = raw["instances"][0], raw.get("is_classification", False)
      task = Task(raw["instruction"], first.get("input", ""), first["output"], label)
    except (KeyError, IndexError, TypeError, AttributeError):
      task = None
    fits = task is not None and all(isinstance(one, str) for one in task[:3]) and isinstance(task[3], bool)
    if task is None or not fits:
      raise errors.InputError(
        f"{path}:{number}: a seed task has `instruction` and `instances` of `input` and `output`, texts"
      )
    found.append(task)
  if not found:
    found = [Task(_asked(one), "", one.answer) for one in read(path).examples if _asked(one) and one.answer]
  check.require(found, f"{path}: no row has a question and an answer, so none can be a seed")
  return tuple(found)


def identity(path: str) -> dict[str, Any]:
  """What a manifest says of a file: its path, the digest of its bytes, its rows."""
  if path.startswith(STARTER):
    told = [example.id for example in read(path).examples]
    return {"file": path, "sha256": hashlib.sha256(json.dumps(told).encode()).hexdigest(), "rows": len(told)}
  digest = hashlib.sha256()
  for file in containers.files(path):
    digest.update(bytes.fromhex(files.sha256(file)))
  return {"file": path, "sha256": digest.hexdigest(), "rows": sum(1 for _ in _raw(path))}


def _asked(example: example_lib.Example) -> str:
  """The question of an example of one user turn, "" of another."""
  turns = [turn for turn in example.prompt if turn["role"] == "user"]
  return example_lib.text(turns[0]["content"]) if len(turns) == 1 else ""


asked = _asked


def _rows(path: str) -> Iterator[tuple[example_lib.Example | None, str]]:
  if path.startswith(STARTER):
    yield from ((row.example, row.problem) for row in starter_rows.rows(path.removeprefix(STARTER)))
    return
  for _, raw in _raw(path):
    try:
      for example in _examples(readers.object_of(raw)):
        yield example, ""
    except fields.BadRow as e:
      yield None, str(e)


def _examples(raw: dict[str, Any]) -> Iterator[example_lib.Example]:
  """The examples of a row; of one that only asks, one without an answer. Raises BadRow."""
  try:
    found = list(readers.parse_all(raw, ""))
  except fields.BadRow:
    conversation = readers.question(raw, "")
    own = {key: raw[key] for key in ("id", "check", "source", "domain", "language") if key in raw}
    found = [example_lib.from_json({**own, "messages": conversation.messages, "tools": conversation.tools})]
  yield from found


def _raw(path: str) -> Iterator[tuple[int | str, Any]]:
  for file in containers.files(path):
    yield from containers.rows(file)


def _objects(path: str) -> Iterator[tuple[int | str, dict[str, Any]]]:
  for place, raw in _raw(path):
    try:
      yield place, readers.object_of(raw)
    except fields.BadRow as e:
      raise errors.InputError(f"{path}:{place}: {e}") from None


@functools.lru_cache(8)
def problems(path: str) -> tuple[str, ...]:
  """The texts of problems: `description` of each row as LogiOR has it, or the question of rows of any format."""
  if path.startswith(STARTER):
    return tuple(_asked(one) for one in read(path).examples if _asked(one))
  described, other = [], None
  for place, raw in _objects(path):
    if isinstance(raw.get("description"), str):
      described.append(raw["description"])
    else:
      other = other or place
  check.require(not described or other is None, f"{path}:{other}: has no text `description`, and other rows have one")
  found = described or [_asked(one) for one in read(path).examples if _asked(one)]
  check.require(found, f"{path}: no row has a `description` or one question")
  return tuple(found)
