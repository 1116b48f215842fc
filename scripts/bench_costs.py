"""Jobs of `bench.py` that say what a step costs and why, and any programs beside each other."""

import argparse
import dataclasses
import importlib
import json
import math
import shlex
import subprocess
import sys
import time
from typing import Any

import bench_lib
import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.core import pack
from itune_jax.data.render import chat
from itune_jax.data import feed as feed_lib
from itune_jax.data import mixture as mixture_lib
from itune_jax.parallel import mesh as mesh_lib
from itune_jax.models import load as load_lib
from itune_jax.nn.attention import kernels
from itune_jax.nn.attention import mask
from itune_jax.nn import site
from itune_jax.nn import skeleton
from itune_jax.peft.methods import lora
from itune_jax.run import rendering as rendering_lib
from itune_jax.run import session as session_lib
from itune_jax.run import specs

LORA = lora.Lora(rank=16, alpha=32.0)


def matmuls(args: argparse.Namespace) -> dict[str, Any]:
  """A step, and its own matmuls alone, in turn: those of the projections and their adapters, forward, for inputs and
  for factors, and of the head at trained positions. Attention's products and what is made again are not among them."""
  one = bench_lib.ready(args, LORA, args.steps)
  batch = bench_lib.batch_of(bench_lib.packed(args, one.session, 1)[0])
  alone, given = _alone(args, one.session, int((batch.weights_BT != 0).sum()))
  systems = {"step": lambda: one(batch), "matmuls": lambda: alone(*given).block_until_ready()}
  _, seconds = bench_lib.in_turn(systems, args.steps, settled=True)
  pairs = zip(seconds["step"][1:], seconds["matmuls"][1:], strict=True)
  return {
    "step_s": bench_lib.spread(seconds["step"][1:]),
    "matmuls_s": bench_lib.spread(seconds["matmuls"][1:]),
    "matmuls_over_step": bench_lib.spread([alone / step for step, alone in pairs]),
  }


