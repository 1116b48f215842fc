"""`itune plan`: compiles a recipe's real training step for a TPU slice that is not there, and says whether it fits.

The step is that of `itune train`, made of shapes alone; the TPU compiler (libtpu) runs on any machine. What is printed
is memory. Step time is not predicted yet.
"""

import json
import os
import time
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies
import jax.numpy as jnp
import rich.console
import rich.table

from itune_jax.core import batch as batch_lib
from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.core import rng
from itune_jax.core import tree
from itune_jax.dist import chips
from itune_jax.dist import shard
from itune_jax.models import hf_config
from itune_jax.models import load as load_lib
from itune_jax.models import published
from itune_jax.models import view
from itune_jax.peft import base as peft_base
from itune_jax.run import gin_setup
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


def plan(run: train_lib.Train, topology: str, dry_run: bool = False) -> dict[str, Any]:
  """Compiles one optimizer step for `topology`; with dry_run it is traced only. Sizes are GiB a chip.

  Raises InputError when there is no such topology, no TPU compiler, or no known shape of the model.
  """
  devices = _devices(topology)
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
  memory = lowered.compile().memory_analysis()
  peak = memory.peak_memory_in_bytes / GIB
  return found | {
    "peak_gib_per_chip": round(peak, 3),
    "arguments_gib_per_chip": round(memory.argument_size_in_bytes / GIB, 3),
    "fits": bool(peak <= chip.hbm_gib),
    "compile_s": round(time.perf_counter() - started, 1),
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
  return Step(fn, (state, frozen, _batch(run, mesh, rules)), facts)


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


def _devices(topology: str) -> Any:
  # The compiler asks the cloud which machine this is unless told not to.
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
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
  table = rich.table.Table("", "", title=f"plan for {args.topology}", show_header=False)
  for name, value in found.items():
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    table.add_row(name.replace("_", " "), f"{value:,}" if number else {True: "yes", False: "no"}.get(value, str(value)))
  rich.console.Console(stderr=True).print(table)
  if not found.get("fits", True):
    log.info("It does not fit: more chips, fewer rows a micro-batch, remat/full.gin, a smaller Sft.chunk, or LoRA.")
  print(json.dumps(found))
