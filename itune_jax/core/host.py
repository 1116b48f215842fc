"""Memory of the host that is free, and that the C library keeps."""

import ctypes
import functools
from typing import Any

LARGE = 1 << 28  # bytes; what is smaller is soon asked for again


def give_back(freed: int) -> None:
  """Hands free memory back to the system, where so many bytes or more were freed that it matters.

  The GNU C library keeps blocks of less than 32 MiB for itself when they are freed. Caches that grow leave one set of
  them after the other behind, and none fits the next. It would hand all of them back if it were told to map such
  blocks one by one; but then every program maps its buffers anew, and decoding on a CPU is slower by a fifth.
  """
  if freed >= LARGE and (trim := _trim()) is not None:
    trim(0)


@functools.cache
def _trim() -> Any:
  """glibc's `malloc_trim`, None where the C library is another one."""
  try:
    return ctypes.CDLL(None).malloc_trim
  except (AttributeError, OSError, TypeError):
    return None
