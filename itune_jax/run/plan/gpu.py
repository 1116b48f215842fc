"""`itune plan --topology=h100:64`: an estimate, since the compiler of GPUs is not here.

The training step is partitioned for as many fake devices, and what travels between them is counted in the result; CPUs
carry bfloat16 as float32, so bytes count by the compute dtype. Memory and arithmetic are formulas.
"""

from typing import Any

import jax

from itune_jax.nn import stack
from itune_jax.parallel.cost import hlo
from itune_jax.run.plan import programs
from itune_jax.run.plan import shapes


def estimate(step: programs.Step, model: shapes.Model, lowered: Any) -> tuple[dict[str, float], hlo.Counts]:
  """GiB a device by what takes them, and what a training step does there."""
  compiled = lowered.compile(compiler_options={"xla_backend_optimization_level": "0"})
  found = hlo.Program(compiled.as_text(), step.unknown_turns).counts(lambda *_: 0.0).collectives
  narrow = jax.numpy.dtype(model.run.precision.compute).itemsize / 4
  # XLA hides collectives behind arithmetic on GPUs.
  travels = tuple(one._replace(nbytes=one.nbytes * narrow, overlapped=True) for one in found)
  sizes = step.parts | activations(model)
  flops = step.facts["positions_per_step"] / step.mesh.size * arithmetic(model, step.useful)
  return sizes, hlo.Counts(flops, traffic(model, sizes), travels)


def arithmetic(model: shapes.Model, useful: float) -> float:
  """Operations of one position of a training step: those that count, the layers' second forward pass, and attention.

  The second pass makes what is not kept, and never what the last projection of a layer gives, which nothing needs. An
  embedding that is not also the head is looked up, and multiplied by nothing. Attention is causal: half of the
  products.
  """
  run, cfg = model.run, model.cfg
  looked_up = 0.0 if cfg.tied else useful * _size(model, "embed/") / shapes.numbers(model.params)
  attention = 2.0 * 2.0 * cfg.depth * cfg.heads * cfg.head_dim * run.packing.row_length / 2
  again = "attn_out" not in _kept(run.remat)
  return useful - looked_up + 2.0 * _made_again(model) + attention * (3 + again)


# Behind which projections a tap lies.
PROJECTIONS = {
  "attn_q": ("/q/", "/qkv/"),
  "attn_k": ("/k/",),
  "attn_v": ("/v/",),
  "residual": ("/o/",),
  "mlp_gate": ("/gate/", "/gate_up/"),
  "mlp_up": ("/up/",),
}


def _kept(remat: stack.Remat) -> tuple[str, ...]:
  """The taps whose values the backward pass finds."""
  return {"full": (), "taps": remat.names, "none": stack.TAPS}[remat.policy]


def _size(model: shapes.Model, begin: str, *parts: str) -> int:
  """Parameters whose names begin so and have one of these parts, if there are any."""
  has = lambda name: not parts or any(part in name for part in parts)
  return shapes.numbers({n: v for n, v in model.params.items() if n.startswith(begin) and has(n)})


def _made_again(model: shapes.Model) -> int:
  """Parameters of the layers that the second forward pass multiplies by."""
  if model.run.remat.policy == "none":
    return 0
  parts = [part for name in _kept(model.run.remat) for part in PROJECTIONS.get(name, ())]
  return _size(model, "blocks/") - _size(model, "blocks/", "/down/", *parts)


def activations(model: shapes.Model) -> dict[str, float]:
  """GiB a device of gradients, of what the backward pass finds saved, and of one layer at work.

  The factor 1.5 fits what the TPU compiler takes for the recipes of docs/pods.md.
  """
  run, cfg, mesh = model.run, model.cfg, model.mesh
  size = jax.numpy.dtype(run.precision.compute).itemsize
  shards = model.shards("batch") * model.shards("length")
  positions = run.packing.rows // run.micro_batches * run.packing.row_length / shards
  heads, kv_heads = cfg.heads * cfg.head_dim, cfg.kv_heads * cfg.head_dim
  wide = {"attn_q": heads, "attn_k": kv_heads, "attn_v": kv_heads, "attn_out": heads}
  wide |= {"mlp_gate": cfg.mlp, "mlp_up": cfg.mlp}
  taps = sum(wide.values()) / mesh.shape["tensor"] + 2 * cfg.width
  some = sum(wide.get(name, 0) for name in _kept(run.remat)) / mesh.shape["tensor"]
  residual = cfg.width * ("residual" in _kept(run.remat))
  saved = some + residual + cfg.width
  if run.remat.policy == "none":  # the product of gate and up too, and what the two norms make
    saved += cfg.mlp / mesh.shape["tensor"] + 4 * cfg.width
  layer = _size(model, "blocks/") / cfg.depth
  chunk = shapes.chunk_of(model) * cfg.vocab / model.shards("act_vocab") * 10  # logits, their float32, their gradient
  return {
    "gradients": shapes.gib_a_chip(model.trainable),
    "saved_activations": cfg.depth * positions * saved * size / shapes.GIB,
    "one_layer_at_work": (1.5 * positions * taps * size + layer / mesh.shape["tensor"] * size + chunk) / shapes.GIB,
  }


def traffic(model: shapes.Model, sizes: dict[str, float]) -> float:
  """Bytes of memory that a step reads and writes at least: weights for each pass, state once, activations twice."""
  run = model.run
  size = jax.numpy.dtype(run.precision.compute).itemsize
  passes = 3 + _made_again(model) / _size(model, "blocks/")
  weights = passes * run.micro_batches * shapes.numbers(model.params) / model.mesh.shape["tensor"] * size
  kept = 2 * (sizes["trained"] + sizes["optimizer"] + sizes["gradients"])
  return weights + (kept + 2 * run.micro_batches * sizes["saved_activations"]) * shapes.GIB
