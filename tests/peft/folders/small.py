"""A LoRA folder of a tiny model, written by hand, and what it means by peft's formula: no arrays on a device."""

import functools
import json
import math
import pathlib
import re

import numpy as np
import safetensors.numpy

from itune_jax.models import load
from itune_jax.models.hf import layout as layout_lib
from itune_jax.peft.folders import exchange
from tests import tiny

LAYOUT = layout_lib.Layout("llama")
PREFIX = "base_model.model."
MODULES = {  # two of the tiny model's, by our names
  "model.layers.0.self_attn.q_proj": ("blocks/0/attn/q", 16, 16),
  "model.layers.1.self_attn.q_proj": ("blocks/1/attn/q", 16, 16),
  "model.layers.0.self_attn.v_proj": ("blocks/0/attn/v", 16, 8),
  "model.layers.1.self_attn.v_proj": ("blocks/1/attn/v", 16, 8),
}
CONFIG = {
  "peft_type": "LORA",
  "task_type": "CAUSAL_LM",
  "base_model_name_or_path": "somewhere",
  "r": 2,
  "lora_alpha": 6,
  "rank_pattern": {"layers.1.self_attn.v_proj": 3},
  "alpha_pattern": {r"layers\.0\..*q_proj": 5},
  "target_modules": ["q_proj", "v_proj"],
  "use_rslora": False,
  "lora_dropout": 0.0,
  "init_lora_weights": True,
}


@functools.cache
def model():
  """The tiny model's shapes; its tables are tied."""
  return load.skeleton(tiny.CONFIG)


def tensors() -> dict[str, np.ndarray]:
  """A and B of all modules."""
  rs, found = np.random.RandomState(0), {}
  for module, (_, fan_in, fan_out) in MODULES.items():
    rank = 3 if module == "model.layers.1.self_attn.v_proj" else 2
    found[f"{PREFIX}{module}.lora_A.weight"] = rs.randn(rank, fan_in).astype(np.float32)
    found[f"{PREFIX}{module}.lora_B.weight"] = rs.randn(fan_out, rank).astype(np.float32)
  return found


def write(folder: pathlib.Path, config=None, arrays=None) -> str:
  """Writes the folder."""
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "adapter_config.json").write_text(json.dumps(CONFIG if config is None else config))
  safetensors.numpy.save_file(tensors() if arrays is None else arrays, folder / "adapter_model.safetensors")
  return str(folder)


def read(folder) -> dict[str, np.ndarray]:
  """What it does to the weights [out, in] here, by our name of the site."""
  (method, *others), values = exchange.load(str(folder), model(), LAYOUT)
  assert not others and not values.opened and not values.untied
  changes = {}
  for name, leaves in values.leaves["Lora"].items():
    a, b = leaves["a"].reshape(-1, leaves["a"].shape[-1]), leaves["b"].reshape(len(leaves["b"]), -1)
    with np.errstate(all="ignore"):
      changes[name] = (method.init, leaves["scale"] * (a @ b).T)
  return changes


def meant(config, arrays) -> dict[str, np.ndarray]:
  """The same by peft's formula; KeyError and the like where it cannot be said."""
  modules = sorted({key.removeprefix(PREFIX).rsplit(".lora_", 1)[0] for key in arrays})
  assert all(MODULES[module] for module in modules)
  changes = {}
  for module in modules:
    of = lambda patterns, default, module=module: next(
      (value for key, value in (patterns or {}).items() if re.match(rf"(.*\.)?({key})$", module)), default
    )
    rank, alpha = of(config.get("rank_pattern"), config["r"]), of(config.get("alpha_pattern"), config["lora_alpha"])
    a, b = (arrays[f"{PREFIX}{module}.lora_{x}.weight"].astype(np.float32) for x in "AB")
    assert a.shape == (rank, MODULES[module][1]) and b.shape == (MODULES[module][2], rank)
    s = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    init = config.get("init_lora_weights", True)
    with np.errstate(all="ignore"):  # a bit that was turned may make a value huge
      changes[MODULES[module][0]] = (init if init in ("pissa", "olora") else "uniform", s * (b @ a))
  return changes


def same(one, other) -> None:
  """Asserts that two readings are one."""
  assert one.keys() == other.keys()
  for name, (init, change) in one.items():
    assert init == other[name][0], name
    np.testing.assert_allclose(change, other[name][1], rtol=1e-5, atol=1e-6, err_msg=name)
