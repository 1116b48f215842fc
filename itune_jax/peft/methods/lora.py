"""LoRA (Hu et al. 2021): y = W x + s · B A dropout(x), with s = α/r, or α/√r (rsLoRA, Kalajdzievski 2023).

DoRA (Liu et al. 2024) gives every output a length of its own: W' = m · V/‖V‖ with V = W + s · B A.
"""

import collections
from collections.abc import Mapping, Sequence
import dataclasses
import math
import re
from typing import Any, Self

import jax
from jax import ad_checkpoint
import jax.numpy as jnp
import numpy as np

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import numerics
from itune_jax.core import rng
from itune_jax.nn import site
from itune_jax.peft.folders import codec
from itune_jax.peft import inits
from itune_jax.peft import low_rank
from itune_jax.peft import method as method_lib
from itune_jax.peft import ranks


class LoraAdapter(site.Adapter):
  """Low-rank factors a [*in, R] and b [R, *out].

  `scale` and `rank_mask_R` are arrays: layers of one stack differ in them, and swapping adapters of another
  scale or rank compiles nothing. Columns outside the mask give nothing and get no gradient.
  """

  def __init__(self, spec: site.SiteSpec, key, w, method: "Lora", *, scale, rank_mask, statistic=None):
    R, shape = rank_mask.shape[-1], (math.prod(spec.in_shape), math.prod(spec.out_shape))
    w = None if w is None else w.astype(jnp.float32).reshape(shape)
    start = inits.Start(key, shape, R, jnp.sum(rank_mask), scale, w, statistic)
    a, b = inits.factors(method.init, start)
    a, b = a.reshape(*spec.in_shape, R), b.reshape(R, *spec.out_shape)
    axes_a, axes_b = (*spec.in_axes, "rank"), ("rank", *spec.out_axes)
    self.a, self.b = site.AdapterParam(a, axes=axes_a), site.AdapterParam(b, axes=axes_b)
    self.keeps = method.init in inits.SUBTRACTED
    if self.keeps:
      self.a0 = site.AdapterParam(a, axes=axes_a, trainable=False, saved=True)
      self.b0 = site.AdapterParam(b, axes=axes_b, trainable=False, saved=True)
    self.scale = site.AdapterParam(jnp.asarray(scale, jnp.float32), axes=(), trainable=False)
    self.rank_mask = site.AdapterParam(jnp.asarray(rank_mask, jnp.float32), axes=("rank",), trainable=False)
    self.dropout = site.AdapterParam(jnp.float32(method.dropout), axes=(), trainable=False)
    self.out_bias = site.AdapterParam(jnp.zeros(spec.out_shape), axes=spec.out_axes) if method.lora_bias else None
    self.has_dropout, self.num_in, self.stream = method.dropout > 0, len(spec.in_shape), f"{spec.name}/{method.name}"

  def post(self, x, y, w, ctx):
    return y + self._added(self._dropped(x, ctx))

  def fused(self, x, w, ctx):
    drops = self.has_dropout and ctx.key is not None
    if drops or not low_rank.pays(x, w, self.num_in):
      return None
    a, b = self._factors(x.dtype)
    return low_rank.contract(x, w, a * numerics.align(self._scales(), a), b, self.num_in, self._ratio(w.value))

  def _ratio(self, w):
    """What outputs [*out] are multiplied by; None for 1."""

  def bias(self, bias):
    if self.out_bias is None:
      return bias
    added = self.scale[...] * self.out_bias[...] * jnp.max(self.rank_mask[...])
    return added if bias is None else bias + added

  def changes_bias(self, exists: bool) -> bool:
    return self.out_bias is not None

  def merge(self, w, bank):
    a, b = self._factors(jnp.float32)
    return w + site.contract(a * numerics.align(self._scales(), a), b, 1)

  def _dropped(self, x, ctx):
    if not self.has_dropout or ctx.key is None:
      return x
    keep = 1.0 - self.dropout[...]
    mask = ctx.uniform(rng.stream(self.stream), x.shape) < keep
    return jnp.where(mask, x / keep.astype(x.dtype), 0)

  def _added(self, x):
    """s · B A x, less its start where that was not zero."""
    a, b = self._factors(x.dtype)
    u = site.contract(x, a, self.num_in)
    u *= numerics.align(self._scales().astype(x.dtype), u)
    return site.contract(u, b, 1)

  def _factors(self, dtype):
    """A [*in, R] and B [R, *out], those of the start behind them."""
    a, b = self.a[...].astype(dtype), self.b[...].astype(dtype)
    if not self.keeps:
      return a, b
    return jnp.concatenate([a, self.a0[...].astype(dtype)], -1), jnp.concatenate([b, self.b0[...].astype(dtype)], 0)

  def _scales(self):
    """s of every column that counts, -s of those of the start."""
    scales = self.scale[...] * self.rank_mask[...]
    return jnp.concatenate([scales, -scales]) if self.keeps else scales


