"""What validates a run: a file of its own, or rows of the training data that are held out by their hash."""

import dataclasses

from itune_jax.core import check
from itune_jax.data import mixture as mixture_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Validation:
  """A file `data`, or a share `fraction` of the rows of every source of the training data, or both; off by default.

  Which rows are held out hangs on their text alone: the same ones whatever the order of the file, what else is in it,
  and how often a row stands there. data: a file to validate on, "" for none. fraction: share of the rows of every
  source that is held out, 0 for none. every: steps between two validations; 0 makes ten in a run.
  """

  data: str = ""
  fraction: float = 0.0
  every: int = 0

  def __post_init__(self):
    check.check_types(self)
    check.require(
      0 <= self.fraction < 1, f"VAL_FRACTION must be a share of the rows (0 or more, below 1), not {self.fraction}"
    )
    check.require(self.every >= 0, f"VAL_EVERY must be a number of steps, not {self.every}")

  def __bool__(self) -> bool:
    return bool(self.data or self.fraction)

  def trained(self, mixture: mixture_lib.Mixture) -> mixture_lib.Mixture:
    """The mixture without the rows that are held out."""
    if not self.fraction:
      return mixture
    check.require(not mixture.grain, "VAL_FRACTION: of a dataset of Grain nothing is held out by itself; give VAL_DATA")
    rest = tuple(dataclasses.replace(s, held_out=self.fraction, take="rest") for s in mixture.sources)
    return dataclasses.replace(mixture, sources=rest)

  def sources(self, mixture: mixture_lib.Mixture) -> tuple[mixture_lib.Source, ...]:
    """What the loss is measured on: the rows held out of each source, and the file. Raises InputError where a source
    of the training data has the name of the file's."""
    held = [dataclasses.replace(s, held_out=self.fraction, take="held_out") for s in mixture.sources]
    found = held if self.fraction else []
    if self.data:
      found.append(mixture_lib.Source(name="val_data", path=self.data))
    names = [s.name for s in found]
    check.require(len(set(names)) == len(names), "a source of the training data is called val_data: rename it")
    return tuple(found)
