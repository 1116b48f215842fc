"""The containers of rows: a row of the table for each. How a file is compressed is no matter of its container.

A container gives (where, row) of a file: where is a line, or names a row group; the row is an object, JSON text, or
`lines.Bad` with the reason why it is none. A file that cannot be read on raises `streams.Broken`.
"""

import contextlib
import dataclasses
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

from itune_jax.data.readers import arrow_tables
from itune_jax.data.readers import csvs
from itune_jax.data.readers import jsons
from itune_jax.data.readers import listing
from itune_jax.data.readers import streams
from itune_jax.data.readers import tf_records


@dataclasses.dataclass(frozen=True)
class Container:
  """name: as messages call it. endings: of its files. rows: of one. magic: how its files begin, where they tell."""

  name: str
  endings: tuple[str, ...]
  rows: Callable[[str], jsons.Found]
  magic: bytes = b""
  is_table: bool = False  # every row has the columns of the file
  is_text: bool = False  # all its cells are text


CONTAINERS = (
  Container("JSON lines", (".jsonl", ".ndjson"), jsons.of_lines),
  Container("JSON", (".json",), jsons.of_whole),
  Container("CSV", (".csv",), csvs.commas, is_table=True, is_text=True),
  Container("TSV", (".tsv",), csvs.tabs, is_table=True, is_text=True),
  Container("Parquet", (".parquet",), arrow_tables.of_parquet, b"PAR1", is_table=True),
  Container("Arrow", (".arrow", ".feather"), arrow_tables.of_arrow, b"ARROW1", is_table=True),
  Container("TFRecord", (".tfrecord", ".tfrecords"), tf_records.of_tf_record),
  Container("ArrayRecord", (".arrayrecord", ".array_record"), tf_records.of_array_record),
)
_PACKED = (".gz", ".zst", ".bz2", ".xz")
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")  # as TensorFlow and TFDS name shards, behind the ending
SAYS = f"{', '.join(ending for one in CONTAINERS for ending in one.endings)}, each with or without {', '.join(_PACKED)}"


def of(file: str) -> Container | None:
  """The container of a file, by its name; of standard input by its first bytes, JSON lines where these do not tell."""
  if file == streams.STDIN:
    with streams.opened(streams.standard_input()) as f:
      start = f.peek(8)[:8]
    return next((one for one in CONTAINERS if one.magic and start.startswith(one.magic)), CONTAINERS[0])
  name = _SHARD.sub("", os.path.basename(file)).lower()
  name = next((name.removesuffix(packed) for packed in _PACKED if name.endswith(packed)), name)
  name = _SHARD.sub("", name)
  return next((one for one in CONTAINERS if name.endswith(one.endings)), None)


def files(path: str) -> list[str]:
  """The data files behind a path. Raises InputError when there are none, or one is of a kind that is not read."""
  return listing.files(path, lambda name: of(name) is not None, SAYS)


def rows(file: str) -> Iterator[tuple[int | str, Any]]:
  """(where, row) of a file: an object, JSON text of one, or `lines.Bad`. Raises Broken where it cannot be read on."""
  container = of(file)
  assert container is not None, "files() lets no other file through"
  if file != streams.STDIN:
    yield from container.rows(file)
    return
  try:
    yield from container.rows(streams.standard_input())
  except streams.Broken as e:
    raise streams.Broken(file, e.reason) from None


def content(file: str) -> "contextlib.AbstractContextManager[Any]":
  """The bytes of a file as they lie there, which tell whether it is the same one."""
  return contextlib.closing(streams.raw(streams.standard_input() if file == streams.STDIN else file))
