"""What an example has at every token beside its weight. Nothing here needs JAX: data is prepared without it."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Column:
  """A named, typed value of every token beside its weight: of `shape` at each position, 0 where a row has none."""

  name: str
  dtype: str = "float32"
  shape: tuple[int, ...] = ()
