"""Every family against logits that transformers gave for the same weights (scripts/make_goldens.py families)."""

import json
import pathlib

import numpy as np
import pytest

from itune_jax.models.hf import config
from itune_jax.models import zoo
from tests import tiny
from tests.models import doc
from tests.models import folders

ROOT = pathlib.Path(__file__).parent.parent.parent
GOLDEN = json.loads((ROOT / "tests" / "golden" / "families.json").read_text())


@pytest.mark.parametrize("case", folders.EVERY)
def test_logits_are_those_of_transformers(case, tmp_path):
  ours = folders.open_ours(folders.write(case, tmp_path / "m"))
  found = np.asarray(tiny.logits(ours, folders.inputs(case)))[0, -1]
  expected = np.array(GOLDEN[case], np.float32)
  assert np.abs(found - expected).max() <= 1e-4 * (expected.max() - expected.min())


@pytest.mark.parametrize("case", folders.EVERY)
def test_config_is_written_as_it_is_read(case):
  cfg = config.config_from_hf(folders.EVERY[case], case)
  assert config.config_from_hf(config.config_to_hf(cfg, "float32", {}), case) == cfg


def test_every_family_has_a_case_and_the_page_is_up_to_date():
  assert all(doc.cases_of(family) for family in zoo.FAMILIES)
  assert (ROOT / "docs" / "models.md").read_text() == doc.page(), "run scripts/make_goldens.py models"