def _alone(args: argparse.Namespace, session: session_lib.Session, trained: int):
  """A program of a step's matmuls, a scan over layers as in the step, and what it is given."""
  T, key = args.batch * bench_lib.POSITIONS, jax.random.key(0)
  arrays, rows, layers = session.attached.params, {}, {}
  for path, node in skeleton.sites(session.attached.module).items():
    if isinstance(node, site.Proj) and path.startswith("blocks/"):
      ins, outs = (int(np.prod(part)) for part in (node.core_shape[: node.num_in], node.core_shape[node.num_in :]))
      flat = lambda name, *shape, path=path: arrays[f"{path}/{name}"].reshape(-1, *shape).astype(args.dtype)
      R = arrays[f"{path}/adapters/lora/a"].shape[-1]
      layers[path] = flat("kernel", ins, outs), flat("adapters/lora/a", ins, R), flat("adapters/lora/b", R, outs)
      rows[path] = jax.random.normal(key, (T, ins), args.dtype), jax.random.normal(key, (T, outs), args.dtype)
  table = arrays["embed/table"].astype(args.dtype)
  hidden = jax.random.normal(key, (-(-trained // 256), 256, table.shape[1]), args.dtype)

  return jax.jit(_products), (layers, rows, hidden, table)


def _products(layers, rows, hidden, table):
  def touched(*made):
    """Something of every product, behind a barrier, so that each is made whole."""
    return sum(x[0, 0] for x in jax.lax.optimization_barrier(made))

  def layer(total, weights):
    for path, (w, a, b) in weights.items():
      x, d_y = rows[path]
      u, d_u = x @ a, d_y @ b.T
      total += touched(x @ w, u @ b, d_y @ w.T, d_u @ a.T, (d_y.T @ u).T, (d_u.T @ x).T)
    return total, None

  def head(total, chunk):
    logits = chunk @ table.T
    return total + touched(logits, logits @ table), None

  total, _ = jax.lax.scan(layer, jnp.float32(0), layers)
  return jax.lax.scan(head, total, hidden)[0]


def scaling(args: argparse.Namespace) -> dict[str, Any]:
  """Steps of more and more positions in turn, at one length of segments, and what the compiler sets aside for them."""
  cfg = dataclasses.replace(_shape(args, args.layers), max_length=max(args.positions))
  one = bench_lib.ready(args, LORA, args.turns, cfg)
  batches = {n: _even(cfg.vocab, n, args.segment) for n in args.positions}
  systems = {str(n): lambda batch=batch: one(batch) for n, batch in batches.items()}
  _, seconds = bench_lib.in_turn(systems, args.turns, settled=True)
  least = min(args.positions)
  each = {n: [t / n for t in seconds[str(n)][1:]] for n in args.positions}
  over = lambda n: [a / b for a, b in zip(each[n], each[least], strict=True)]
  gib = lambda one, batch: round(_temporary(one, batch) / 2**30, 3)
  wide = dataclasses.replace(cfg, vocab=4 * cfg.vocab)
  other = bench_lib.ready(args, LORA, args.turns, wide)
  return {
    "layers": args.layers,
    "segment": args.segment,
    "ms_per_position": {n: round(1e3 * float(np.median(each[n])), 4) for n in args.positions},
    f"over_{least}": {n: bench_lib.spread(over(n)) for n in args.positions},
    "activations_gib": {n: gib(one, batch) for n, batch in batches.items()},
    "activations_gib_by_segments": {n // s: gib(one, _even(cfg.vocab, n, s)) for n in [least] for s in (least, 64)},
    "activations_gib_by_vocabulary": {c.vocab: gib(o, batches[least]) for c, o in ((cfg, one), (wide, other))},
  }


class _First(mesh_lib.MeshSpec):
  """A mesh over the first of the devices."""

  def make(self, devices=None):
    return super().make((devices or jax.devices())[: math.prod(self.sizes().values())])


def devices(args: argparse.Namespace) -> dict[str, Any]:
  """A step of the same rows on more and more devices in turn. On CPU devices, which share its cores, what is above 1 is
  the price of cutting the step up; loss_off is how far losses are from those of the first count."""
  jax.config.update("jax_num_cpu_devices", max(args.counts))
  cfg = _shape(args, args.layers)
  rows = _even(cfg.vocab, args.positions, args.segment, max(args.counts))
  one = {}
  for n in args.counts:
    one[n] = bench_lib.ready(args, LORA, args.turns, cfg, _First(**{"fsdp": 1, args.axis: n}))
  losses: dict[int, list[float]] = {n: [] for n in args.counts}
  systems = {str(n): lambda n=n: losses[n].append(one[n](rows)) for n in args.counts}
  _, seconds = bench_lib.in_turn(systems, args.turns)
  first = str(args.counts[0])
  over = lambda n: [a / b for a, b in zip(seconds[str(n)][1:], seconds[first][1:], strict=True)]
  return {
    "axis": args.axis,
    "layers": args.layers,
    "step_s": {n: bench_lib.spread(seconds[str(n)][1:]) for n in args.counts},
    f"over_{first}": {n: bench_lib.spread(over(n)) for n in args.counts},
    "loss_off": {n: float(np.abs(np.subtract(losses[n], losses[args.counts[0]])).max()) for n in args.counts},
  }


def attention(args: argparse.Namespace) -> dict[str, Any]:
  """Attention of one layer, alone: the kernel of this machine beside the loop in XLA, in turn, with and without the
  backward pass, over a row of equal segments."""
  cfg, T = _shape(args, 1), bench_lib.POSITIONS
  draw = lambda n, heads: jax.random.normal(jax.random.key(n), (1, T, heads, cfg.head_dim))
  q, k, v, d_out = draw(0, cfg.heads), draw(1, cfg.kv_heads), draw(2, cfg.kv_heads), draw(3, cfg.heads)
  segments = jnp.arange(T, dtype=jnp.int32)[None] * args.segments // T + 1
  made = {}
  for name, platform in (("kernel", jax.default_backend()), ("loop", "")):
    attend = lambda *x, platform=platform: kernels.on_device((0.125, 0.0), platform, *x, mask.Rows(segments), None)[0]
    both = lambda *x, attend=attend: jax.value_and_grad(lambda *x: jnp.vdot(attend(*x), d_out), (0, 1, 2))(*x)
    made |= {f"{name}_forward": jax.jit(attend), f"{name}_both": jax.jit(both)}
  systems = {name: lambda run=run: jax.block_until_ready(run(q, k, v)) for name, run in made.items()}
  found, seconds = bench_lib.in_turn(systems, args.turns, settled=True)
  pairs = zip(*(jax.tree.leaves(found[f"{name}_both"][1]) for name in ("kernel", "loop")), strict=True)
  return {
    "segments": args.segments,
    "ms": {name: bench_lib.spread([1e3 * s for s in seconds[name][1:]]) for name in systems},
    "largest_difference": max(float(jnp.abs(a - b).max()) for a, b in pairs),
  }


def groups(args: argparse.Namespace) -> dict[str, Any]:
  """A step on completions of one prompt that stands once, and on the same with the prompt in front of each, in turn:
  positions, seconds, and what the compiler sets aside for a step (its temporary bytes)."""
  one = bench_lib.ready(args, LORA, args.turns)
  rs, vocab = np.random.default_rng(0), one.session.base.cfg.vocab
  draw = lambda n: rs.integers(0, vocab, n).astype(np.int32)
  weights = (np.arange(args.prompt + args.answer) >= args.prompt).astype(np.float32)
  prompt = draw(args.prompt)
  items = [pack.Item(np.concatenate([prompt, draw(args.answer)]), weights) for _ in range(args.completions)]
  both = {"once": pack.grouped(items), "repeated": pack.grouped(items).repeated()}
  batches = {name: bench_lib.batch_of([[group]], -(-group.positions // 64) * 64) for name, group in both.items()}
  memory = {name: _temporary(one, batch) / 2**30 for name, batch in batches.items()}
  systems = {name: lambda batch=batch: one(batch) for name, batch in batches.items()}
  _, seconds = bench_lib.in_turn(systems, args.turns, settled=True)
  pairs = zip(seconds["once"][1:], seconds["repeated"][1:], strict=True)
  return {
    "positions": {name: group.positions for name, group in both.items()},
    "step_s": {name: bench_lib.spread(times[1:]) for name, times in seconds.items()},
    "activations_gib": {name: round(gib, 3) for name, gib in memory.items()},
    "once_over_repeated": {
      "positions": round(both["once"].positions / both["repeated"].positions, 3),
      "step_s": bench_lib.spread([a / b for a, b in pairs]),
      "activations_gib": round(memory["once"] / memory["repeated"], 3),
    },
  }


def compiling(args: argparse.Namespace) -> dict[str, Any]:
  """Seconds to trace, lower and compile a step of a model of this many layers, anew: layers run in a scan, so depth
  costs nothing."""
  found: dict[int, dict[str, float]] = {}
  for layers in args.layers:
    cfg = _shape(args, layers)
    one = bench_lib.ready(args, LORA, 1, cfg)
    given = one.state, one.session.frozen, _even(cfg.vocab, bench_lib.POSITIONS, 256)
    ends = [time.perf_counter()]
    made: Any = one.step
    for stage in (lambda step: step.trace(*given), lambda traced: traced.lower(), lambda lowered: lowered.compile()):
      made = stage(made)
      ends.append(time.perf_counter())
    trace, lower, compile_ = np.diff(ends).round(2).tolist()
    found[layers] = {"trace_s": trace, "lower_s": lower, "compile_s": compile_}
    print(f"{layers} layers: {found[layers]}", file=sys.stderr)
  return {"method": "lora", "remat": args.remat, "layers": found}


def _shape(args: argparse.Namespace, layers: int) -> Any:
  """The model's configuration with so many layers."""
  base = load_lib.open_source(specs.resolve(args.model)).config()
  return dataclasses.replace(base, depth=layers)


def _even(vocab: int, positions: int, segment: int, rows: int = 1):
  """Rows of equal segments, trained on their second half."""
  ids = np.random.default_rng(0).integers(0, vocab, (rows, positions // segment, segment + 1)).astype(np.int32)
  weights = (np.arange(segment + 1) > segment // 2).astype(np.float32)
  return bench_lib.batch_of([[(one, weights) for one in row] for row in ids], positions)


def _temporary(one: bench_lib.Ready, batch: Any) -> int:
  compiled = one.step.lower(one.state, one.session.frozen, batch).compile()
  return compiled.memory_analysis().temp_size_in_bytes


def loader(args: argparse.Namespace) -> dict[str, Any]:
  """Batches a second of the feed alone, and the share of its positions that hold nothing."""
  model = specs.Model(base=args.model)
  source = mixture_lib.Source(name="data", path=args.data)
  mixture = mixture_lib.Mixture(name="bench", sources=(source,))
  rendering = chat.Rendering(max_length=bench_lib.MAX_LENGTH)
  # Preparing imports TensorFlow (0.8 GiB), which no other job is to carry.
  importlib.import_module("itune_jax.run.commands.prepare").prepare(model, mixture, rendering)
  renderer = rendering_lib.open_renderer(model, rendering)
  packing = feed_lib.Packing(row_length=bench_lib.POSITIONS, rows=args.rows)
  start = time.perf_counter()
  feed, _ = session_lib.open_feed(mixture, renderer, packing, 0)
  batches = feed.iterate(0)
  next(batches)
  first, start = time.perf_counter() - start, time.perf_counter()
  for _ in range(args.batches):
    next(batches)
  seconds = time.perf_counter() - start
  positions = args.batches * args.rows * bench_lib.POSITIONS
  return {
    "first_batch_s": round(first, 3),
    "batches_per_s": round(args.batches / seconds, 1),
    "positions_per_s": round(positions / seconds),
    "padding_share": round(feed.padding_share(), 5),
    "padding_share_by_window": [round(feed.padding_share(k), 5) for k in range(3)],
  }


def compare(args: argparse.Namespace) -> dict[str, Any]:
  """Programs in turn. Each prints one line of JSON last; the first is what the others are divided by."""
  commands = dict(one.split("=", 1) for one in args.system)
  lines: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
  for turn in range(args.turns):
    for name, command in commands.items():
      done = subprocess.run(shlex.split(command), stdout=subprocess.PIPE, text=True, check=False)
      if done.returncode:
        raise SystemExit(f"{name}: exit code {done.returncode}: {command}")
      lines[name].append(json.loads(done.stdout.strip().splitlines()[-1]))
      shown = ", ".join(f"{figure} {lines[name][-1][figure]}" for figure in args.figures)
      print(f"turn {turn + 1}: {name}: {shown}", file=sys.stderr)
  first = next(iter(commands))
  values = lambda name, figure: [float(line[figure]) for line in lines[name]]
  found: dict[str, Any] = {
    name: {figure: bench_lib.spread(values(name, figure)) for figure in args.figures} for name in commands
  }
  for name in list(commands)[1:]:
    both = {figure: zip(values(first, figure), values(name, figure), strict=True) for figure in args.figures}
    found[f"{first}_over_{name}"] = {f: bench_lib.spread([a / b for a, b in pairs]) for f, pairs in both.items()}
  return found


JOBS = {
  "matmuls": matmuls,
  "scaling": scaling,
  "devices": devices,
  "attention": attention,
  "groups": groups,
  "compile": compiling,
  "loader": loader,
  "compare": compare,
}


def add_step(job: Any) -> None:
  """The flags of jobs that train."""
  job.add_argument("--batch", type=int, default=1, help=f"rows of {bench_lib.POSITIONS} positions a step (default: 1)")
  job.add_argument("--remat", default="taps", choices=("none", "taps", "full"))


def add(jobs: Any) -> None:
  """The flags of these jobs."""
  one = jobs.add_parser("matmuls", help="a step beside its own matmuls run alone")
  one.add_argument("--data", required=True)
  one.add_argument("--steps", type=int, default=5, help="turns (default: 5)")
  add_step(one)
  one = jobs.add_parser("scaling", help="time and memory of a step by positions, segments and vocabulary")
  one.add_argument("--positions", type=int, nargs="+", default=[2048, 4096, 8192, 16384])
  one.add_argument("--segment", type=int, default=256, help="positions of each example (default: 256)")
  one.add_argument("--layers", type=int, default=4, help="of the model, with random weights (default: 4)")
  one.add_argument("--turns", type=int, default=3)
  one.add_argument("--remat", default="taps", choices=("none", "taps", "full"))
  one = jobs.add_parser("devices", help="a step of the same rows on more and more devices")
  one.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4, 8], help="devices (default: 1 2 4 8)")
  one.add_argument("--axis", default="fsdp", choices=("data", "fsdp", "tensor", "sequence"), help="of the mesh")
  one.add_argument("--positions", type=int, default=512, help="of a row; there are as many rows as devices at most")
  one.add_argument("--segment", type=int, default=128)
  one.add_argument("--layers", type=int, default=2, help="of the model, with random weights (default: 2)")
  one.add_argument("--turns", type=int, default=3)
  one.add_argument("--remat", default="taps", choices=("none", "taps", "full"))
  one = jobs.add_parser("attention", help="one layer's attention: the kernel beside the loop in XLA")
  one.add_argument("--segments", type=int, default=12, help=f"of a row of {bench_lib.POSITIONS} (default: 12)")
  one.add_argument("--turns", type=int, default=10)
  one = jobs.add_parser("groups", help="completions of a prompt that stands once, beside the prompt repeated")
  one.add_argument("--prompt", type=int, default=1024, help="tokens (default: 1,024)")
  one.add_argument("--answer", type=int, default=128, help="tokens of each completion (default: 128)")
  one.add_argument("--completions", type=int, default=4)
  one.add_argument("--turns", type=int, default=5)
  one.add_argument("--remat", default="taps", choices=("none", "taps", "full"))
  one = jobs.add_parser("compile", help="seconds to trace, lower and compile a step, by layers")
  one.add_argument("--layers", type=int, nargs="+", default=[2, 8, 30])
  one.add_argument("--remat", default="taps", choices=("none", "taps", "full"))
  one = jobs.add_parser("loader", help="the feed alone")
  one.add_argument("--data", required=True)
  one.add_argument("--rows", type=int, default=8, help="packed rows a batch (default: 8)")
  one.add_argument("--batches", type=int, default=200)
  one = jobs.add_parser("compare", help="any programs in turn, each printing a line of JSON last")
  one.add_argument("--system", action="append", required=True, metavar="NAME=COMMAND", help="given once for each")
  one.add_argument("--figures", nargs="+", default=["trained_tokens_per_s", "peak_rss_gib"], help="of those lines")
  one.add_argument("--turns", type=int, default=3)