class EmbedAdapter(LoraAdapter):
  """LoRA of a table: its inputs are token ids."""

  def post(self, x, y, w, ctx):
    a, b = self._factors(y.dtype)
    u = jnp.take(a, x, axis=0, mode="clip")
    return y + site.contract(u * numerics.align(self._scales().astype(y.dtype), u), b, 1)


class DoraAdapter(LoraAdapter):
  """`LoraAdapter` with a magnitude m [*out] and the squared lengths of W's outputs, which do not change.

  ‖V‖ is no path of the gradient, as in the paper, and is made of factors, so that nothing of W's size is:

      ‖V‖² = ‖W‖² + 2 Σ_R b ∘ (aᵀ W) + Σ_R b ∘ (aᵀ a b)        with a scaled by s

  Dropped inputs are those of W as well as of A: y + (m/‖V‖ - 1) W dropout(x) + m/‖V‖ · s B A dropout(x).
  """

  def __init__(self, spec: site.SiteSpec, key, w, method: "Lora", **given):
    super().__init__(spec, key, w, method, **given)
    self.keeps_output = not self.has_dropout
    squares = jnp.sum(jnp.square(w.astype(jnp.float32)), axis=tuple(range(len(spec.in_shape))))
    self.magnitude = site.AdapterParam(jnp.sqrt(squares), axes=spec.out_axes)
    self.squares = site.AdapterParam(squares, axes=spec.out_axes, trainable=False)

  def post(self, x, y, w, ctx):
    dropped, ratio = self._dropped(x, ctx), self._ratio(w.value).astype(y.dtype)
    if dropped is x:
      return _times(y + self._added(x), ratio)
    plain = site.contract(dropped, w.value, self.num_in)
    return y - plain + _times(plain + self._added(dropped), ratio)

  def merge(self, w, bank):
    v = super().merge(w, bank)
    return v * numerics.align(self._ratio(w), v)

  def _ratio(self, w):
    """m/‖V‖ [*out], float32; 1 in a layer without rank."""
    shape = self.squares.shape
    a, b = self._factors(jnp.float32)
    a = jax.lax.stop_gradient(a * numerics.align(self._scales(), a)).reshape(-1, a.shape[-1])
    b = jax.lax.stop_gradient(b).reshape(a.shape[-1], -1)
    w = jax.lax.stop_gradient(w).reshape(a.shape[0], -1)
    along_w = jnp.dot(a.T.astype(w.dtype), w, preferred_element_type=jnp.float32)
    squares = self.squares[...].reshape(-1) + jnp.sum(b * (2 * along_w + a.T @ a @ b), axis=0)
    lengths = ad_checkpoint.checkpoint_name(jnp.sqrt(squares).reshape(shape), "adapter_out")
    return jnp.where(jnp.max(self.rank_mask[...]) > 0, self.magnitude[...].astype(jnp.float32) / lengths, 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lora(ranks.Scaled, codec.ModuleCodec):
  """LoRA (Hu et al. 2021): W + (alpha / rank) B A. `sites` may name embeddings and the output projection too.

  lora_bias: a bias beside B; other biases and whole modules are `Full`'s. init: what A and B start from: random
  ("uniform" is peft's), the kernel ("pissa", "olora", "loftq") or training data ("eva", "lora_ga"). batches: of the
  training data that "eva" and "lora_ga" start from. rho: up to how many times its rank EVA may give a layer.

  rslora: scales by alpha / √rank. dora: gives every output a trained length (DoRA). dropout: probability with which
  an adapter's input is dropped in training.
  """

  rslora: bool = False
  dora: bool = False
  dropout: float = 0.0
  lora_bias: bool = False
  init: inits.Init = "uniform"
  batches: int = 8
  rho: float = 1.0
  name: str = "lora"
  kinds = ("proj", "embed")
  peft_type = "LORA"
  peft_names = (
    "lora_A.weight",
    "lora_B.weight",
    "lora_B.bias",
    "lora_magnitude_vector",
    "lora_embedding_A",
    "lora_embedding_B",
  )

  def __post_init__(self):
    super().__post_init__()
    check.require(0 <= self.dropout < 1, f"Lora.dropout must be a share in [0, 1), not {self.dropout}")
    even = all(r % 2 == 0 for r in (self.rank, *self.rank_pattern.values()))
    check.require(self.init != "orthogonal" or even, "Lora.init = 'orthogonal' takes even ranks")
    check.require(self.rho >= 1 and self.batches > 0, "Lora.rho >= 1 and Lora.batches >= 1")
    check.require(self.rho == 1 or self.init == "eva", f"Lora.rho = {self.rho} is for init = 'eva'")

  @property
  def needs_weight(self) -> bool:
    """DoRA starts from the lengths of the base's outputs, some initialisers from all of it."""
    return self.dora or self.init in inits.FROM_WEIGHT

  def divisor(self, rank: int) -> float:
    """r, or √r."""
    return math.sqrt(rank) if self.rslora else rank

  @property
  def statistic(self) -> method_lib.Statistic:
    """What the start is made of, beside weights."""
    return inits.STATISTICS.get(self.init, "")

  def calibrated(self, spectra: Mapping[str, np.ndarray], layers: Mapping[str, Sequence[str | None]]) -> Self:
    """EVA's ranks: the same sum, given to the directions that explain the largest share of their layer's variance.

    Layers keep their s. At most `rho` times its rank goes to a layer; some get none.

    Args:
      spectra: variances [*lead, in] by direction, largest first, by site. layers: expanded names of the layers that are
        adapted, by site; None where a layer is not.
    """
    if self.init != "eva" or self.rho == 1:
      return self
    flat = {path: np.maximum(values.reshape(-1, values.shape[-1]), 0) for path, values in spectra.items()}
    pairs = [(name, row) for path, rows in flat.items() for name, row in zip(layers[path], rows, strict=True)]
    ratios = {name: row / row.sum() for name, row in pairs if name is not None}
    shares = [(r, n) for n, ratio in ratios.items() for r in ratio[: round(self.rho * self.rank_of(n))]]
    chosen = sorted(shares, reverse=True)[: sum(map(self.rank_of, ratios))]
    ranks = collections.Counter(name for _, name in chosen)
    alpha = {re.escape(n): self.scale_of(n) * self.divisor(ranks[n]) for n in ratios if ranks[n]}
    return dataclasses.replace(
      self, rank_pattern={re.escape(n): ranks[n] for n in ratios}, alpha_pattern=alpha, rho=1.0
    )

  def make(self, spec: site.SiteSpec, key, *, scale, rank_mask, w=None, statistic=None) -> LoraAdapter:
    """The adapter of one layer, with which the model is unchanged at first."""
    plain = not (self.dora or self.dropout or self.lora_bias)
    check.require(
      plain or spec.kind == "proj", f"{spec.name} is a table: Lora.dora, dropout and lora_bias do not apply"
    )
    kind = EmbedAdapter if spec.kind == "embed" else DoraAdapter if self.dora else LoraAdapter
    return kind(spec, key, w, self, scale=scale, rank_mask=rank_mask, statistic=statistic)

  def peft_write(self, part: codec.Part) -> codec.Arrays:
    """Where the start is subtracted, rank 2r: [B, -B₀] and [A; A₀]."""
    a, b = codec.down(part.leaves["a"]), codec.up(part.leaves["b"])
    if "a0" in part.leaves:
      a = np.concatenate([a, codec.down(part.leaves["a0"])], 0)
      b = np.concatenate([b, -codec.up(part.leaves["b0"])], 1)
    if part.spec.kind == "embed":
      return {"lora_embedding_A": a, "lora_embedding_B": b}
    tensors = {"lora_A.weight": a, "lora_B.weight": b}
    if "out_bias" in part.leaves:
      tensors["lora_B.bias"] = part.leaves["out_bias"].reshape(-1)
    if "magnitude" in part.leaves:
      tensors["lora_magnitude_vector"] = part.leaves["magnitude"].reshape(-1)
    return tensors

  def peft_config(self, parts: Sequence[codec.Part]) -> dict[str, Any]:
    """Ranks, alphas, and what is switched on."""
    if self.init in inits.SUBTRACTED:
      double = lambda leaves: {**leaves, "rank_mask": np.concatenate([leaves["rank_mask"]] * 2)}
      parts = [dataclasses.replace(part, leaves=double(part.leaves)) for part in parts]
    return self.peft_scales(parts, "lora_alpha") | {
      "bias": "none",
      "lora_dropout": self.dropout,
      "use_rslora": self.rslora,
      "use_dora": self.dora,
      "lora_bias": self.lora_bias,
      "init_lora_weights": True,
      "layers_to_transform": None,
      "layers_pattern": None,
    }

  @classmethod
  def from_peft(cls, config: Mapping[str, Any], parts: Sequence[codec.Part]) -> Self:
    """The LoRA of a folder. Raises InputError when DoRA's lengths are missing."""
    dora, tables = bool(config.get("use_dora")), [part for part in parts if part.spec.kind == "embed"]
    for part in parts:
      if dora and "lora_magnitude_vector" not in part.tensors:
        raise errors.InputError(f"{part.module}: use_dora is set, but it has no lora_magnitude_vector")
    return cls.of_scales(
      config,
      parts,
      codec.ranks_of(config, parts, lambda part: part.tensors[_names_of(part)[0]]),
      "lora_alpha",
      init=_start_of(config, tables),
      rslora=bool(config.get("use_rslora")),
      dora=dora,
      dropout=0.0 if tables else float(config.get("lora_dropout") or 0.0),
      lora_bias=bool(config.get("lora_bias")),
    )

  def peft_read(self, part: codec.Part) -> codec.Arrays:
    """Factors in our shapes."""
    a, b = (part.tensors[name] for name in _names_of(part))
    if a.shape[0] != b.shape[-1]:
      raise errors.InputError(f"{part.module}: A has rank {a.shape[0]}, B has {b.shape[-1]}")
    leaves = {"a": codec.from_down(a, part), "b": codec.from_up(b, part), **self.ranked(part.name)}
    if self.lora_bias:
      leaves["out_bias"] = codec.shaped(part.tensors["lora_B.bias"], part.spec.out_shape, part)
    if self.dora:
      leaves["magnitude"] = codec.shaped(part.tensors["lora_magnitude_vector"], part.spec.out_shape, part)
    return leaves


def _names_of(part: codec.Part) -> tuple[str, str]:
  """peft's names of A and B."""
  return ("lora_embedding_A", "lora_embedding_B") if part.spec.kind == "embed" else ("lora_A.weight", "lora_B.weight")


def _start_of(config: Mapping[str, Any], tables: Sequence[codec.Part]) -> inits.Init:
  """Where peft starts from when it opens the folder, as far as that changes the base under the adapter.

  PiSSA and OLoRA take their start out of the base's weights, and an adapter that was saved as it is goes with what is
  left. Other starts change the adapter alone, whose arrays the file has. Raises InputError for a start that takes from
  the base what cannot be made again here.
  """
  init = config.get("init_lora_weights")
  init = init.lower() if isinstance(init, str) else init
  if not isinstance(init, str) or init in ("gaussian", "eva", "orthogonal", "mica"):
    return "uniform"
  if init not in ("pissa", "olora"):
    raise errors.InputError(
      f"adapter_config.json: init_lora_weights = {init!r} belongs to a changed base that cannot be made again here: "
      "save it with peft's path_initial_model_for_weight_conversion"
    )
  if tables or config.get("target_parameters") or config.get("fan_in_fan_out"):
    raise errors.InputError(f"adapter_config.json: init_lora_weights = {init!r} is supported for linear layers alone")
  return "pissa" if init == "pissa" else "olora"


@jax.custom_vjp
def _times(z, ratio):
  """z · ratio over the last axes. What ratio's gradient needs is read off the result, so z is never made again.

  A ratio of exactly zero gets no gradient.
  """
  return z * numerics.align(ratio, z)


def _times_forward(z, ratio):
  out = ad_checkpoint.checkpoint_name(_times(z, ratio), "adapter_out")
  return out, (out, ratio)


def _times_backward(saved, d_out):
  (out, ratio), d_out = saved, numerics.optimization_barrier(d_out)
  flat = lambda x: x.astype(jnp.float32).reshape(-1, ratio.size)
  total = numerics.dot_rows(flat(out), flat(d_out)).reshape(ratio.shape)
  d_ratio = jnp.where(ratio == 0, 0, total / ratio.astype(jnp.float32))
  return d_out * numerics.align(ratio, d_out), d_ratio.astype(ratio.dtype)


_times.defvjp(_times_forward, _times_backward)
