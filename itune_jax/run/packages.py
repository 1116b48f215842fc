"""Where installed packages lie, for programs that run in the sandbox and may import them."""

import importlib.util
import os

from itune_jax.core import errors


def of_scipy() -> tuple[str, ...]:
  """The folder of scipy and numpy. Raises InputError where scipy is not installed."""
  found = importlib.util.find_spec("scipy")
  if found is None or found.origin is None:
    raise errors.InputError("scipy is not installed: pip install scipy; its HiGHS solves what a teacher writes")
  return (os.path.dirname(os.path.dirname(found.origin)),)
