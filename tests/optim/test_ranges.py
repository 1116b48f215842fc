"""Values that no run can mean are refused before any work."""

import math

import pytest

from itune_jax.core import errors
from itune_jax.optim import adamw
from itune_jax.optim import schedule


@pytest.mark.parametrize(
  "how",
  [
    *({"clip": value} for value in (-1.0, math.nan, math.inf)),
    *({"weight_decay": value} for value in (-0.5, math.nan, math.inf)),
    *({"b2": value} for value in (1.0, 1.5, -0.1, math.nan)),
    {"b1": 1.0},
    {"eps": -1e-8},
  ],
)
def test_a_value_out_of_range_is_named(how):
  (name,) = how
  with pytest.raises(errors.InputError, match=rf"AdamW.{name} = .*; "):
    adamw.AdamW(**how)


@pytest.mark.parametrize("final", [-5.0, 1.5, math.nan])
def test_a_rate_ends_between_nothing_and_its_peak(final):
  with pytest.raises(errors.InputError, match="Schedule.final"):
    schedule.Schedule(final=final)
