"""How every recipe lays its parameters on a mesh: a golden, so that no change of rules goes unseen.

`python -m tests.run.plan.test_shardings` writes it anew.
"""

import json
import pathlib

import pytest

from itune_jax.run import gin_setup
from itune_jax.run import recipes
from itune_jax.run.commands import train
from itune_jax.run.plan import shapes
from itune_jax.run.plan import topology as topology_lib
from tests import test_gin
from tests.run.commands import test_plan

GOLDEN = pathlib.Path(__file__).parent.parent.parent / "golden" / "shardings.json"


def shardings(recipe: pathlib.Path) -> dict[str, str]:
  """The spec of every parameter on the recipe's devices, else on eight; nothing is compiled and no weight is made."""
  text = recipe.read_text()
  topology = next((t for mesh, t in test_plan.PODS.items() if f"mesh/{mesh}.gin" in text), "v5e:2x4")
  devices = topology_lib.devices_of(topology)[: 1 if "mesh/cpu1" in text else None]
  values = {"DATA": "any.jsonl", "BASE": "smollm2-135m-instruct"}
  needs = recipes.needs(f"recipes/{recipe.name}")
  gin_setup.parse("train", [str(recipe)], [f"{name} = {values[name]!r}" for name in needs if name in values])
  model = shapes.open_model(gin_setup.call(train.Train), devices)
  return {name: str(tuple(value.sharding.spec)) for name, value in sorted(model.params.items())}


@pytest.mark.parametrize("recipe", test_gin.RECIPES, ids=lambda p: p.stem)
@pytest.mark.by_default(1)
def test_parameters_lie_as_they_did(recipe):
  pytest.importorskip("libtpu", reason="the TPU compiler is not installed: pip install libtpu")
  assert shardings(recipe) == json.loads(GOLDEN.read_text())[recipe.stem]


if __name__ == "__main__":
  GOLDEN.write_text(json.dumps({r.stem: shardings(r) for r in test_gin.RECIPES}, indent=1) + "\n")
