"""What the jobs of `bench.py` share: rows of the file, a compiled step, systems timed in turn."""

import argparse
from collections.abc import Callable, Mapping
import dataclasses
import itertools
import json
import resource
import subprocess
import sys
import time
from typing import Any

import jax
import numpy as np

from itune_jax.core import numerics
from itune_jax.core import pack
from itune_jax.data.render import chat
from itune_jax.data import example as example_lib
from itune_jax.data.readers import readers
from itune_jax.parallel.cost import chips
from itune_jax.parallel import mesh as mesh_lib
from itune_jax.nn import stack
from itune_jax.objectives import sft as sft_lib
from itune_jax.optim import adamw
from itune_jax.optim import schedule
from itune_jax.run import listeners
from itune_jax.run import session as session_lib
from itune_jax.run import specs
from itune_jax.train import state as state_lib
from itune_jax.train import step as step_lib

MAX_LENGTH, POSITIONS, WARMUP = 512, 2048, 2


def peak_rss_gib(children: bool = True) -> float:
  """Peak resident memory of this process, and of its children. A child that was forked from this process counts pages
  of this one as its own: where programs are run in a sandbox, the sum would be twice what there is."""
  whose = (resource.RUSAGE_SELF, *((resource.RUSAGE_CHILDREN,) if children else ()))
  return round(sum(resource.getrusage(who).ru_maxrss for who in whose) / 2**20, 2)


def live_bytes() -> int:
  """Bytes of all arrays on the devices of this process."""
  return sum(x.nbytes for x in jax.live_arrays())


def on_accelerator(session: session_lib.Session, positions_per_s: float) -> dict[str, Any]:
  """Device, its peak memory, and the operations that positions need over its bfloat16 peak. Nothing on CPU."""
  devices = list(session.mesh.devices.flat)
  if devices[0].platform == "cpu":
    return {}
  rate, peak = positions_per_s * listeners.operations(session), chips.peak_flops(devices)
  found = {"device": devices[0].device_kind, "device_peak_gib": round(chips.memory_gib(devices), 2)}
  return {**found, "tflops_per_s": round(rate / 1e12, 1), "mfu": round(rate / peak, 4) if peak else None}


def rendered(path: str, renderer: chat.Renderer):
  """(ids, weights) of every row that renders, cut behind the last trained token."""
  for row in readers.read(path):
    if row.example is None:
      continue
    try:
      for one in renderer.render(row.example):
        last = int(np.flatnonzero(one.weights)[-1])
        yield one.ids[: last + 1], one.weights[: last + 1]
    except example_lib.BadRow:
      continue


def in_order(rows, steps: int):
  """The first examples, in order, that best-fit decreasing packs into so many rows; a short file repeats."""
  taken, total = [], 0
  for row in itertools.cycle(rows):
    if total + len(row[0]) - 1 > steps * POSITIONS:
      break
    taken.append(row)
    total += len(row[0]) - 1
  while True:
    packed = pack.best_fit_decreasing([len(ids) - 1 for ids, _ in taken], POSITIONS)
    if len(packed) <= steps:
      return [[taken[i] for i in members] for members in packed]
    taken.pop()


@dataclasses.dataclass
class Ready:
  """A step of one method with its session and state."""

  session: session_lib.Session
  step: Callable
  state: state_lib.State

  @property
  def trained(self) -> int:
    """How many parameters train."""
    return sum(v.size for v in self.state.trainable.values())

  def __call__(self, batch: Any) -> float:
    """One step; its loss."""
    self.state, metrics = self.step(self.state, self.session.frozen, batch)
    return float(metrics["loss"])


def precision(args: argparse.Namespace) -> numerics.Precision:
  """The base and what computes in --dtype; what trains in float32."""
  return numerics.Precision(frozen=args.dtype, compute=args.dtype)


def ready(
  args: argparse.Namespace, method: Any, steps: int, config: Any = None, mesh: mesh_lib.MeshSpec = mesh_lib.MeshSpec()
) -> Ready:
  """AdamW at 1e-4 on an adapter, as in all jobs that train."""
  model, remat = specs.Model(base=args.model, config=config), stack.Remat(policy=args.remat)
  session = session_lib.open_session(model, (method,), remat=remat, precision=precision(args), mesh=mesh)
  optimizer, rate = adamw.AdamW(schedule=schedule.Schedule(rate=1e-4, kind="constant", warmup=0.0)).make(
    steps, session.attached.trainable
  )
  state = state_lib.create(session.trainable, optimizer, 0, session.mesh)
  where = {n: v.sharding for n, v in state.trainable.items()}
  return Ready(session, step_lib.make_step(session.binder, sft_lib.Sft(), optimizer, rate, where), state)


def packed(args: argparse.Namespace, session: session_lib.Session, steps: int) -> list[Any]:
  """Each step's rows of the job `sft`, each row's members."""
  renderer = chat.Renderer(session.tokenizer, chat.Rendering(max_length=MAX_LENGTH))
  rows = in_order(list(rendered(args.data, renderer)), steps * args.batch)
  return [rows[at : at + args.batch] for at in range(0, steps * args.batch, args.batch)]


def batch_of(rows: Any, positions: int = POSITIONS) -> Any:
  """Packed rows as the only micro-batch."""
  return jax.tree.map(lambda x: x[None], pack.fill(rows, positions))


def in_turn(
  systems: Mapping[str, Callable[[], Any]], turns: int, settled: bool = False
) -> tuple[dict[str, Any], dict[str, list[float]]]:
  """What each system gave at last, and the seconds of all its runs, the first of which compiles; one after the other in
  every turn. settled: each runs twice in a turn and the second counts, as a step of training follows one of its own:
  what runs behind another system pays for memory that the other did not need."""
  found, seconds = {}, {name: [] for name in systems}
  for turn in range(1 + turns):
    for name, run in systems.items():
      if settled:
        run()
      start = time.perf_counter()
      found[name] = run()
      seconds[name].append(time.perf_counter() - start)
    print(f"turn {turn}: " + ", ".join(f"{n} {times[-1]:.2f} s" for n, times in seconds.items()), file=sys.stderr)
  return found, seconds


def spread(values: list[float]) -> dict[str, float]:
  """Smallest, median, largest."""
  return {"min": round(min(values), 3), "median": round(float(np.median(values)), 3), "max": round(max(values), 3)}


def itune(*argv: str, whole: bool = False) -> dict[str, Any]:
  """A command in a process of its own: its last line of JSON, or all that it says."""
  command = [sys.executable, "-m", "itune_jax.run.cli", *argv]
  done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
  return json.loads(done.stdout if whole else done.stdout.strip().splitlines()[-1])


def compared(runs: Mapping[str, str], page: str) -> dict[str, dict[str, Any]]:
  """What `itune compare` says of the second of two evaluations beside the first, by metric."""
  given = [f"{name}={folder}" for name, folder in runs.items()]
  rows = itune("compare", *given, f"--out={page}", "--format=json", whole=True)["rows"]
  return {row["metric"]: row for row in rows if not row.get("tag")}
