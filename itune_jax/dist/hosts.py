"""Which rows of a global batch belong to this process."""


def row_slice(rows: int, process: int, processes: int) -> slice:
  """The contiguous rows of one process. Raises ValueError when they do not divide evenly."""
  if rows % processes:
    raise ValueError(f"{rows} rows do not divide among {processes} processes")
  each = rows // processes
  return slice(process * each, (process + 1) * each)
