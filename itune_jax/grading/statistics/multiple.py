"""Many comparisons at once: p-values that count how many were made."""

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
  """Holm's step-down p-values (1979), in the order given: below 0.05, the chance of *any* false find is at most 5 %."""
  p, order = _sorted(p_values)
  stepped = np.maximum.accumulate(p * np.arange(len(p), 0, -1))
  return _back(np.minimum(stepped, 1), order)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
  """Step-up q-values (Benjamini & Hochberg 1995), in the order given: of the finds below 0.05 about 5 % are false."""
  p, order = _sorted(p_values)
  stepped = np.minimum.accumulate((p * len(p) / np.arange(1, len(p) + 1))[::-1])[::-1]
  return _back(np.minimum(stepped, 1), order)


def _sorted(p_values):
  p = np.asarray(list(p_values), np.float64)
  if not np.all((p >= 0) & (p <= 1)):
    raise ValueError("p-values are from 0 to 1")
  order = np.argsort(p, kind="stable")
  return p[order], order


def _back(stepped, order):
  found = np.empty(len(order))
  found[order] = stepped
  return [float(one) for one in found]
