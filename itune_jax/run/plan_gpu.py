"""`itune plan --topology=h100:64`: an estimate, since the compiler of GPUs is not here.

The training step is partitioned for as many fake devices, and what travels between them is counted in the result; CPUs
carry bfloat16 as float32, so bytes count by the compute dtype. Memory and arithmetic are formulas.
"""

import contextlib
import re
from typing import Any

import jax

from itune_jax.core import errors
from itune_jax.core import tree
from itune_jax.dist import chips
from itune_jax.dist import hlo
from itune_jax.run import plan_programs


def is_gpu(topology: str) -> bool:
  """Whether a topology is written as h100:64."""
  return re.fullmatch(rf"({'|'.join(chips.GPUS)}):\d+", topology) is not None


def devices_of(topology: str) -> tuple[chips.Chip, list[Any]]:
  """The GPU's figures and as many fake devices. Raises InputError when this process runs on fewer already."""
  name, count = topology.split(":")
  with contextlib.suppress(RuntimeError):  # JAX runs already: on enough devices, or not
    jax.config.update("jax_num_cpu_devices", int(count))
  devices = jax.devices("cpu")
  if len(devices) < int(count):
    raise errors.InputError(
      f"--topology={topology}: JAX runs on {len(devices)} fake devices here; plan in a new process"
    )
  return chips.GPUS[name], devices[: int(count)]


def estimate(step: plan_programs.Step, model: plan_programs.Model, lowered: Any) -> tuple[dict[str, float], hlo.Counts]:
  """GiB a device by what takes them, and what a training step does there."""
  compiled = lowered.compile(compiler_options={"xla_backend_optimization_level": "0"})
  found = hlo.Program(compiled.as_text(), step.unknown_turns).counts(lambda *_: 0.0).collectives
  narrow = jax.numpy.dtype(model.run.precision.compute).itemsize / 4
  # XLA hides collectives behind arithmetic on GPUs.
  travels = tuple(one._replace(nbytes=one.nbytes * narrow, overlapped=True) for one in found)
  sizes = step.parts | activations(model)
  flops = step.facts["positions_per_step"] / step.mesh.size * arithmetic(model, step.useful)
  return sizes, hlo.Counts(flops, traffic(model, sizes), travels)


def arithmetic(model: plan_programs.Model, useful: float) -> float:
  """Operations of one position of a training step: those that count, the layers' second forward pass, and attention.

  The second pass makes all but what the last projection of a layer gives, which nothing needs. An embedding that is not
  also the head is looked up, and multiplied by nothing. Attention is causal: half of the products.
  """
  run, cfg = model.run, model.cfg
  again = run.remat.policy == "full"
  size = lambda *parts: tree.size({n: v for n, v in model.params.items() if all(part in n for part in parts)})
  repeated = 2.0 * (size("blocks/") - size("blocks/", "/down/")) if again else 0.0
  looked_up = 0.0 if cfg.tied else useful * size("embed/") / tree.size(model.params)
  attention = 2.0 * 2.0 * cfg.depth * cfg.heads * cfg.head_dim * run.packing.row_length / 2
  return useful - looked_up + repeated + attention * (3 + again)


def activations(model: plan_programs.Model) -> dict[str, float]:
  """GiB a device of gradients, of what the backward pass finds saved, and of one layer at work.

  The factor 1.5 fits what the TPU compiler takes for the recipes of docs/pods.md.
  """
  run, cfg, mesh = model.run, model.cfg, model.mesh
  size = jax.numpy.dtype(run.precision.compute).itemsize
  shards = model.shards("batch") * model.shards("length")
  positions = run.packing.rows // run.micro_batches * run.packing.row_length / shards
  wide = (2 * cfg.heads + 2 * cfg.kv_heads) * cfg.head_dim + 2 * cfg.mlp
  taps = wide / mesh.shape["tensor"] + 2 * cfg.width
  saved = {"full": cfg.width, "taps": taps + cfg.width, "none": 2 * taps}[run.remat.policy]
  layer = tree.size({n: v for n, v in model.params.items() if n.startswith("blocks/")}) / cfg.depth
  chunk = (
    plan_programs.chunk_of(model) * cfg.vocab / model.shards("act_vocab") * 10
  )  # logits, their float32, their gradient
  return {
    "gradients": plan_programs.gib_a_chip(model.trainable),
    "saved_activations": cfg.depth * positions * saved * size / plan_programs.GIB,
    "one_layer_at_work": (1.5 * positions * taps * size + layer / mesh.shape["tensor"] * size + chunk)
    / plan_programs.GIB,
  }


def traffic(model: plan_programs.Model, sizes: dict[str, float]) -> float:
  """Bytes of memory that a step reads and writes at least: weights for each pass, state once, activations twice."""
  run = model.run
  size = jax.numpy.dtype(run.precision.compute).itemsize
  passes = 3 + (run.remat.policy == "full")
  weights = passes * run.micro_batches * tree.size(model.params) / model.mesh.shape["tensor"] * size
  kept = 2 * (sizes["trained"] + sizes["optimizer"] + sizes["gradients"])
  return weights + (kept + 2 * run.micro_batches * sizes["saved_activations"]) * plan_programs.GIB
