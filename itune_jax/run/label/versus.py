"""Two systems' answers to the same questions, as blind pairs: evaluations, lm-eval's samples, or files of responses."""

from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import os
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.evals import stored
from itune_jax.run.commands import compare
from itune_jax.run.comparison import evaluated
from itune_jax.run.comparison import harness_files
from itune_jax.run.label import sheets
from itune_jax.run.label import shown_rows
from itune_jax.select import input_rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answered:
  """What one system said. messages: what it was asked, as (role, text), () where its file does not say. values: what
  graders and judges said of it, by metric."""

  messages: tuple[tuple[str, str], ...]
  text: str
  values: Mapping[str, float] = dataclasses.field(default_factory=dict)
  harmful: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class System:
  """A system by its name. benchmark: what was asked, "" for a file of responses. lower: metrics of which less is
  better."""

  name: str
  path: str
  benchmark: str
  answers: Mapping[str, Answered]
  lower: tuple[str, ...] = ()


def systems(given: Sequence[str], benchmark: str) -> list[System]:
  """The systems of the command line, `RUN` or `NAME=RUN`. Raises InputError for what cannot be read, and for a run of
  several benchmarks of which none is named."""
  found = []
  for name, paths in compare.named(given):
    check.require(len(paths) == 1, f"{name}: a pair is of single runs; give one path")
    check.require(os.path.exists(paths[0]), f"{paths[0]}: there is no such run, and no such file")
    found.append(_system(name, paths[0], benchmark))
  return found


def items(
  first: System, second: System, prompts: Mapping[str, tuple[tuple[str, str], ...]], seed: int
) -> tuple[list[sheets.Item], dict[str, int]]:
  """The items that both answered, and how many were left out by reason. prompts: of items whose files do not say what
  was asked. Raises InputError where they share none."""
  named = {one.benchmark for one in (first, second) if one.benchmark}
  check.require(
    len(named) < 2, f"{first.path} and {second.path} answer {' and '.join(sorted(named))}: nothing is shared"
  )
  left_out: dict[str, int] = {}

  def out(reason: str, count: int = 1) -> None:
    left_out[reason] = left_out.get(reason, 0) + count

  found = []
  for id, one in first.answers.items():
    two = second.answers.get(id)
    if two is None:
      out(f"only {first.name} answered it")
      continue
    asked = one.messages or two.messages or prompts.get(id, ())
    if not asked:
      out("nobody says what was asked")
    elif one.messages and two.messages and one.messages != two.messages:
      out("the two were asked differently")
    elif asked[-1][0] == "assistant":
      out("its prompt ends with an answer, which the two would go on from")
    elif one.text == two.text:
      out("both answers are the same")
    elif not one.text.strip() or not two.text.strip():
      out("an answer is empty")
    else:
      found.append(_item(id, asked, (first, one), (second, two), seed))
  if over := len(second.answers.keys() - first.answers.keys()):
    out(f"only {second.name} answered it", over)
  if not found:
    said = "; ".join(f"{n} × {reason}" for reason, n in left_out.items())
    raise errors.InputError(f"{first.path} and {second.path}: there is no pair to compare ({said or 'no answers'})")
  return found, left_out


def prompts_of(path: str) -> dict[str, tuple[tuple[str, str], ...]]:
  """What the rows of a file ask, by their ids. Raises InputError for a row without an id, or that asks nothing."""
  found: dict[str, tuple[tuple[str, str], ...]] = {}
  for given in input_rows.rows(path):
    if given.row is None:
      raise errors.InputError(f"{given.file}:{given.place}: {given.problem}")
    try:
      check.require("id" in given.row, f"{given.file}:{given.place}: has no `id`, by which answers are found")
      found[shown_rows.id_of(given.row)] = shown_rows.turns(shown_rows.prompt(given.row)[0])
    except ValueError as e:
      raise errors.InputError(f"{given.file}:{given.place}: {e}") from None
  return found


def digest(path: str) -> str:
  """The SHA-256 of a file; of a folder that of the names and digests of its files."""
  if os.path.isfile(path):
    return files.sha256(path)
  inside = sorted(os.path.join(at, name) for at, _, names in os.walk(path) for name in names)
  found = [f"{os.path.relpath(one, path)} {files.sha256(one)}" for one in inside if one.endswith((".json", ".jsonl"))]
  return hashlib.sha256("\n".join(found).encode()).hexdigest()


def _item(
  id: str,
  asked: tuple[tuple[str, str], ...],
  first: tuple[System, Answered],
  second: tuple[System, Answered],
  seed: int,
) -> sheets.Item:
  (a, one), (b, two) = first, second
  messages = [{"role": role or "user", "content": text} for role, text in asked]
  row = {"id": id, "messages": messages, "source": {"kind": "self_generated", "dataset": a.benchmark or "responses"}}
  judges: dict[str, str | float] = {}
  for name in one.values.keys() & two.values.keys():
    ours, theirs = (-values[name] if name in a.lower else values[name] for values in (one.values, two.values))
    judges[name] = sheets.TIE if ours == theirs else a.name if ours > theirs else b.name
  sides = shown_rows.placed(id, seed, (a.name, one.text), (b.name, two.text))
  turns = tuple((role or "user", text) for role, text in asked)
  harmful = one.harmful or two.harmful
  return sheets.Item(id=id, turns=turns, sides=sides, row=row, judges=dict(sorted(judges.items())), harmful=harmful)


def _system(name: str, path: str, benchmark: str) -> System:
  if os.path.isfile(path) and not harness_files.is_one(path):
    return System(name=name, path=path, benchmark="", answers=_responses(path))
  evaluations = compare.read(path)
  if benchmark and benchmark not in evaluations:
    raise errors.InputError(f"{path}: holds no {benchmark}; it has {', '.join(evaluations)}")
  if not benchmark and len(evaluations) > 1:
    raise errors.InputError(f"{path}: holds {', '.join(evaluations)}: name one with --benchmark")
  found = evaluations[benchmark] if benchmark else next(iter(evaluations.values()))
  check.require(found.items, f"{found.where}: holds figures and no rows, so there is nothing to compare")
  answers = {id: _answered(item) for id, item in found.items.items()}
  lower = tuple(metric for metric, better in found.better.items() if better == "lower")
  return System(name=name, path=path, benchmark=found.benchmark, answers=answers, lower=lower)


def _answered(item: evaluated.Item) -> Answered:
  plain = {
    name: float(value)
    for name, value in item.values.items()
    if isinstance(value, (int, float)) and name not in evaluated.DERIVED
  }
  return Answered(messages=tuple(item.prompt), text=item.answer, values=plain, harmful=item.harmful)


def _responses(path: str) -> dict[str, Answered]:
  """Of a file of responses, by id, or by the prompt where its rows have no ids. Raises InputError for a second row of
  one item."""
  found: dict[str, Answered] = {}
  for row in stored.rows(path):
    id = (*row.ids, *row.prompts)[0]
    check.require(id not in found, f"{row.where}: answers {id!r} again")
    messages: Any = (("user", row.prompts[0]),) if row.prompts else ()
    found[id] = Answered(messages=messages, text=row.responses[0])
  return found
