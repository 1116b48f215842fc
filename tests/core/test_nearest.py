"""A suggestion is what was probably meant, or none."""

import pytest

from itune_jax.core import nearest
from itune_jax.run import macros

FLAGS = ("--run_dir", "--steps", "--gin_file", "--base", "--data")


@pytest.mark.parametrize(
  "name,known,found",
  [
    ("STEP", macros.MACROS, "STEPS"),
    ("TEMPLATE", [m for m in macros.MACROS if m != "TEMPLATE"], ""),
    ("LEARNING_RATE", macros.MACROS, ""),
    ("steps", macros.MACROS, "STEPS"),
    ("--run-dir", FLAGS, "--run_dir"),
    ("--run", FLAGS, "--run_dir"),
    ("--seed", FLAGS, ""),
    ("rnk", ("rank", "sites", "alpha"), "rank"),
    ("alfa", ("rank", "sites", "alpha"), "alpha"),
    ("", FLAGS, ""),
    ("-", FLAGS, ""),
  ],
)
def test_the_nearest_name(name, known, found):
  assert nearest.nearest(name, known) == found


def test_every_macro_with_one_letter_wrong_is_found():
  for macro in macros.MACROS:
    for i in range(len(macro)):
      assert nearest.nearest(macro[:i] + "x" + macro[i + 1 :], [m for m in macros.MACROS if m != "VAL_DATA"]) in (
        macro,
        "EVAL_DATA",
      )
