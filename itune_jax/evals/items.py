"""The items of a user's own files: conversations whose last answer is right, judged by the check on the row."""

from collections.abc import Iterator
import dataclasses

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.data import example as example_lib
from itune_jax.data import mixture
from itune_jax.evals import protocol
from itune_jax.grading import checkers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Items:
  """The items of an evaluation: a source (file or `starter:heldout`), and a check for rows without one.

  source: the rows. default_check: name of the checker of rows that name none.
  """

  source: mixture.Source
  default_check: str = "exact"

  def __post_init__(self):
    check.check_types(self)
    checkers.known(self.default_check)

  def examples(self) -> Iterator[example_lib.Example]:
    """The examples, each with a check, as a stream. Raises InputError with file and line of a bad row."""
    for row in self.source.rows():
      if row.example is None:
        raise errors.InputError(f"{row.file}:{row.line}: {row.problem}")
      one = row.example
      if not one.check:
        check.require(one.answer, f"{row.file}:{row.line}: there is no answer to judge by: no check, no assistant turn")
        one = dataclasses.replace(one, check={"name": self.default_check, "answer": one.answer})
      yield one

  def items(self, *, choices: bool = False) -> Iterator[protocol.Item]:
    """The items. choices: only those whose check lists choices, of which one is right."""
    for one in self.examples():
      listed = tuple(one.check.get("choices") or ())
      if choices and not listed:
        continue
      yield protocol.Item(
        id=one.id,
        question=one.question,
        answer=one.check.get("answer", one.answer) if choices else one.answer,
        choices=listed,
        cluster=one.source.get("template") or one.id,
        tags={"domain": one.domain} if one.domain else {},
        shown={"domain": one.domain, "check": dict(one.check)},
      )
