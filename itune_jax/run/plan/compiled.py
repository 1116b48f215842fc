"""One of a run's programs compiled for devices that are not there: does it fit, how long does it take?

Memory is the TPU compiler's own figure; time is a roofline (`parallel/cost/roofline.py`) over what the compiled program
does (`parallel/cost/hlo.py`). For GPUs, whose compiler is not here, both are estimates (`gpu.py`).
"""

import time
from typing import Any

import jax

from itune_jax.core import log
from itune_jax.parallel.cost import chips
from itune_jax.parallel.cost import hlo
from itune_jax.parallel.cost import roofline
from itune_jax.run import process
from itune_jax.run.commands import train as train_lib
from itune_jax.run.plan import gpu as gpu_lib
from itune_jax.run.plan import programs
from itune_jax.run.plan import shapes
from itune_jax.run.plan import topology as topology_lib


def plan(
  run: train_lib.Train, topology: str, program: str = "train", slices: int = 1, dry_run: bool = False
) -> dict[str, Any]:
  """Compiles one of a run's programs for `topology`; with dry_run it is traced only. Sizes are GiB a chip.

  Raises InputError when there is no such topology, no TPU compiler, or no known shape of the model.
  """
  gpu = topology_lib.is_gpu(topology)
  chip, devices = topology_lib.chips_of(topology, program, slices)
  model = shapes.open_model(run, devices)
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


def _compiled(step: programs.Step, lowered: Any) -> tuple[dict[str, float], hlo.Counts]:
  """GiB a chip by what takes them, as the TPU compiler says, and what the compiled program does there."""
  with process.uncached():
    compiled = lowered.compile()
  peak = compiled.memory_analysis().peak_memory_in_bytes / shapes.GIB
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
