"""What the steps of a selection need from outside of its rows: items of benchmarks, and vectors of an encoder."""

from collections.abc import Iterator, Sequence
import dataclasses
import itertools
import os
from typing import Any

import numpy as np

from itune_jax.core import errors
from itune_jax.core import lazy
from itune_jax.data import fields
from itune_jax.data.readers import building
from itune_jax.data.readers import containers
from itune_jax.data.readers import formats
from itune_jax.data.readers import readers
from itune_jax.select import row_texts
from itune_jax.select import select_protocol

# They bring JAX, which a selection without benchmarks and encoders does without.
registry = lazy.module("itune_jax.evals.benchmarks.registry")
official = lazy.module("itune_jax.evals.official")
judged = lazy.module("itune_jax.evals.judged")
encoding = lazy.module("itune_jax.run.encoding")


@dataclasses.dataclass(frozen=True)
class Outside(select_protocol.Outside):
  """As a command knows it. data: the folder of the benchmarks' official files, beside the current folder's."""

  data: str = ""

  def items(self, name: str) -> Iterator[select_protocol.Held]:
    """Of a file of rows, each row; of a benchmark, each item, without examples and the text in front of all of them."""
    if os.path.exists(name):
      yield from _rows(name)
      return
    yield from map(held, self._items(name))

  def benchmarks(self) -> list[str]:
    """Those of the registry whose files are found."""
    found = []
    for one in registry.table():
      try:
        one.folder(self._roots())
      except errors.InputError:
        continue
      if one.name != "perplexity":  # any text of the user's: no benchmark of items
        found.append(one.name)
    if not found:
      raise errors.InputError("no benchmark's files are here: set ITUNE_DATA, or name files in Decontaminate.against")
    return found

  def embed(self, encoder: str, texts: Sequence[str]) -> np.ndarray:
    """Mean-pooled and of length 1."""
    return encoding.embed(encoder, texts)

  def _items(self, name: str) -> Iterator[Any]:
    """The items in the first variant of which the files are there: examples alone where the test rows are elsewhere,
    questions without their images. Raises the first variant's InputError where none can be read."""
    one, refused = registry.find(name), None
    for variant in one.variants or ("",):
      settings = official.Settings(variant=variant, judge=judged.Judge())  # its items are read, nobody is asked
      items = iter(one.benchmark(self._roots(), settings).items())
      try:
        first = next(items, None)
      except errors.InputError as e:
        refused = refused or e
        continue
      if first is not None:
        return itertools.chain((first,), items)
    if refused is not None:
      raise refused
    return iter(())

  def _roots(self) -> Sequence[str]:
    return official.roots(self.data, os.environ.get("ITUNE_DATA", ""))


def held(item: Any) -> select_protocol.Held:
  """What no row may hold of an item of a benchmark: what it asks, without examples and the text in front of them, and
  what is right."""
  asked = item.question if isinstance(item.question, str) else _said(item.question.messages)
  return select_protocol.Held(item.id, asked, _gold(item))


def _rows(path: str) -> Iterator[select_protocol.Held]:
  """The rows of files: of any format of instruction data, prompts alone, preferences; of a row that is none of these
  all its texts. Raises InputError with the line of one that is no row, or holds no text."""
  found = readers.files(path)
  for file in found:
    for line, raw in containers.rows(file):
      number = str(line) if len(found) == 1 else f"{os.path.basename(file)}:{line}"
      try:
        yield select_protocol.Held(number, *_of_row(readers.object_of(raw)))
      except fields.BadRow as e:
        raise errors.InputError(f"{file}:{line}: {e}; formats are {formats.said()}") from None


def _of_row(raw: dict[str, Any]) -> tuple[str, str]:
  """What a row asks, and what is right. Raises BadRow where it holds no text."""
  for read in (readers.parse, _preferred):
    try:
      example = read(raw, "")
      return "\n".join(row_texts.plain(message) for message in example.prompt), example.answer
    except fields.BadRow:
      continue
  try:
    unanswered = {key: value for key, value in raw.items() if key not in building.ANSWERS}
    return _said(readers.question(unanswered, "").messages), "\n".join(_texts([raw.get(k) for k in building.ANSWERS]))
  except fields.BadRow:
    texts = list(_texts(raw))
  if not texts:
    raise fields.BadRow("it holds no text")
  return "\n".join(texts), ""


def _preferred(raw: dict[str, Any], folder: str) -> Any:
  """A row that names the better of two answers."""
  return readers.parse(raw, folder, readers.PREFERENCE)


def _texts(value: Any) -> Iterator[str]:
  """All texts in a value of JSON."""
  if isinstance(value, str) and value.strip():
    yield value
  elif isinstance(value, (list, dict)):
    for one in value.values() if isinstance(value, dict) else value:
      yield from _texts(one)


def _said(messages: Sequence[Any]) -> str:
  return "\n".join(row_texts.plain(message) for message in messages)


def _gold(item: Any) -> str:
  """What is right, where it is text: the answer, or the right one of the choices."""
  if isinstance(item.answer, str):
    return item.answer
  if isinstance(item.answer, int) and not isinstance(item.answer, bool) and 0 <= item.answer < len(item.choices):
    return item.choices[item.answer]
  if isinstance(item.answer, (list, tuple)):
    return "\n".join(one for one in item.answer if isinstance(one, str))
  return ""
