"""`itune plan`: compiles a recipe's real training step for a TPU slice that is not there. Does it fit? How long?

The step is that of `itune train`, made of shapes alone; the TPU compiler (libtpu) runs on any machine. Memory is the
compiler's own figure; time is a roofline (`dist/roofline.py`) over what the compiled program does (`dist/hlo.py`).
"""

import json
import math
import os
import time
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies
import jax.numpy as jnp

from itune_jax.core import batch as batch_lib
from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.core import numerics
from itune_jax.core import rng
from itune_jax.core import tree
from itune_jax.dist import chips
from itune_jax.dist import hlo
from itune_jax.dist import roofline
from itune_jax.dist import shard
from itune_jax.models import hf_config
from itune_jax.models import load as load_lib
from itune_jax.models import published
from itune_jax.models import view
from itune_jax.peft import base as peft_base
from itune_jax.run import gin_setup
from itune_jax.run import plan_view
from itune_jax.run import runtime
from itune_jax.run import specs
from itune_jax.run import train as train_lib
from itune_jax.train import state as state_lib
from itune_jax.train import step as step_lib

GIB = 2**30


class Step(NamedTuple):
  """A training step, and the shapes that it takes."""

  fn: Any
  given: tuple[Any, ...]
  facts: dict[str, float]
  mesh: Any
  parts: dict[str, float]  # GiB a chip of what is handed to the step
  loss_turns: int  # of the loop over the vocabulary's chunks, when every position is trained


def plan(run: train_lib.Train, topology: str, dry_run: bool = False) -> dict[str, Any]:
  """Compiles one optimizer step for `topology`; with dry_run it is traced only. Sizes are GiB a chip.

  Raises InputError when there is no such topology, no TPU compiler, or no known shape of the model.
  """
  devices = devices_of(topology)
  chip = chips.CHIPS.get(devices[0].device_kind)
  if chip is None:
    raise errors.InputError(f"--topology={topology}: {devices[0].device_kind} is not among {', '.join(chips.CHIPS)}")
  step = build(run, devices)
  found = {"topology": topology, "chips": len(devices), "hbm_gib_per_chip": chip.hbm_gib, **step.facts}
  started = time.perf_counter()
  lowered = step.fn.lower(*step.given)
  if dry_run:
    return found
  log.info(f"compiling for {len(devices)} {chip.name} chips; a large model takes about a minute …")
  compiled = lowered.compile()
  took, memory = time.perf_counter() - started, compiled.memory_analysis()
  peak = memory.peak_memory_in_bytes / GIB
  counts = hlo.Program(compiled.as_text(), step.loss_turns).counts(roofline.kernel_flops)
  line = roofline.predict(counts, chip, step.mesh)
  positions, trained = found["positions_per_step"] / len(devices), found["trainable_parameters"]
  six_nd = 6.0 * found["parameters"] * positions  # forward, and the gradients of inputs and of weights
  useful = six_nd - 2.0 * (found["parameters"] - trained) * positions  # frozen weights need no gradient
  sizes = step.parts | {"activations_and_buffers": max(0.0, peak - sum(step.parts.values()))}
  return found | {
    "peak_gib_per_chip": round(peak, 3),
    "gib_per_chip": {name: round(size, 3) for name, size in sizes.items()},
    "fits": bool(peak <= chip.hbm_gib),
    "flops_per_chip": counts.flops,
    "flops_over_6nd": round(counts.flops / six_nd, 3),
    "bytes_per_chip": counts.hbm_bytes,
    "collective_bytes_per_chip": line.bytes_by_axes,
    "compute_s": round(line.compute_s, 4),
    "memory_s": round(line.memory_s, 4),
    "overlapped_collectives_s": round(line.overlapped_s, 4),
    "exposed_collectives_s": round(line.exposed_s, 4),
    "bound": line.bound,
    "step_s": round(line.step_s, 4),
    "mfu": round(useful / chip.flops / line.step_s, 3),
    "hardware_utilisation": round(line.compute_s / line.step_s, 3),
    "positions_per_s": round(found["positions_per_step"] / line.step_s),
    "compile_s": round(took, 1),
  }


