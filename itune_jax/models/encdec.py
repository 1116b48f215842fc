"""Encoder-decoder models of the T5 family (Raffel et al. 2020), on the same packed rows as decoders.

A row holds, segment by segment, source and target one behind the other; `ctx.prefix_BT` says which is which. The
encoder reads the sources, both ways; the decoder reads the targets, where the place of each source's last token holds
the start token. So feed, packing, loss, scoring and decoding are those of every other model.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp

from itune_jax.core import check
from itune_jax.core import ranges
from itune_jax.core import rng
from itune_jax.nn.attention import kv_cache
from itune_jax.nn import mlp as mlp_lib
from itune_jax.nn import norm as norm_lib
from itune_jax.nn.attention import relative
from itune_jax.nn import site
from itune_jax.nn import stack


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncDecConfig:
  """Shape of an encoder-decoder. scale_head: whether the head reads hidden states divided by √D (T5 1.0)."""

  family: str = "t5"
  vocab: int
  width: int
  depth: int
  decoder_depth: int
  heads: int
  head_dim: int
  mlp: int
  max_length: int = 2048
  norm_eps: ranges.PositiveFloat = 1e-6
  buckets: int = 32
  longest: int = 128
  mlp_layout: mlp_lib.Layout = "gated"
  activation: mlp_lib.Activation = "gelu_tanh"
  tied: bool = True
  scale_head: bool = False
  start_token: int = 0

  def __post_init__(self):
    check.check_types(self)
    check.finite(self)
    for name in ("vocab", "width", "depth", "decoder_depth", "heads", "head_dim", "mlp", "max_length"):
      check.require(getattr(self, name) > 0, f"EncDecConfig.{name} must be positive, not {getattr(self, name)}")
    check.require(self.norm_eps >= 0, f"EncDecConfig.norm_eps must be 0 or more, not {self.norm_eps}")
    check.require(
      self.buckets >= 4 and self.longest > self.buckets // 2,
      f"EncDecConfig(buckets={self.buckets}, longest={self.longest}): 4 buckets at least, half of them below longest",
    )
    check.require(
      0 <= self.start_token < self.vocab, f"EncDecConfig.start_token = {self.start_token} is outside the vocabulary"
    )

  @property
  def stacks(self) -> dict[str, int]:
    """Module paths that hold stacks, and how deep."""
    return {"encoder": self.depth, "decoder": self.decoder_depth}

  def make(self, key, *, dtype=jnp.float32, remat: stack.Remat = stack.Remat()) -> "EncDec":
    """A model of this shape, with random weights."""
    return EncDec(self, key, dtype=dtype, remat=remat)


class Parts(NamedTuple):
  """Where packed rows hold sources and targets. Segments are 0 where a token is not of the part."""

  source_segments_BT: Any
  target_segments_BT: Any
  target_positions_BT: Any
  starts_BT: Any  # the places of the start tokens


def split(ctx) -> Parts:
  """Sources and targets of packed rows. Without prefix_BT every token is a source and only starts are targets."""
  segments_BT, positions_BT = ctx.segments_BT, ctx.positions_BT
  source_BT = segments_BT != 0
  if ctx.prefix_BT is not None:
    source_BT &= ctx.prefix_BT != 0
  shifted = lambda x: jnp.pad(x[:, 1:], ((0, 0), (0, 1)))
  goes_on_BT = (shifted(segments_BT) == segments_BT) & shifted(source_BT)
  starts_BT = source_BT & ~goes_on_BT
  target_BT = (segments_BT != 0) & (~source_BT | starts_BT)
  T = positions_BT.shape[1]
  longest = jax.vmap(lambda p, s: jax.ops.segment_max(p, s, num_segments=T + 1)[s])
  last_source_BT = longest(jnp.where(source_BT, positions_BT, 0), segments_BT)
  return Parts(
    segments_BT * source_BT, segments_BT * target_BT, jnp.maximum(positions_BT - last_source_BT, 0), starts_BT
  )


@functools.partial(jax.tree_util.register_dataclass, data_fields=("target", "source", "starts_B1"), meta_fields=())
@dataclasses.dataclass(frozen=True)
class EncDecCache:
  """Keys and values of the decoder's own positions and of the sources; starts_B1 is where each row's target begins."""

  target: kv_cache.Cache
  source: kv_cache.Cache
  starts_B1: Any


class EncoderBlock(nnx.Module):
  """x + attention(norm(x)), then x + mlp(norm(x)), seeing both ways."""

  def __init__(self, cfg: EncDecConfig, key, dtype):
    make_norm = lambda: norm_lib.RMSNorm(cfg.width, eps=cfg.norm_eps, dtype=dtype)
    self.attn_norm, self.mlp_norm = make_norm(), make_norm()
    self.attn = relative.Attention(cfg.width, cfg.heads, cfg.head_dim, rng.named(key, "attn"), dtype=dtype)
    self.mlp = _mlp(cfg, rng.named(key, "mlp"), dtype)
    self.tap_out = site.Tap("block_out", ("batch", "length", "act_embed"))

  def __call__(self, x_BTD, ctx, seen_BTS, bias_BNTS, *, cache=None, layer=None):
    """Returns (x_BTD, cache, aux)."""
    h_BTD = self.attn_norm(x_BTD)
    x_BTD += self.attn(h_BTD, h_BTD, ctx, seen_BTS, bias_BNTS)[0]
    return self.tap_out(x_BTD + self.mlp(self.mlp_norm(x_BTD), ctx), ctx), cache, {}


class DecoderBlock(nnx.Module):
  """Causal attention over the target, attention over the source, and a feed-forward block."""

  def __init__(self, cfg: EncDecConfig, key, dtype):
    make_norm = lambda: norm_lib.RMSNorm(cfg.width, eps=cfg.norm_eps, dtype=dtype)
    self.attn_norm, self.cross_norm, self.mlp_norm = make_norm(), make_norm(), make_norm()
    make = lambda name: relative.Attention(cfg.width, cfg.heads, cfg.head_dim, rng.named(key, name), dtype=dtype)
    self.attn, self.cross = make("attn"), make("cross")
    self.mlp = _mlp(cfg, rng.named(key, "mlp"), dtype)
    self.tap_out = site.Tap("block_out", ("batch", "length", "act_embed"))

  def __call__(self, x_BTD, ctx, given, *, cache=None, layer=None):
    """Returns (x_BTD, cache, aux); `given` is a `_Whole` or, one token a row behind a cache, a `_Next`."""
    run = self._whole if isinstance(given, _Whole) else self._next
    x_BTD, cache = run(x_BTD, ctx, given, cache, layer)
    return self.tap_out(x_BTD + self.mlp(self.mlp_norm(x_BTD), ctx), ctx), cache, {}

  def _whole(self, x_BTD, ctx, given, cache, layer):
    h_BTD = self.attn_norm(x_BTD)
    y_BTD, target = self.attn(h_BTD, h_BTD, ctx, given.seen_BTS, given.bias_BNTS)
    x_BTD += y_BTD
    y_BTD, source = self.cross(self.cross_norm(x_BTD), given.source_BSD, ctx, given.seen_source_BTS)
    if cache is not None:
      parts, rows = given.parts, ctx.cache_rows_BT
      cache = dataclasses.replace(
        cache,
        target=cache.target.write(layer, *target, parts.target_positions_BT, parts.target_segments_BT != 0, rows, ctx),
        source=cache.source.write(layer, *source, given.positions_BT, parts.source_segments_BT != 0, rows, ctx),
      )
    return x_BTD + y_BTD, cache

  def _next(self, x_BTD, ctx, given, cache, layer):
    h_BTD = self.attn_norm(x_BTD)
    k, v = self.attn.k(h_BTD, ctx), self.attn.v(h_BTD, ctx)
    target = cache.target.write(layer, k, v, given.positions_BT, ctx.segments_BT != 0, ctx=ctx)
    x_BTD += self.attn.cached(h_BTD, ctx, target, layer, given.positions_BT, given.bias_BNTS)
    anywhere_BT = jnp.full_like(given.positions_BT, 2**30)  # a target sees all of its source
    x_BTD += self.cross.cached(self.cross_norm(x_BTD), ctx, cache.source, layer, anywhere_BT)
    return x_BTD, dataclasses.replace(cache, target=target)


class _Whole(NamedTuple):
  parts: Parts
  positions_BT: Any
  source_BSD: Any
  seen_BTS: Any
  bias_BNTS: Any
  seen_source_BTS: Any


class _Next(NamedTuple):
  positions_BT: Any
  bias_BNTS: Any


class EncDec(nnx.Module):
  """One table of embeddings, two stacks with a relative bias each, and the output projection (tied or not)."""

  cached = "decoder"  # the stack whose layers keep keys and values

  def __init__(self, cfg: EncDecConfig, key, *, dtype=jnp.float32, remat: stack.Remat = stack.Remat()):
    self.cfg, self.remat = cfg, remat
    self.bank = nnx.Dict()
    self.embed = site.Embed(cfg.vocab, cfg.width, rng.named(key, "embed"), dtype=dtype)
    self.encoder = stack.build(lambda k: EncoderBlock(cfg, k, dtype), cfg.depth, rng.named(key, "encoder"))
    self.decoder = stack.build(lambda k: DecoderBlock(cfg, k, dtype), cfg.decoder_depth, rng.named(key, "decoder"))
    bias = lambda name, both: relative.RelativeBias(
      cfg.buckets, cfg.longest, cfg.heads, both, rng.named(key, name), dtype=dtype
    )
    self.encoder_bias, self.decoder_bias = bias("encoder_bias", True), bias("decoder_bias", False)
    make_norm = lambda: norm_lib.RMSNorm(cfg.width, eps=cfg.norm_eps, dtype=dtype)
    self.encoder_norm, self.norm = make_norm(), make_norm()
    self.head = (
      nnx.data(None)
      if cfg.tied
      else site.Proj(
        "...D,DV->...V", (cfg.width, cfg.vocab), ("embed", "vocab_out"), rng.named(key, "head"), dtype=dtype
      )
    )

  def hidden(self, tokens_BT, ctx, cache: EncDecCache | None = None) -> tuple[Any, Any, dict[str, Any]]:
    """Final hidden states [B, T, D] (of meaning at targets only), the cache, and sums over the layers."""
    ctx = ctx.replace(bank=self.bank)
    if cache is not None and tokens_BT.shape[1] == 1:
      return self._continue(tokens_BT, ctx, cache)
    parts = split(ctx)
    source_BSD = self._encode(tokens_BT, ctx.replace(segments_BT=parts.source_segments_BT))
    if cache is not None:
      cache = self._mark(cache, parts, ctx)
    ctx = ctx.replace(segments_BT=parts.target_segments_BT, noise_BT=None)
    tokens_BT = jnp.where(parts.starts_BT, self.cfg.start_token, tokens_BT)
    x_BTD = self._embed(tokens_BT, ctx)
    places_BT = parts.target_positions_BT
    seen_BTS = _same(ctx.segments_BT, ctx.segments_BT) & (places_BT[:, :, None] >= places_BT[:, None, :])
    given = _Whole(
      parts,
      ctx.positions_BT,
      source_BSD,
      seen_BTS,
      self.decoder_bias(places_BT, places_BT, ctx),
      _same(ctx.segments_BT, parts.source_segments_BT),
    )
    x_BTD, cache, aux = stack.run(self.decoder, x_BTD, ctx, given, cache=cache, remat=self.remat)
    return self.norm(x_BTD), cache, aux

  def project(self, hidden, ctx):
    """Logits [..., V] of final hidden states [..., D]."""
    hidden = hidden * self.cfg.width**-0.5 if self.cfg.scale_head else hidden
    return self.embed.attend(hidden, ctx) if self.head is None else self.head(hidden, ctx)

  def __call__(self, tokens_BT, ctx, cache=None):
    """Logits [B, T, V], cache, aux."""
    hidden_BTD, cache, aux = self.hidden(tokens_BT, ctx, cache)
    return self.project(hidden_BTD, ctx), cache, aux

  def empty_cache(self, batch: int, slots: int, dtype=jnp.float32) -> EncDecCache:
    """A cache for this model."""
    cfg = self.cfg
    make = lambda: kv_cache.Cache.empty(cfg.decoder_depth, batch, slots, cfg.heads, cfg.head_dim, dtype)
    return EncDecCache(make(), make(), jnp.zeros((batch, 1), jnp.int32))

  def _embed(self, tokens_BT, ctx):
    return ctx.constrain(self.embed(tokens_BT, ctx).astype(ctx.dtype), ("batch", "length", "act_embed"))

  def _encode(self, tokens_BT, ctx):
    seen_BTS = _same(ctx.segments_BT, ctx.segments_BT)
    bias_BNTS = self.encoder_bias(ctx.positions_BT, ctx.positions_BT, ctx)
    x_BTD = self._embed(tokens_BT, ctx)
    x_BTD, _, _ = stack.run(self.encoder, x_BTD, ctx, seen_BTS, bias_BNTS, remat=self.remat)
    return self.encoder_norm(x_BTD)

  def _continue(self, tokens_BT, ctx, cache):
    positions_BT = ctx.positions_BT - cache.starts_B1
    target = cache.target.mark(positions_BT, ctx.segments_BT != 0)
    cache = dataclasses.replace(cache, target=target)
    given = _Next(positions_BT, self.decoder_bias(positions_BT, target.positions_BS, ctx))
    x_BTD = self._embed(tokens_BT, ctx)
    x_BTD, cache, aux = stack.run(self.decoder, x_BTD, ctx, given, cache=cache, remat=self.remat)
    return self.norm(x_BTD), cache, aux

  def _mark(self, cache, parts, ctx):
    rows_BT = ctx.cache_rows_BT
    if rows_BT is None:
      rows_BT = jnp.broadcast_to(jnp.arange(ctx.positions_BT.shape[0])[:, None], ctx.positions_BT.shape)
    at = jnp.where(parts.starts_BT, rows_BT, cache.starts_B1.shape[0])
    return EncDecCache(
      cache.target.mark(parts.target_positions_BT, parts.target_segments_BT != 0, rows_BT),
      cache.source.mark(ctx.positions_BT, parts.source_segments_BT != 0, rows_BT),
      cache.starts_B1.at[at, 0].set(ctx.positions_BT, mode="drop"),
    )


def _mlp(cfg: EncDecConfig, key, dtype):
  layout = mlp_lib.LAYOUTS[cfg.mlp_layout]
  return layout(cfg.width, cfg.mlp, key, activation=cfg.activation, bias=False, dtype=dtype)


def _same(q_segments_BT, k_segments_BS):
  return (q_segments_BT[:, :, None] == k_segments_BS[:, None, :]) & (k_segments_BS[:, None, :] != 0)
