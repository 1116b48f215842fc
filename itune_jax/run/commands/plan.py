"""`itune plan`: compiles a recipe's real programs for a TPU slice that is not there. Do they fit? How fast are they?

They are those of training and of the evaluators (`plan_programs.py`), made of shapes alone; the TPU compiler (libtpu)
runs on any machine. Memory is the compiler's own figure; time is a roofline (`dist/roofline.py`) over what the compiled
program does (`dist/hlo.py`).
"""

import json
import os
import time
from typing import Any

import jax
from jax.experimental import topologies

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.parallel.cost import chips
from itune_jax.parallel.cost import hlo
from itune_jax.parallel.cost import roofline
from itune_jax.run import gin_setup
from itune_jax.run.plan import gpu as gpu_lib
from itune_jax.run.plan import programs
from itune_jax.run.plan import remat
from itune_jax.run.plan import table
from itune_jax.run import runtime
from itune_jax.run.commands import train as train_lib


def plan(
  run: train_lib.Train, topology: str, program: str = "train", slices: int = 1, dry_run: bool = False
) -> dict[str, Any]:
  """Compiles one of a run's programs for `topology`; with dry_run it is traced only. Sizes are GiB a chip.

  Raises InputError when there is no such topology, no TPU compiler, or no known shape of the model.
  """
  gpu = gpu_lib.is_gpu(topology)
  chip, devices = _chips(topology, program, slices)
  model = programs.open_model(run, devices)
  step = programs.PROGRAMS[program](model)
  found = {
    "topology": topology,
    "slices": slices,
    "program": program,
    "chips": len(devices),
    "hbm_gib_per_chip": chip.hbm_gib,
  }
  found |= step.facts
  started = time.perf_counter()
  lowered = step.fn.lower(*step.given)
  if dry_run:
    return found
  log.info(f"compiling for {len(devices)} {chip.name} chips; a large model takes about a minute …")
  try:
    sizes, counts = gpu_lib.estimate(step, model, lowered) if gpu else _compiled(step, lowered)
  except jax.errors.JaxRuntimeError as e:
    if "RESOURCE_EXHAUSTED" not in str(e):
      raise
    # The compiler gives up on what is far too large, and says how large only in words.
    reason = str(e).splitlines()[0].removeprefix("RESOURCE_EXHAUSTED: ")
    found |= {"fits": False, "gib_per_chip": _rounded(step.parts), "reason": reason}
  else:
    found |= ({"estimate": True} if gpu else {}) | _figures(step, sizes, counts, chip)
  return found | {"compile_s": round(time.perf_counter() - started, 1)}


def _chips(topology: str, program: str, slices: int) -> tuple[chips.Chip, Any]:
  if not gpu_lib.is_gpu(topology):
    return _slice(topology, slices)
  check.require(
    (program, slices) == ("train", 1),
    f"--topology={topology}: for GPUs only the training step is estimated, and --slices is TPUs'",
  )
  return gpu_lib.devices_of(topology)


def _slice(topology: str, slices: int) -> tuple[chips.Chip, Any]:
  devices = devices_of(topology, slices)
  chip = chips.CHIPS.get(devices[0].device_kind)
  if chip is None:
    raise errors.InputError(f"--topology={topology}: {devices[0].device_kind} is not among {', '.join(chips.CHIPS)}")
  return chip, devices


def _compiled(step: programs.Step, lowered: Any) -> tuple[dict[str, float], hlo.Counts]:
  """GiB a chip by what takes them, as the TPU compiler says, and what the compiled program does there."""
  with runtime.uncached():
    compiled = lowered.compile()
  peak = compiled.memory_analysis().peak_memory_in_bytes / programs.GIB
  sizes = step.parts | {"activations_and_buffers": peak - sum(step.parts.values())}
  return sizes, hlo.Program(compiled.as_text(), step.unknown_turns).counts(roofline.kernel_flops)


def _figures(step: programs.Step, sizes: dict[str, float], counts: hlo.Counts, chip: chips.Chip) -> dict[str, Any]:
  line, peak = roofline.predict(counts, chip, step.mesh), sum(sizes.values())
  positions = step.facts["positions_per_step"] / step.mesh.size
  return {
    "peak_gib_per_chip": round(peak, 3),
    "gib_per_chip": _rounded({name: max(0.0, size) for name, size in sizes.items()}),
    "fits": bool(peak <= chip.hbm_gib),
    "flops_per_chip": counts.flops,
    "flops_over_6nd": round(counts.flops / (6.0 * step.facts["parameters"] * positions), 3),
    "bytes_per_chip": counts.hbm_bytes,
    "collective_bytes_per_chip": line.bytes_by_axes,
    "compute_s": _short(line.compute_s),
    "memory_s": _short(line.memory_s),
    "overlapped_collectives_s": _short(line.overlapped_s),
    "exposed_collectives_s": _short(line.exposed_s),
    "bound": line.bound,
    "step_s": _short(line.step_s),
    "mfu": round(step.useful * positions / chip.flops / line.step_s, 3),
    "hardware_utilisation": round(line.compute_s / line.step_s, 3),
    "positions_per_s": round(step.facts["positions_per_step"] / line.step_s),
  }


def _rounded(sizes: dict[str, float]) -> dict[str, float]:
  return {name: round(size, 3) for name, size in sizes.items()}


def _short(seconds: float) -> float:
  """Four digits that count."""
  return float(f"{seconds:.4g}")


def devices_of(topology: str, slices: int = 1) -> Any:
  """Descriptions of the devices of a slice, for the compiler alone. Raises InputError when it does not know it."""
  # The compiler asks the cloud which machine this is unless told not to.
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
  os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # compiling holds no chip: others may compile too
  os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
  os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-16")
  if not jax.config.jax_platforms:
    jax.config.update("jax_platforms", "cpu")  # nothing runs here, and looking for chips takes seconds
  try:
    return topologies.get_topology_desc(topology, "tpu", num_slices=slices).devices
  except Exception as e:  # whatever the plugin raises
    reason = str(e).splitlines()[0][:120]
    raise errors.InputError(
      f"--topology={topology}: the TPU compiler does not know it, or is not installed ({reason}); "
      "write it as v5e:4x4 (or h100:64), and install libtpu (pip install libtpu)"
    ) from None


def main(args) -> None:
  """Runs the command; the last line of stdout is one JSON object."""
  gin_setup.parse("train", args.gin_file, args.overrides)
  run = gin_setup.call(train_lib.Train)
  if args.choose_remat:
    check.require(
      args.program == "train" and not args.dry_run,
      "--choose_remat compiles the training step: leave out --program and --dry_run",
    )
    _chips(args.topology, args.program, args.slices)  # before the first line is printed, with which JAX starts
    found = remat.choose(run, lambda run: plan(run, args.topology, slices=args.slices))
  else:
    found = plan(run, args.topology, args.program, args.slices, args.dry_run)
  table.show(found, args.html)
  print(json.dumps(found))
