"""The origins that a recipe names: tasks and mixtures of SeqIO, data sets of TFDS, datasets of Grain.

What reads them is imported when they are read: SeqIO and TFDS bring TensorFlow.
"""

import dataclasses
import sys
from collections.abc import Iterator
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import lazy
from itune_jax.core import ranges
from itune_jax.data.origins import origin

grain = lazy.module("grain")
seqio_read = lazy.module("itune_jax.data.origins.seqio_read")
tfds_read = lazy.module("itune_jax.data.origins.tfds_read")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task(origin.Origin):
  """A task or mixture that is registered with SeqIO; of a mixture every task is a source at its rate.

  name: as it is registered. split: of its source. cache_dir: where SeqIO's cached tasks lie, "" to make the examples
  anew. chat: the mapping from features to a row (`origin.mapping`). seed: of preprocessors that draw. lengths: ids of
  a feature at most, as SeqIO's sequence_length; none are cut without.
  """

  name: str
  split: str = "train"
  cache_dir: str = ""
  chat: str = "inputs_targets"
  seed: ranges.Seed = 0
  lengths: dict[str, int] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    check.check_types(self)

  @property
  def called(self) -> str:
    """What messages call it."""
    return f"seqio:{self.name}"

  def parts(self) -> Iterator[origin.Part]:
    """The tasks. Raises InputError for a name that no imported module registered."""
    yield from seqio_read.parts(
      origin.Asked(self.called, self.name, self.split, self.cache_dir, self.chat, self.seed, self.lengths)
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tfds(origin.Origin):
  """A split of a TFDS data set that is prepared on this machine; nothing is downloaded.

  name: "name", "name/config" or "name/config:version". split: as TFDS slices it ("train[:90%]"). data_dir: where data
  sets lie, "" for TFDS's own place. chat: the mapping from features to a row (`origin.mapping`).
  """

  name: str
  split: str = "train"
  data_dir: str = ""
  chat: str = "rows"

  def __post_init__(self):
    check.check_types(self)

  @property
  def called(self) -> str:
    """What messages call it."""
    return f"tfds:{self.name}[{self.split}]"

  def parts(self) -> Iterator[origin.Part]:
    """The split. Raises InputError where it is not on this machine."""
    yield origin.Part(self.name.partition("/")[0], 1.0, self._rows())

  def _rows(self) -> Iterator[origin.Row]:
    yield from tfds_read.rows(origin.Asked(self.called, self.name, self.split, self.data_dir, self.chat))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grain(origin.Origin):
  """The elements of a `grain.MapDataset` or a `grain.IterDataset` that ends, read once.

  make: `module:function` that returns it. chat: the mapping from elements to a row (`origin.mapping`). For a dataset
  without an end, or one that draws anew in each epoch, see `Mixture.grain`.
  """

  make: str
  chat: str = "rows"

  def __post_init__(self):
    check.check_types(self)

  @property
  def called(self) -> str:
    """What messages call it."""
    return f"grain:{self.make}"

  def parts(self) -> Iterator[origin.Part]:
    """The dataset."""
    yield origin.Part(self.make.partition(":")[2], 1.0, self._rows())

  def _rows(self) -> Iterator[origin.Row]:
    how, dataset = origin.mapping(self.chat), dataset_of(self.make)
    if isinstance(dataset, grain.MapDataset) and len(dataset) == sys.maxsize:
      raise errors.InputError(f"{self.called} repeats without end: name it as Mixture.grain, or take the repeat out")
    for element in dataset:
      yield row(how, element)


def dataset_of(make: str) -> Any:
  """The dataset that `module:function` returns. Raises InputError where it is none of Grain's."""
  found = origin.imported(make, "grain")()
  if not isinstance(found, (grain.MapDataset, grain.IterDataset)):
    raise errors.InputError(
      f"grain = {make!r} returns {type(found).__name__}; it must be a grain.MapDataset or grain.IterDataset"
    )
  return found


def row(how: origin.Mapped, element: Any) -> origin.Row:
  """The row of one element, or why there is none."""
  if not isinstance(element, dict):
    return f"an element is {type(element).__name__}; it must be an object"
  return origin.mapped(lambda given: how(origin.plain(given)), element)
