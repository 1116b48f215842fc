"""A model of shapes alone has the shapes, dtypes and shardings of the real one, with its adapters and its optimizer."""

import jax
import pytest

from itune_jax.core import axes
from itune_jax.core import rng
from itune_jax.models.hf import config
from itune_jax.models import load
from itune_jax.models import published
from itune_jax.nn import skeleton
from itune_jax.optim import adamw
from itune_jax.peft import attach
from itune_jax.peft.methods import full
from itune_jax.peft.methods import lora
from itune_jax.train import state as state_lib
from tests import tiny

# The vocabulary of the logits over fsdp, parameters over both axes of the batch: a table for pod slices.
SLICE = axes.DEFAULT_RULES | {"embed": ("data", "fsdp"), "vocab_out": ("fsdp",), "loss_batch": ("data",)}


@pytest.mark.parametrize("method", [lora.Lora(rank=2), full.Full()], ids=lambda m: m.name)
@pytest.mark.parametrize("rules", [axes.DEFAULT_RULES, SLICE], ids=["default", "slice"])
def test_shapes_alone_are_those_of_the_model(method, rules):
  mesh = tiny.mesh(8, data=2, fsdp=4)
  cfg = tiny.CONFIG
  found = []
  for make in (load.abstract, lambda *a, **k: load.initialise(*a, seed=0, **k)):
    base = make(cfg, mesh=mesh, rules=rules)
    attached = attach.attach(base.module, base.params, (method,), rng.root(0), mesh=mesh, rules=rules)
    trainable = {n: attached.params[n] for n in sorted(attached.trainable)}
    optimizer, _ = adamw.AdamW().make(10, trainable)
    if make is load.abstract:
      state = state_lib.abstract(trainable, optimizer, mesh)
    else:
      state = state_lib.create(trainable, optimizer, 0, mesh)
    say = lambda x: (x.shape, x.dtype, x.sharding.spec)
    found.append((jax.tree.map(say, attached.params), jax.tree.map(say, state)))
  assert found[0] == found[1]


@pytest.mark.parametrize("name,billions", [("8B", 8.03), ("70B", 70.55)])
def test_published_shapes_have_as_many_parameters_as_published(name, billions):
  cfg = config.config_from_hf(published.CONFIGS[f"meta-llama/Llama-3.1-{name}"], name)
  _, shapes = skeleton.disassemble(load.skeleton(cfg))
  assert abs(sum(x.size for x in shapes.values()) / 1e9 - billions) < 0.01
