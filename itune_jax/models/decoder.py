"""One decoder, driven by data: pre-norm blocks of grouped-query attention and a gated feed-forward."""

import dataclasses
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp

from itune_jax.core import check
from itune_jax.core import rng
from itune_jax.nn import attention
from itune_jax.nn import cache as cache_lib
from itune_jax.nn import mlp
from itune_jax.nn import norm
from itune_jax.nn import rope as rope_lib
from itune_jax.nn import site
from itune_jax.nn import stack


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecoderConfig:
  """Shape of a decoder, in the letters of the alphabet: V vocab, D width, L depth, N heads, K kv_heads, H, F mlp."""

  vocab: int
  width: int
  depth: int
  heads: int
  kv_heads: int
  head_dim: int
  mlp: int
  max_length: int
  norm_eps: float = 1e-5
  rope: rope_lib.Rope = rope_lib.Rope()
  tied: bool = False
  attention_bias: bool = False
  mlp_bias: bool = False

  def __post_init__(self):
    check.check_types(self)
    for name in ("vocab", "width", "depth", "heads", "kv_heads", "head_dim", "mlp", "max_length"):
      check.require(getattr(self, name) > 0, f"DecoderConfig.{name} = {getattr(self, name)}; it must be positive")
    check.require(
      self.heads % self.kv_heads == 0, f"heads = {self.heads} must be a multiple of kv_heads = {self.kv_heads}"
    )
    check.require(self.head_dim % 2 == 0, f"head_dim = {self.head_dim} must be even: rotary positions turn pairs")


class Block(nnx.Module):
  """x + attention(norm(x)), then x + mlp(norm(x))."""

  def __init__(self, cfg: DecoderConfig, key, dtype):
    self.attn_norm = norm.RMSNorm(cfg.width, eps=cfg.norm_eps, dtype=dtype)
    self.attn = attention.Attention(
      cfg.width, cfg.heads, cfg.kv_heads, cfg.head_dim, rng.named(key, "attn"), bias=cfg.attention_bias, dtype=dtype
    )
    self.mlp_norm = norm.RMSNorm(cfg.width, eps=cfg.norm_eps, dtype=dtype)
    self.mlp = mlp.SwiGlu(cfg.width, cfg.mlp, rng.named(key, "mlp"), bias=cfg.mlp_bias, dtype=dtype)
    self.tap_mid = site.Tap("residual", ("batch", "length", "act_embed"))
    self.tap_out = site.Tap("block_out", ("batch", "length", "act_embed"))

  def __call__(self, x_BTD, ctx, tables, *, cache=None, layer=None):
    """Returns (x_BTD, cache, aux)."""
    y_BTD, cache = self.attn(self.attn_norm(x_BTD), ctx, tables, cache, layer)
    x_BTD = self.tap_mid(x_BTD + y_BTD, ctx)
    x_BTD = self.tap_out(x_BTD + self.mlp(self.mlp_norm(x_BTD), ctx), ctx)
    return x_BTD, cache, {}


class Decoder(nnx.Module):
  """Embedding, a stack of blocks, a final norm, and the output projection (tied or not)."""

  def __init__(self, cfg: DecoderConfig, key, *, dtype=jnp.float32, remat: stack.Remat = stack.Remat()):
    self.cfg, self.remat = cfg, remat
    self.bank = nnx.Dict()
    self.positions = site.Tap("positions")
    self.embed = site.Embed(cfg.vocab, cfg.width, rng.named(key, "embed"), dtype=dtype)
    self.blocks = stack.build(lambda k: Block(cfg, k, dtype), cfg.depth, rng.named(key, "blocks"))
    self.norm = norm.RMSNorm(cfg.width, eps=cfg.norm_eps, dtype=dtype)
    self.head = (
      nnx.data(None)
      if cfg.tied
      else site.Proj("...D,DV->...V", (cfg.width, cfg.vocab), ("embed", "vocab"), rng.named(key, "head"), dtype=dtype)
    )

  def hidden(self, tokens_BT, ctx, cache: cache_lib.Cache | None = None) -> tuple[Any, Any, dict[str, Any]]:
    """Final hidden states [B, T, D] after the last norm, the cache, and sums over the layers."""
    ctx = ctx.replace(bank=self.bank, positions_BT=self.positions(ctx.positions_BT, ctx))
    if cache is not None:
      cache = cache.mark(ctx.positions_BT, ctx.segments_BT != 0, ctx.cache_rows_BT)
    x_BTD = ctx.constrain(self.embed(tokens_BT, ctx).astype(ctx.dtype), ("batch", "length", "act_embed"))
    tables = self.cfg.rope.tables(ctx.positions_BT, self.cfg.head_dim)
    x_BTD, cache, aux = stack.run(self.blocks, x_BTD, ctx, tables, cache=cache, remat=self.remat)
    return self.norm(x_BTD), cache, aux

  def project(self, hidden, ctx):
    """Logits [..., V] of final hidden states [..., D]."""
    return self.embed.attend(hidden) if self.head is None else self.head(hidden, ctx)

  def __call__(self, tokens_BT, ctx, cache=None):
    """Logits [B, T, V], cache, aux. Training and scoring use `hidden`, and project only where a score is needed."""
    hidden_BTD, cache, aux = self.hidden(tokens_BT, ctx, cache)
    return self.project(hidden_BTD, ctx), cache, aux

  def empty_cache(self, batch: int, slots: int, dtype=jnp.float32) -> cache_lib.Cache:
    """A cache for this model."""
    return cache_lib.Cache.empty(self.cfg.depth, batch, slots, self.cfg.kv_heads, self.cfg.head_dim, dtype)


def skeleton(cfg: DecoderConfig, *, dtype=jnp.float32, remat: stack.Remat = stack.Remat()) -> Decoder:
  """The decoder with shapes in place of arrays; costs no memory."""
  return nnx.eval_shape(lambda: Decoder(cfg, jax.random.key(0), dtype=dtype, remat=remat))
