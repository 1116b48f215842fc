"""No setting is outside of the range that its type names, and none is a number that is not finite."""

import dataclasses
import importlib
import inspect
import math
import pkgutil
import typing

import pytest

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import ranges


@dataclasses.dataclass(frozen=True)
class _Held:
  above: ranges.PositiveFloat = 1.0
  share: ranges.Share = 0.5
  some: ranges.PositiveInt | None = None
  several: tuple[float, ...] = ()
  seed: ranges.Seed = 0

  def __post_init__(self):
    check.check_types(self)


@pytest.mark.parametrize(
  ("given", "says"),
  [
    ({"above": 0.0}, r"above = 0.0 (float); it takes float, above 0"),
    ({"above": math.inf}, "above = inf"),
    ({"share": 1.01}, "share = 1.01 (float); it takes float, from 0 to 1"),
    ({"share": math.nan}, "share = nan"),
    ({"some": 0}, "some = 0 (int); it takes int, 1 or more or None"),
    ({"several": (1.0, math.nan)}, "several = (1.0, nan)"),
    ({"seed": 2**32}, "it takes int, from 0 to 4,294,967,295"),
  ],
)
def test_what_is_out_of_range_is_one_line(given, says):
  with pytest.raises(errors.InputError) as e:
    _Held(**given)
  assert says in str(e.value)
  assert _Held(above=1e-9, share=1, some=1, several=(-1.0,), seed=2**32 - 1)


def _settings():
  for package in ("objectives", "optim", "peft", "synth", "select"):
    root = importlib.import_module(f"itune_jax.{package}")
    for found in pkgutil.walk_packages(root.__path__, f"{root.__name__}."):
      for kind in vars(importlib.import_module(found.name)).values():
        if dataclasses.is_dataclass(kind) and inspect.isclass(kind) and kind.__module__ == found.name:
          yield kind


def _buildable():
  for kind in _settings():
    try:
      built = kind()
    except (TypeError, errors.InputError):  # it needs values, or is abstract
      continue
    if built.__dataclass_params__.frozen and "check_types" in inspect.getsource(inspect.getmodule(kind)):
      yield kind


def test_no_setting_of_any_method_takes_a_number_that_is_none():
  counted, taken = 0, []
  for kind in _buildable():
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
      if field.init and hints[field.name] is float:
        counted += 1
        for value in (math.nan, math.inf):
          try:
            kind(**{field.name: value})
            taken.append((kind.__name__, field.name, value))
          except errors.InputError:
            pass
  assert counted > 80 and not taken, taken


def test_ranges_are_those_of_the_settings_that_are_shipped():
  """Every default lies in the range of its field, and one step outside of it does not."""
  seen = 0
  for kind in _buildable():
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
      for limit in getattr(hints[field.name], "__metadata__", ()):
        seen += 1
        below = limit.low - 1 if typing.get_args(hints[field.name])[0] is int else limit.low - 1e-3
        with pytest.raises(errors.InputError):
          kind(**{field.name: below})
  assert seen > 45