def build(run: train_lib.Train, devices: Any) -> Step:
  """The step of a run on devices that need not be there, and the shapes of its arguments with their shardings."""
  mesh, rules = run.mesh.make(devices), run.mesh.rules
  base = load_lib.abstract(
    shape_of(run.model),
    mesh=mesh,
    rules=rules,
    dtypes=runtime.dtypes_of(run.peft, run.precision),
    remat=run.remat,
    quantised=run.model.quant,
  )
  attached = peft_base.attach(
    base.module, base.params, tuple(run.peft), rng.root(0), mesh=mesh, rules=rules, dtype=run.precision.trained
  )
  binder = view.Binder.of(attached.module, mesh, rules, run.precision.compute)
  trainable = {n: attached.params[n] for n in sorted(attached.trainable)}
  frozen = {n: v for n, v in attached.params.items() if n not in trainable}
  transform, rate = run.optimizer.make(run.steps, trainable)
  state = state_lib.abstract(trainable, transform, mesh)
  where = {name: value.sharding for name, value in trainable.items()}
  fn = step_lib.make_step(binder, run.objective, transform, rate, where)
  facts = {
    "parameters": tree.size(attached.params),
    "trainable_parameters": tree.size(trainable),
    "positions_per_step": run.packing.rows * run.packing.row_length,
  }
  parts = {"trained": trainable, "optimizer": state.opt_state, "frozen": frozen}
  batch = _batch(run, mesh, rules)
  sizes = {name: _gib_a_chip(tree) for name, tree in parts.items()}
  return Step(fn, (state, frozen, batch), facts, mesh, sizes, _loss_turns(run, binder, batch))


def _gib_a_chip(shapes: Any) -> float:
  """What arrays of these shapes and shardings take on one device."""
  sizes = [math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(shapes)]
  return sum(sizes) / GIB


def _loss_turns(run, binder, batch) -> int:
  _, rows, length = batch.tokens_BT.shape
  shards = view.BoundModel(None, binder).context(batch).shards("loss_batch")
  return -(-length // numerics.span_of(rows, length, run.objective.chunk * shards))


def shape_of(model: specs.Model) -> Any:
  """The config of a model, without its weights."""
  if model.config is not None:
    return model.config
  if model.base in published.CONFIGS:
    return hf_config.config_from_hf(published.CONFIGS[model.base], model.base)
  return load_lib.open_source(specs.resolve(model.base)).config()


def _batch(run, mesh, rules) -> batch_lib.Batch:
  shape = (run.micro_batches, run.packing.rows // run.micro_batches, run.packing.row_length)
  sharding = shard.batch_sharding(shape, mesh, rules, stacked=True)
  make = lambda dtype: jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)
  ints = [make(jnp.int32) for _ in range(5)]
  return batch_lib.Batch(ints[0], ints[1], make(jnp.float32), *ints[2:])


def devices_of(topology: str) -> Any:
  """Descriptions of the devices of a slice, for the compiler alone. Raises InputError when it does not know it."""
  # The compiler asks the cloud which machine this is unless told not to.
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
  os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # compiling holds no chip: others may compile too
  os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
  os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-16")
  if not jax.config.jax_platforms:
    jax.config.update("jax_platforms", "cpu")  # nothing runs here, and looking for chips takes seconds
  try:
    return topologies.get_topology_desc(topology, "tpu").devices
  except Exception as e:  # whatever the plugin raises
    reason = str(e).splitlines()[0][:120]
    raise errors.InputError(
      f"--topology={topology}: the TPU compiler does not know it, or is not installed ({reason}); "
      "write it as v5e:4x4, and install libtpu (pip install libtpu)"
    ) from None


def main(args) -> None:
  """Runs the command; the last line of stdout is one JSON object."""
  gin_setup.parse("train", args.gin_file, args.overrides)
  found = plan(gin_setup.call(train_lib.Train), args.topology, args.dry_run)
  plan_view.show(found, args.html)
  print(json.dumps(found))
