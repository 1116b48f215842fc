"""The plan of a sweep for a slice: every point is planned once, its hours add up, and what does not fit is named."""

import pytest

from itune_jax.core import errors
from itune_jax.run import cli
from itune_jax.run.commands import sweep
from itune_jax.run.sweep import cells
from itune_jax.run.sweep import estimates

FILE = 'question = "a?"\nseeds = [0, 1, 2]\n[grid]\nSTEPS = [100, 300]\n"lora.Lora.rank" = [8, 64]\n'


@pytest.fixture
def planned(tmp_path, monkeypatch):
  calls = []

  def plan(argv, title):
    calls.append((list(argv), title))
    steps = next(int(flag.partition("=")[2]) for flag in argv if flag.startswith("--gin.STEPS"))
    wide = "--gin.lora.Lora.rank=64" in argv
    return {"fits": False} if wide and steps == 300 else {"fits": True, "step_s": 2.0 if wide else 1.0, "steps": steps}

  monkeypatch.setattr(estimates, "_plan", plan)

  def run(text=FILE, *flags):
    (tmp_path / "s.toml").write_text(text)
    given = [f"--sweep={tmp_path}/s.toml", f"--out={tmp_path}/out", "--gin_file=recipes/llama_tiny.gin", *flags]
    given.append("--peft=lora")
    return sweep.from_flags(cli.find("sweep").parse([*given, "--dry_run", "--topology=v5e:4x4"])), calls

  return run


def test_hours_are_those_of_all_seeds_and_each_point_is_planned_once(planned):
  told, calls = planned(FILE.replace("[8, 64]", "[8, 16]"), "--price=10", "--workers=2")
  assert len(calls) == 4 and all(argv[-1] == "--topology=v5e:4x4" for argv, _ in calls)
  hours = 3 * 2 * (100 + 300) * 1.0 / 3600 / 2
  assert told["hours"] == pytest.approx(hours, abs=1e-3) and told["cost"] == pytest.approx(10 * hours, abs=0.01)
  assert told["runs"] == 12 and told["do_not_fit"] == []


def test_a_point_that_does_not_fit_is_named_and_no_sum_is_told(planned):
  told, _ = planned()
  (title,) = told["do_not_fit"]
  assert "STEPS=300" in title and "rank=64" in title and "hours" not in told and "cost" not in told


def test_a_topology_without_a_dry_run_is_refused(tmp_path):
  (tmp_path / "s.toml").write_text(FILE)
  with pytest.raises(errors.InputError, match="--topology=v5e:4x4 plans and runs nothing: give --dry_run"):
    cli.find("sweep").parse([f"--sweep={tmp_path}/s.toml", "--out=x", "--gin_file=demo", "--topology=v5e:4x4"])


def test_another_text_of_an_imported_module_is_another_run(tmp_path):
  (tmp_path / "mine.py").write_text("A = 1\n")
  (tmp_path / "r.gin").write_text("import mine\nSTEPS = 3\n")
  cell, common = cells.Cell({"MICRO_BATCHES": 2}, 0), [f"--gin_file={tmp_path}/r.gin"]
  names = []
  for text in ("A = 1\n", "A = 2\n"):
    (tmp_path / "mine.py").write_text(text)
    names.append(cells.digest(cell, common, cells.content_of(common)))
  assert names[0] != names[1]


def test_a_module_that_a_flag_imports_counts_too(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "mine.py").write_text("A = 1\n")
  (found,) = cells.content_of(["--import=mine"])
  assert found == str(tmp_path / "mine.py")
