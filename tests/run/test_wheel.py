"""The wheel and nothing else: recipes, templates, kernels and the starter set are in it, and the main job runs."""

import json
import os
import pathlib
import subprocess
import sys
import zipfile

import pytest

import itune_jax

ROOT = pathlib.Path(__file__).parent.parent.parent
pytestmark = pytest.mark.heavy


PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  """What git knows, without tests: building leaves folders where it is done."""
  folder = tmp_path_factory.mktemp("source")
  tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
  for name in tracked.decode().split("\0"):
    if name and name.split("/")[0] not in ("tests", "experiments", "docs") and (ROOT / name).is_file():
      (folder / name).parent.mkdir(parents=True, exist_ok=True)
      (folder / name).write_bytes((ROOT / name).read_bytes())
  return folder


def wheel_of(source, folder):
  """The wheel of a folder or an sdist."""
  build = [*PIP, "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(folder), str(source)]
  subprocess.run(build, check=True)
  (wheel,) = folder.glob("*.whl")
  return wheel


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
  return wheel_of(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def itune(wheel, tmp_path_factory):
  """Runs a command of a package that was installed from a wheel, in an empty folder."""
  folder = tmp_path_factory.mktemp("installed")
  subprocess.run([*PIP, "install", "--no-deps", "--target", str(folder / "site"), str(wheel)], check=True)
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


def test_the_wheel_holds_all_that_the_package_reads(wheel):
  """Every file beside the code that git knows, and nothing of the tests."""
  tracked = subprocess.run(["git", "ls-files", "itune_jax", "gin_configs"], cwd=ROOT, capture_output=True, text=True)
  inside = lambda name: f"itune_jax/{name}" if name.startswith("gin_configs/") else name
  wanted = {inside(name) for name in tracked.stdout.splitlines() if (ROOT / name).is_file()}
  held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
  assert wanted == held


@pytest.mark.full
def test_the_sdist_makes_the_same_wheel(source, wheel, tmp_path):
  """`python -m pytest -m full tests/run/test_wheel.py -k sdist`."""
  make = f"from setuptools import build_meta; print(build_meta.build_sdist({str(tmp_path / 'sdist')!r}))"
  subprocess.run([sys.executable, "-c", make], cwd=source, check=True, capture_output=True)
  (sdist,) = (tmp_path / "sdist").glob("*.tar.gz")
  again = wheel_of(sdist, tmp_path)
  assert sdist.name == f"itune_jax-{itune_jax.__version__}.tar.gz" and again.name == wheel.name
  files = lambda path: {
    one.filename: one.CRC for one in zipfile.ZipFile(path).infolist() if "RECORD" not in one.filename
  }
  assert files(again) == files(wheel)


@pytest.mark.full
def test_the_demo_runs(itune):
  done = itune("demo", "--steps=4", "--limit=16", "--run_dir=run")
  assert done.returncode == 0, done.stderr
  figures = json.loads(done.stdout.splitlines()[-1])
  assert {"exact_match_before", "gain", "wall_s", "report"} <= set(figures)
