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
    check.require(
      not mixture.manifest, "VAL_FRACTION holds out rows of raw files, and --mixture reads none: give VAL_DATA"
    )
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

  def measured(self, mixture: mixture_lib.Mixture, task: bool = False) -> mixture_lib.Mixture:
    """What an adaptive mixture follows: the rows that are held out of each source; for a task, the file where one is
    named. It is prepared beside the training data.

    Raises InputError where nothing is held out, and for a mixture that has no rates to change.
    """
    check.require(not mixture.manifest, "MIXING measures rows of raw files, and --mixture reads none: give --data")
    check.require(
      not mixture.grain and len(mixture.sources) > 1,
      f"MIXING changes the rates of sources, and mixture {mixture.name} has "
      + ("a dataset of Grain" if mixture.grain else "one source"),
    )
    if task and self.data:
      formats = {s.format for s in mixture.sources}
      check.require(len(formats) == 1, "MIXING by alignment with VAL_DATA: the sources are of one format")
      sources = (mixture_lib.Source(name="val_data", path=self.data, format=formats.pop()),)
    else:
      check.require(
        self.fraction, "MIXING measures each source on rows of its own that are held out: set VAL_FRACTION (say 0.02)"
      )
      sources = tuple(dataclasses.replace(s, held_out=self.fraction, take="held_out") for s in mixture.sources)
    return mixture_lib.Mixture(name=f"{mixture.name}_held_out", sources=sources, bad_rows=mixture.bad_rows)
