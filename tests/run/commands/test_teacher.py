"""Distillation from stored tokens is distillation from the teacher that runs; those of another are refused."""

import json

import pytest

from itune_jax.run import cli

FLAGS = (
  "--gin_file=recipes/llama_tiny.gin",
  "--gin.STEPS=3",
  "--gin.feed.Packing.rows=2",
  "--gin.mixture.Source.limit=40",
)
RECIPE = """
from __gin__ import dynamic_registration
from itune_jax.models import decoder
from itune_jax.objectives.distill import top_k
from itune_jax.run import specs
from itune_jax.run import views
OBJECTIVE = @top_k.TopK()
top_k.TopK.k = 8
top_k.TopK.temperature = 1.5
top_k.TopK.live = {live}
VIEWS = {{"teacher": @views.{view}()}}
views.{view}.model = @teacher/specs.Model()
teacher/specs.Model.config = @teacher/decoder.DecoderConfig()
teacher/specs.Model.seed = {seed}
"""


def run(tmp_path, name, *, live, seed=3, dtype=""):
  """A run's exit code and the losses of its steps."""
  view = "Model" if live else "StoredTeacher"
  text = RECIPE.format(live=live, view=view, seed=seed) + (f"views.{view}.dtype = '{dtype}'\n" if dtype else "")
  (tmp_path / f"{name}.gin").write_text(text)
  flags = (*FLAGS, f"--gin_file={tmp_path}/{name}.gin")
  if not live and seed == 3:
    assert cli.main(["prepare", *flags, "--with_teacher"]) == 0
  code = cli.main(["train", *flags, f"--run_dir={tmp_path}/{name}"])
  path = tmp_path / name / "metrics.jsonl"
  lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
  return code, [(line["loss"], line["grad_norm"]) for line in lines if "loss" in line]


@pytest.mark.heavy
def test_stored_tokens_are_the_teacher_that_runs(tmp_path, capsys):
  assert cli.main(["prepare", *FLAGS]) == 0
  _, live = run(tmp_path, "live", live=True)
  _, whole = run(tmp_path, "whole", live=False, dtype="float32")
  _, half = run(tmp_path, "half", live=False)
  assert len(live) == 3 and live[0][0] > 0
  for one, stored, rounded in zip(live, whole, half, strict=True):
    assert stored == pytest.approx(one, rel=1e-5)
    assert rounded == pytest.approx(one, rel=2e-2)
  code, _ = run(tmp_path, "other", live=False, seed=4)
  assert code == 2 and "there are some of another teacher" in capsys.readouterr().err
