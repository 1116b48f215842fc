"""Equations of worked solutions, beside Python's own arithmetic."""

import fractions

import numpy as np
import pytest

from itune_jax.synth import calculations
from itune_jax.synth import equations


@pytest.mark.parametrize(
  ("text", "found", "wrong"),
  [
    ("She has <<3*4=12>>12 and 5 + 5 = 11.", [("3*4", "12")], ""),
    ("First 9 - (8 - 2) = 3, then 3 x 4 = 12.", [("9-(8-2)", "3"), ("3*4", "12")], ""),
    ("In 2020, 5 + 4 = 9 apples", [("5+4", "9")], ""),
    ("Add 3 5 + 4 = 9", [("5+4", "9")], ""),
    ("3 + 4 = 7 * 2 = 14", [("3+4", "7"), ("7*2", "14")], ""),
    ("$1,200 * 2 = $2,400 and 20% * 50 = 10", [("1200*2", "2400"), ("20%*50", "10")], ""),
    ("10 / 4 = 2.5; 7 / 3 = 2.33", [("10/4", "2.5"), ("7/3", "2.33")], "7/3=2.33"),
    ("x = 5 and it is 3 = 3", [], ""),
    ("<<2+2=5>>", [("2+2", "5")], "2+2=5"),
    ("<<1/0=1>> <<__import__('os')=1>>", [("1/0", "1"), ("__import__('os')", "1")], "1/0=1"),
  ],
)
def test_equations_are_found_and_checked(text, found, wrong):
  assert equations.of(text) == found and equations.wrong(text) == wrong


def test_drawn_expressions_have_the_value_that_python_gives_them_and_are_read_again_from_text():
  rng = np.random.Generator(np.random.PCG64(3))
  for _ in range(300):
    expression, value = calculations.drawn(rng, int(rng.integers(1, 7)), 60)
    assert value == eval(expression, {}) == equations.value(expression)
    assert not equations.wrong(f"So we get {expression} = {value}.")
    assert equations.wrong(f"So we get {expression} = {value + 1}.")
  assert equations.value("1.5 * 4") == fractions.Fraction(6) and equations.value("2 ** 9") is None
