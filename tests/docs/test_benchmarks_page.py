"""The page of all benchmarks is the registry's: made anew it is the same, and rows say what they were compared with."""

import pytest

from itune_jax.evals.benchmarks import registry
from scripts import benchmarks_page


def test_the_page_is_current():
  assert benchmarks_page.PAGE.read_text(encoding="utf-8") == benchmarks_page.page(), (
    "python scripts/benchmarks_page.py writes it anew"
  )


@pytest.mark.parametrize("name", registry.ROWS)
def test_a_row_says_what_a_reader_asks(name):
  one = registry.find(name)
  assert one.metric and one.licence and one.source and one.size
  assert one.parity, f"{name}: `parity` says what its scores were compared with, or that they were not"
