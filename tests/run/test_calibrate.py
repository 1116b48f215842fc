"""Methods that start from data, through the commands."""

import shutil

import numpy as np
import pytest

from itune_jax.run import cli
from itune_jax.train import checkpoint
from tests.run.commands import test_resume


@pytest.mark.parametrize("part", [pytest.param("eva", marks=pytest.mark.full), "lora_ga"])
@pytest.mark.heavy
def test_a_run_that_started_from_data_goes_on_from_its_checkpoint(tmp_path, part):
  """With ranks that data chose, and with a start that is subtracted; without measuring again."""
  flags = [*test_resume.RECIPE[:1], "--gin.STEPS=6", "--gin.checkpoint.Keep.every=3", "--gin.checkpoint.Keep.last=9"]
  assert cli.main(["prepare", *flags[:1]]) == 0
  straight, cut = tmp_path / part, tmp_path / f"{part}_cut"
  train = ["train", *flags, f"--gin_file=peft/{part}.gin", "--gin.lora.Lora.rank=4"]
  assert cli.main([*train, f"--run_dir={straight}"]) == 0
  shutil.copytree(straight, cut)
  shutil.rmtree(checkpoint.committed(str(cut / "checkpoints"))[-1])
  assert cli.main([*train, f"--run_dir={cut}"]) == 0
  one, two = test_resume.arrays(straight), test_resume.arrays(cut)
  assert one.keys() == two.keys()
  for name in one:
    np.testing.assert_array_equal(one[name], two[name], err_msg=name)
  assert cli.main(["export", f"--adapter={straight}", "--format=peft", f"--out={tmp_path / part}_peft"]) == 0
