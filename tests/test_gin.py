"""Every recipe parses, builds, and trains three steps under the smoke overlay; parts provide what they say."""

import pathlib
import re

import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.core import contracts
from itune_jax.run import cli
from itune_jax.run import gin_setup
from itune_jax.run.commands import train

ROOT = pathlib.Path(__file__).parent.parent / "gin_configs"
RECIPES = sorted((ROOT / "recipes").glob("*.gin"))
# Recipes for slices of a pod: their models are not here, so they are built by tests/run/commands/test_plan.py.
PODS = [recipe for recipe in RECIPES if re.search(r"mesh/(v\d|h100)", recipe.read_text())]
PROVIDES = {
  "models": {"MODEL"},
  "peft": {"PEFT"},
  "data": {"MIXTURE", "RENDERING", "PACKING"},
  "select": {"SELECTION"},
  "objective": {"OBJECTIVE"},
  "optim": {"OPTIMIZER"},
  "mesh": {"MESH"},
  "evals": {"EVALS"},
  "decode": {"DECODE"},
  "precision": {"PRECISION"},
  "remat": {"REMAT"},
}
DATA = pathlib.Path(__file__).parent / "golden" / "rows.jsonl"


def of_pairs(recipe):
  """Whether a recipe trains on pairs, which the starter set has as well."""
  return "data/pairs.gin" in recipe.read_text()


def of_labels(recipe):
  """Whether a recipe trains on single answers with labels."""
  return "data/unpaired.gin" in recipe.read_text()


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
  devices = __import__("jax").devices()
  monkeypatch.setattr("itune_jax.parallel.mesh.jax.devices", lambda: devices[:1])


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.gin")), ids=lambda p: str(p.relative_to(ROOT)))
def test_parts_are_small_and_provide_their_macros(path):
  folder, text = path.parent.name, path.read_text()
  lines = text.splitlines()
  assert lines[0].startswith("# "), "the first line says what it is"
  assert len(lines) <= (40 if folder == "runs" else 25)
  assert "gin.REQUIRED" not in text
  macros = set(re.findall(r"^([A-Z][A-Z_]*) =", text, re.M))
  if folder in PROVIDES:
    assert PROVIDES[folder] <= macros and not (macros - PROVIDES[folder]) & set().union(*PROVIDES.values())
  if folder == "peft":
    assert "\nschedule.Schedule.rate = " in text, "a method comes with its learning rate"
  if folder not in ("runs", "overlays"):
    assert "run import train" not in text, "only runs bind a top function"


@pytest.mark.parametrize("recipe", [r for r in RECIPES if r not in PODS], ids=lambda p: p.stem)
@pytest.mark.by_default(1, heavy=4)
def test_recipe_builds(recipe):
  text = recipe.read_text()
  flags = [f"--gin_file={recipe}"] + ([f"--gin.DATA='{DATA}'"] if "jsonl" in text else [])
  flags += ["--gin.DATA='starter:heldout_pairs'"] if of_pairs(recipe) else []
  flags += ["--gin.DATA='starter:heldout_unpaired'"] if of_labels(recipe) else []
  flags += ["--gin.BASE='smollm2-135m-instruct'"] if "models/path" in text else []
  assert cli.main(["prepare", *flags]) == 0
  assert cli.main(["train", *flags, "--dry_run", "--run_dir=unused"]) == 0
  assert not pathlib.Path("unused").exists()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda p: p.stem)
@pytest.mark.by_default("demo", heavy=2)
def test_recipe_trains_three_steps_under_smoke(recipe, tmp_path):
  overlay = "smoke_pairs" if of_pairs(recipe) else "smoke_unpaired" if of_labels(recipe) else "smoke"
  flags = [f"--gin_file={recipe}", f"--gin_file=overlays/{overlay}.gin"]
  assert cli.main(["prepare", *flags]) == 0
  assert cli.main(["train", *flags, f"--run_dir={tmp_path}/run"]) == 0
  assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 3


def test_loraplus_gives_b_a_rate_of_its_own():
  gin_setup.parse("train", ["recipes/llama_tiny.gin", "peft/dora.gin", "overlays/loraplus.gin"], [])
  names = [f"blocks/attn/q/adapters/lora/{leaf}" for leaf in ("a", "b", "magnitude")]
  transform, _ = gin_setup.call(train.Train).optimizer.make(10, names)
  params = dict.fromkeys(names, jnp.ones(3))
  state = transform.init(params)
  for _ in range(3):  # the first steps of the warmup may be nothing
    updates, state = transform.update(params, state, params)
  a, b, magnitude = (float(updates[name][0]) for name in names)
  assert a < 0 and b / a == pytest.approx(16) and magnitude == pytest.approx(a)


@pytest.mark.parametrize("part", sorted(path.name for path in (ROOT / "optim").glob("*.gin")))
def test_every_optimizer_makes_a_step(part):
  gin_setup.parse("train", ["recipes/llama_tiny.gin", f"optim/{part}"], [])
  params = {"blocks/attn/q/kernel": jnp.ones((2, 4, 8)), "norm/scale": jnp.ones(4)}
  leaves = {"blocks/attn/q/kernel": contracts.Leaf(1, 1), "norm/scale": contracts.Leaf(0, 0)}
  transform, _ = gin_setup.call(train.Train).optimizer.make(10, params, leaves)
  updates, _ = transform.update(params, transform.init(params), params)
  assert all((np.asarray(u) < 0).any() for u in updates.values())
