"""The door of multiple-choice files in the forms that MMLU is had in: CSV by subject, JSON lines, parquet."""

from collections.abc import Iterable, Iterator
import os
from typing import Any, NamedTuple

from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.core import lazy
from itune_jax.evals import folders

parquet = lazy.module("pyarrow.parquet")

PATTERNS = ("test.jsonl|test/*_test.csv|*_test.csv|all/test-*.parquet|*/test-*.parquet|test*.parquet",)


class Row(NamedTuple):
  """A question with its choices, and which of them is right."""

  subject: str
  question: str
  choices: tuple[str, ...]
  answer: int
  where: str


def rows(folder: folders.Folder, split: str) -> Iterator[Row]:
  """The rows of a split (test, dev) in the order of their files. Raises InputError for one that is none."""
  for path in _found(folder, split):
    plain = path.removesuffix(".gz")
    if plain.endswith(".jsonl"):
      yield from (_of_object(row, where) for where, row in folders.objects(path))
    elif plain.endswith(".csv"):
      yield from _of_csv(path, os.path.basename(plain).removesuffix(f"_{split}.csv"))
    else:
      yield from _of_parquet(path)


def by_subject(given: Iterable[Row]) -> dict[str, list[Row]]:
  """The rows of each subject, in order."""
  found: dict[str, list[Row]] = {}
  for row in given:
    found.setdefault(row.subject, []).append(row)
  return found


def _found(folder: folders.Folder, split: str) -> list[str]:
  """The files of a split, of the first form that is there. Raises InputError where none is."""
  return folder.files(PATTERNS[0].replace("test", split))


def _of_parquet(path: str) -> Iterator[Row]:
  """Rows with a subject of their own, or that of the folder's name."""
  try:
    found = parquet.read_table(path).to_pylist()
  except (OSError, ValueError) as e:
    raise errors.InputError(f"{path}: is no parquet ({jsontext.said(e)})") from None
  for number, row in enumerate(found, 1):
    yield _of_object({"subject": os.path.basename(os.path.dirname(path)), **row}, f"{path}: row {number}")


def _of_object(row: dict[str, Any], where: str) -> Row:
  choices = folders.field(row, "choices", list, where)
  subject, question = (folders.words(row, name, where) for name in ("subject", "question"))
  return _checked(Row(subject, question, tuple(choices), folders.field(row, "answer", int, where), where))


def _of_csv(path: str, subject: str) -> Iterator[Row]:
  for number, row in enumerate(folders.cells_of(path), 1):
    where = f"{path}: row {number}"
    if len(row) < 4 or len(row[-1].strip()) != 1:
      raise errors.InputError(f"{where}: a question, its choices and the letter of the right one are expected")
    question, *choices, right = row
    yield _checked(Row(subject, question, tuple(choices), ord(right.strip()) - ord("A"), where))


def _checked(row: Row) -> Row:
  if not all(isinstance(choice, str) for choice in row.choices) or not 2 <= len(row.choices) <= 26:
    raise errors.InputError(
      f"{row.where}: 'choices' must be two to twenty-six texts, they are {list(row.choices)!r:.60}"
    )
  if not 0 <= row.answer < len(row.choices):
    raise errors.InputError(f"{row.where}: the answer is choice {row.answer} of {len(row.choices)} (the first is 0, A)")
  return row
