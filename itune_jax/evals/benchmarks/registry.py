"""The published benchmarks by name. A row is the module that holds `BENCHMARK`; it is imported when it is asked for."""

import difflib
import importlib

from itune_jax.core import errors
from itune_jax.evals import official

_HERE = "itune_jax.evals.benchmarks"

# Name: module below this package.
ROWS: dict[str, str] = {}


def find(name: str) -> official.Published:
  """The benchmark of a name. Raises InputError with the nearest names where there is none."""
  if name not in ROWS:
    near = difflib.get_close_matches(name, ROWS, 2)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(sorted(ROWS))}"
    raise errors.InputError(f"there is no benchmark {name!r}; {hint}")
  found = importlib.import_module(f"{_HERE}.{ROWS[name]}").BENCHMARK
  if found.name != name:
    raise errors.InputError(f"the benchmark {name!r} calls itself {found.name!r}")
  return found


def table() -> list[official.Published]:
  """All of them, by axis and name."""
  return sorted((find(name) for name in ROWS), key=lambda one: (one.axis, one.name))
