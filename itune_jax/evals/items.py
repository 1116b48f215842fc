"""The items of a user's own files: conversations whose last answer is right, judged by the check on the row."""

import collections
from collections.abc import Iterator
import dataclasses

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.data import example as example_lib
from itune_jax.data import mixture
from itune_jax.evals import protocol
from itune_jax.grading import checkers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Items:
  """The items of an evaluation: a source (file or `starter:heldout`), and a check for rows without one.

  source: the rows. default_check: name of the checker of rows that name none. checkers: import paths of own ones
  (`my_module:my_checker`), which default_check and the checks of rows may name; nothing else is imported for a row.
  """

  source: mixture.Source
  default_check: str = "exact"
  checkers: tuple[str, ...] = ()

  def __post_init__(self):
    check.check_types(self)
    for name in (self.default_check, *self.checkers):
      checkers.find(name, self.checkers)

  def examples(self) -> Iterator[tuple[str, example_lib.Example]]:
    """(file:line, example), each with a check that can be judged by, as a stream. Raises InputError with file and line
    of a row that is none, or whose check is wrong, and of two rows of one id."""
    seen: dict[str, str] = {}
    for row in self.source.rows():
      where = f"{row.file}:{row.line}"
      if row.example is None:
        raise errors.InputError(f"{where}: {row.problem}")
      one = row.example
      if one.id in seen:
        raise errors.InputError(f"{where}: it has the id {one.id!r} of {seen[one.id]}; ids must differ (`id`)")
      seen[one.id] = where
      yield where, dataclasses.replace(one, check=self._check(one, where))

  def _check(self, one: example_lib.Example, where: str) -> dict:
    """The check of an example, its own or the default one. Raises InputError naming the place."""
    found = one.check
    if not set(found) - {"choices"}:
      check.require(one.answer, f"{where}: there is no answer to judge by: no check, no assistant turn")
      found = {**found, **checkers.of_answer(self.default_check, one.answer)}
    found = {"name": self.default_check, **found}
    try:
      problem = checkers.problem(found, self.checkers) or _choices_problem(found)
    except errors.InputError as e:
      problem = str(e)
    check.require(not problem, f"{where}: {problem}")
    return dict(found)

  def items(self, *, choices: bool = False) -> Iterator[protocol.Item]:
    """The items. choices: only those whose check lists choices, of which one is right."""
    for where, one in self.examples():
      listed = tuple(one.check.get("choices") or ())
      if choices and not listed:
        continue
      yield protocol.Item(
        id=one.id,
        question=one.question,
        answer=one.check.get("answer", one.answer) if choices else one.answer,
        choices=listed,
        cluster=cluster_of(one),
        tags={"domain": one.domain} if one.domain else {},
        shown={"domain": one.domain, "check": dict(one.check)},
        where=where,
      )


def distinct(name: str, seen: "collections.Counter[str]") -> str:
  """A name that none of those seen has: behind a second of its kind stands its number."""
  seen[name] += 1
  return name if seen[name] == 1 else f"{name}#{seen[name]}"


def cluster_of(one: example_lib.Example) -> str:
  """What a row is drawn together with: its template, where its source names one, or itself."""
  template = one.source.get("template")
  return template if isinstance(template, str) and template else one.id


def _choices_problem(found: dict) -> str:
  """What is wrong with the choices of a check, "" where nothing is."""
  choices = found.get("choices")
  if choices is None:
    return ""
  texts = isinstance(choices, (list, tuple)) and all(isinstance(one, str) and one for one in choices)
  if not texts or len(choices) < 2 or len(set(choices)) < len(choices):
    return f"check.choices {jsontext.shown(choices)} must be two texts or more, which differ"
  if "answer" in found and found["answer"] not in choices:
    return f"check.answer {jsontext.shown(found['answer'])} must be one of check.choices {jsontext.shown(choices)}"
  return ""
