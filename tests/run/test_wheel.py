"""The wheel and nothing else: recipes, templates, kernels and the starter set are in it, and the main job runs."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def itune(tmp_path_factory):
  """Runs a command of a package that was installed from a wheel, in an empty folder."""
  folder = tmp_path_factory.mktemp("wheel")
  pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
  tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
  for name in tracked.decode().split("\0"):
    if name and name.split("/")[0] not in ("tests", "experiments", "docs") and (ROOT / name).is_file():
      (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
      (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
  # Built aside: building leaves folders where it is done.
  build = [*pip, "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(folder), str(folder / "source")]
  subprocess.run(build, check=True)
  (wheel,) = folder.glob("*.whl")
  subprocess.run([*pip, "install", "--no-deps", "--target", str(folder / "site"), str(wheel)], check=True)
  (folder / "empty").mkdir()
  environment = {**os.environ, "PYTHONPATH": str(folder / "site")}
  environment.pop("XLA_FLAGS", None)  # eight devices are the tests', not a user's

  def run(*argv):
    command = [sys.executable, "-m", "itune_jax.run.cli", *argv]
    return subprocess.run(command, cwd=folder / "empty", env=environment, capture_output=True, text=True, check=False)

  return run


def test_recipes_are_listed_copied_and_prepared(itune):
  listed = itune("recipes")
  assert listed.returncode == 0, listed.stderr
  names = [line.split()[0] for line in listed.stdout.splitlines()]
  here = {str(p.relative_to(ROOT / "gin_configs")) for p in (ROOT / "gin_configs").glob("*/*.gin")}
  assert set(names) == {name for name in here if not name.startswith("runs/")}
  assert itune("init", "mine").returncode == 0
  again = itune("init", "mine")
  assert again.returncode == 2 and "nothing is overwritten" in again.stderr
  for recipe in ("recipes/demo.gin", "mine/recipes/demo.gin", "demo"):
    done = itune("prepare", f"--gin_file={recipe}")
    assert done.returncode == 0 and json.loads(done.stdout)["sources"][0]["kept"] > 1000, done.stderr


@pytest.mark.full
def test_the_demo_runs(itune):
  done = itune("demo", "--steps=4", "--limit=16", "--run_dir=run")
  assert done.returncode == 0, done.stderr
  figures = json.loads(done.stdout.splitlines()[-1])
  assert {"exact_match_before", "gain", "wall_s", "report"} <= set(figures)
