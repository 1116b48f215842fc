"""One decoder, driven by data: every decoder family is a value of `DecoderConfig`."""

import dataclasses
from typing import Any, Literal

from flax import nnx
import jax
import jax.numpy as jnp

from itune_jax.core import batch as batch_lib
from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import rng
from itune_jax.nn.attention import self_attention
from itune_jax.nn.attention import kv_cache
from itune_jax.nn import mlp as mlp_lib
from itune_jax.nn import moe as moe_lib
from itune_jax.nn import norm as norm_lib
from itune_jax.nn import pipeline
from itune_jax.nn import rope as rope_lib
from itune_jax.nn import site
from itune_jax.nn import stack


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecoderConfig:
  """Shape of a decoder, in the letters of the alphabet: V vocab, D width, L depth, N heads, K kv_heads, H, F mlp.

  family: whose Hugging Face layout it is stored in (`zoo.FAMILIES`).
  prefix_lm: whether the tokens of ctx.prefix_BT see each other both ways.
  placement: of the norms. "pre": x + f(norm(x)); "post": x + norm(f(x)); "sandwich": both.
  parallel: attention and feed-forward read the same x, and their outputs are added to it together.
  windows: positions that each layer sees, 0 for all; () for all of all layers. local_rope: the tables of layers with
  a window, where they have their own. no_rope: 1 for a layer without positions.
  positions: "rope", or "learned" (a table of max_length rows).
  Scales are factors: of the embeddings, of what a block adds to the residual stream, of the logits; attention_scale
  0 is 1/√H. Softcaps are c·tanh(x/c); 0 is none.

  vocab: rows of the table of tokens. width: of the residual stream. depth: number of layers. heads: query heads.
  kv_heads: heads of keys and values. head_dim: width of a head. mlp: width of the feed-forward block. max_length:
  positions that the model was made for. norm_eps: added to the variance in norms. rope: the rotary table. tied:
  whether the output projection is the table of tokens. attention_bias: whether queries, keys and values have biases.
  output_bias: whether attention's output projection has one. mlp_bias: whether the feed-forward projections have
  them. norm: its kind, "rms_offset" scales by 1 + w, "layer" has a mean and a bias. qkv: how queries, keys and values
  are stored, one projection each or fused in one. qk_norm: a norm over each query and key head, or over all of them.
  mlp_layout: gate and up apart, gate and up fused, or no gate. activation: of the feed-forward block. moe: the
  mixture of experts in place of that block. embed_scale: factor of the embeddings. residual_scale: factor of what a
  block adds. logit_scale: factor of the logits. attention_scale: factor of the scores, 0 for 1/√H. attention_softcap:
  c of the scores' softcap, 0 for none. logit_softcap: c of the logits' softcap, 0 for none.
  scores: outputs of a head in place of the vocabulary's, for models that judge text; 0 for a model of language.
  """

  family: str = "llama"
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
  local_rope: rope_lib.Rope | None = None
  no_rope: tuple[int, ...] = ()
  windows: tuple[int, ...] = ()
  positions: Literal["rope", "learned"] = "rope"
  tied: bool = False
  attention_bias: bool = False
  output_bias: bool = False
  mlp_bias: bool = False
  norm: norm_lib.Kind = "rms"
  placement: Literal["pre", "post", "sandwich"] = "pre"
  parallel: bool = False
  prefix_lm: bool = False
  qkv: Literal["split", "concat", "stacked", "interleaved"] = "split"
  qk_norm: Literal["none", "head", "all"] = "none"
  mlp_layout: mlp_lib.Layout = "gated"
  activation: mlp_lib.Activation = "silu"
  moe: moe_lib.MoeSpec | None = None
  embed_scale: float = 1.0
  residual_scale: float = 1.0
  logit_scale: float = 1.0
  attention_scale: float = 0.0
  attention_softcap: float = 0.0
  logit_softcap: float = 0.0
  scores: int = 0

  def __post_init__(self):
    check.check_types(self)
    check.finite(self)
    for name in ("vocab", "width", "depth", "heads", "kv_heads", "head_dim", "mlp", "max_length"):
      check.require(getattr(self, name) > 0, f"DecoderConfig.{name} must be positive, not {getattr(self, name)}")
    check.require(
      self.heads % self.kv_heads == 0, f"heads = {self.heads} must be a multiple of kv_heads = {self.kv_heads}"
    )
    check.require(self.scores >= 0, f"DecoderConfig.scores must be 0 or more, not {self.scores}")
    check.require(not (self.scores and self.tied), "DecoderConfig.scores: a head that scores is tied to no table")
    check.require(self.head_dim % 2 == 0, f"head_dim = {self.head_dim} must be even: rotary positions turn pairs")
    check.require(self.norm_eps >= 0, f"DecoderConfig.norm_eps must be 0 or more, not {self.norm_eps}")
    check.require(min(self.windows, default=0) >= 0, f"DecoderConfig.windows = {self.windows}: 0 or more, each")
    for name in ("windows", "no_rope"):
      found = len(getattr(self, name))
      check.require(found in (0, self.depth), f"DecoderConfig.{name} has {found} entries for {self.depth} layers")

  @property
  def attention(self) -> self_attention.Spec:
    """The attention block of a layer."""
    return self_attention.Spec(
      width=self.width,
      heads=self.heads,
      kv_heads=self.kv_heads,
      head_dim=self.head_dim,
      qkv=self.qkv,
      bias=self.attention_bias,
      out_bias=self.output_bias,
      qk_norm=self.qk_norm,
      norm_eps=self.norm_eps,
      norm_offset=self.norm == "rms_offset",
      scale=self.attention_scale,
      softcap=self.attention_softcap,
      prefix_lm=self.prefix_lm,
    )

  def make(self, key, *, dtype=jnp.float32, remat: stack.Remat = stack.Remat()) -> "Decoder":
    """A model of this shape, with random weights."""
    return Decoder(self, key, dtype=dtype, remat=remat)

  @property
  def stacks(self) -> dict[str, int]:
    """Module paths that hold stacks, and how deep."""
    return {"blocks": self.depth} | ({"blocks/mlp/experts": self.moe.experts} if self.moe else {})


class Block(nnx.Module):
  """Attention and a feed-forward block, each with a residual connection and norms where the family has them."""

  def __init__(self, cfg: DecoderConfig, key, dtype):
    self.cfg = cfg
    make_norm = lambda: norm_lib.make(cfg.norm, cfg.width, eps=cfg.norm_eps, dtype=dtype)
    if cfg.placement != "post":
      self.attn_norm, self.mlp_norm = make_norm(), make_norm()
    if cfg.placement != "pre":
      self.attn_post_norm, self.mlp_post_norm = make_norm(), make_norm()
    self.attn = self_attention.Attention(cfg.attention, rng.named(key, "attn"), dtype=dtype)
    k_mlp = rng.named(key, "mlp")
    if cfg.moe:
      self.mlp = moe_lib.Moe(cfg.moe, cfg.width, cfg.mlp, k_mlp, activation=cfg.activation, dtype=dtype)
    else:
      layout = mlp_lib.LAYOUTS[cfg.mlp_layout]
      self.mlp = layout(cfg.width, cfg.mlp, k_mlp, activation=cfg.activation, bias=cfg.mlp_bias, dtype=dtype)
    width = {"embed": cfg.width}
    self.attn_out, self.mlp_out = site.Tap("attn_out", width=width), site.Tap("mlp_out", width=width)
    self.tap_mid = site.Tap("residual", ("batch", "length", "act_embed"))
    self.tap_out = site.Tap("block_out", ("batch", "length", "act_embed"), width=width)

  def __call__(self, x_BTD, ctx, tables, *, cache=None, layer=None, given=None):
    """Returns (x_BTD, cache, aux)."""
    given = given or {}
    if "table" in given:
      tables = jax.tree.map(lambda t: jax.lax.dynamic_index_in_dim(t, given["table"], keepdims=False), tables)
    pre = self.cfg.placement != "post"
    x_in = x_BTD
    h_BTD = self.attn_norm(x_in) if pre else x_in
    y_BTD, cache = self.attn(h_BTD, ctx, tables, cache, layer, window=given.get("window"))
    y_BTD = self.attn_out(y_BTD, ctx, x=h_BTD)
    x_BTD = self.tap_mid(self._add(x_BTD, y_BTD, "attn_post_norm"), ctx)
    x_in = x_in if self.cfg.parallel else x_BTD
    h_BTD = self.mlp_norm(x_in) if pre else x_in
    y_BTD = self.mlp(h_BTD, ctx)
    y_BTD, aux = y_BTD if self.cfg.moe else (y_BTD, {})
    y_BTD = self.mlp_out(y_BTD, ctx, x=h_BTD)
    return self.tap_out(self._add(x_BTD, y_BTD, "mlp_post_norm"), ctx), cache, aux

  def _add(self, x_BTD, y_BTD, post_norm: str):
    y_BTD = y_BTD if self.cfg.placement == "pre" else getattr(self, post_norm)(y_BTD)
    return x_BTD + (y_BTD if self.cfg.residual_scale == 1 else y_BTD * self.cfg.residual_scale)


class Decoder(nnx.Module):
  """Embedding, a stack of blocks, a final norm, and the output projection (tied or not)."""

  cached = "blocks"  # the stack whose layers keep keys and values

  def __init__(self, cfg: DecoderConfig, key, *, dtype=jnp.float32, remat: stack.Remat = stack.Remat()):
    self.cfg, self.remat = cfg, remat
    self.bank = nnx.Dict()
    self.positions = site.Tap("positions")
    self.lead = site.Tap("lead", width={"embed": cfg.width})  # an adapter gives learned tokens [P, D] here
    self.embed = site.Embed(cfg.vocab, cfg.width, rng.named(key, "embed"), dtype=dtype)
    if cfg.positions == "learned":
      self.learned = site.Embed(cfg.max_length, cfg.width, rng.named(key, "positions"), dtype=dtype)
    self.blocks = stack.build(lambda k: Block(cfg, k, dtype), cfg.depth, rng.named(key, "blocks"))
    self.norm = norm_lib.make(cfg.norm, cfg.width, eps=cfg.norm_eps, dtype=dtype)
    self.head = (
      nnx.data(None)
      if cfg.tied
      else site.Proj(
        "...D,DV->...V",
        (cfg.width, cfg.scores or cfg.vocab),
        ("embed", None if cfg.scores else "vocab_out"),
        rng.named(key, "head"),
        dtype=dtype,
      )
    )

  @property
  def can_branch(self) -> bool:
    """Whether a context's keys are the same whatever comes behind it."""
    return not self.cfg.attention.prefix_lm and (self.cfg.positions == "learned" or not self.cfg.rope.depends_on_length)

  @property
  def can_share(self) -> bool:
    """Whether the keys of what prompts begin with may stand in front of all rows, once (`Cache.lead`)."""
    return self.can_branch and not self.lead.adapters and not self.positions.adapters

  def hidden(self, tokens_BT, ctx, cache: kv_cache.Cache | None = None) -> tuple[Any, Any, dict[str, Any]]:
    """Final hidden states [B, T, D] after the last norm, the cache, and sums over the layers."""
    if cache is not None and ctx.groups_BT is not None:
      raise errors.InputError(
        "decoding with a cache takes no batch with groups (several segments behind one prompt): give `Ctx.branches_GT`"
      )
    ctx = ctx.replace(bank=self.bank, positions_BT=self.positions(ctx.positions_BT, ctx))
    if cache is not None and not ctx.is_behind:
      cache = cache.mark(ctx.positions_BT, ctx.segments_BT != 0, ctx.cache_rows_BT)
    if self.lead.adapters:
      ctx, cache = self._led(ctx, cache, tokens_BT)
    elif cache is not None and cache.lead is not None:
      ctx = ctx.replace(lead=cache.lead)
    x_BTD = self.stream(tokens_BT, ctx)
    x_BTD = ctx.constrain(x_BTD.astype(ctx.dtype), ("batch", "length", "act_embed"))
    per_layer = self._per_layer()
    if pipeline.applies(ctx, cache, tokens_BT.shape[0]):
      ctx = ctx.replace(shows=())  # layers of a stage show nothing
      tables = lambda ctx: (self._tables(ctx, cached=False),)
      return self.norm(pipeline.run(self.blocks, x_BTD, ctx, tables, per_layer=per_layer, remat=self.remat)), None, {}
    tables = self._tables(ctx, cached=cache is not None and tokens_BT.shape[1] == 1)
    x_BTD, cache, aux = stack.run(self.blocks, x_BTD, ctx, tables, per_layer=per_layer, cache=cache, remat=self.remat)
    if cache is not None and ctx.goes_on:  # until now no layer was to see them there
      cache = cache.mark(ctx.positions_BT, ctx.segments_BT != 0)
    return self.norm(x_BTD), cache, aux

  def _led(self, ctx, cache: Any, tokens_BT) -> tuple[Any, Any]:
    """The context and the cache with keys and values of the learned tokens in front: run once, for all rows, since
    they see nothing but themselves."""
    if pipeline.applies(ctx, cache, tokens_BT.shape[0]):
      raise errors.InputError("learned tokens in front of the input do not run on a mesh with a stage axis")
    if cache is not None and (tokens_BT.shape[1] == 1 or ctx.is_behind):
      return ctx.replace(lead=cache.lead), cache
    x_1PD = jnp.asarray(self.lead(None, ctx))[None].astype(ctx.dtype)
    at_1P = jnp.arange(x_1PD.shape[1], dtype=jnp.int32)[None]
    alone = dict(prefix_BT=None, cache_rows_BT=None, groups_BT=None, rows_B=None)  # one row, the same in every cut
    own = ctx.replace(positions_BT=at_1P, segments_BT=jnp.ones_like(at_1P), **alone)
    if self.cfg.positions == "learned":
      x_1PD += self.learned(at_1P, own.replace(noise_BT=None))
    cfg = self.cfg
    empty = kv_cache.Cache.empty(cfg.depth, 1, at_1P.shape[1], cfg.kv_heads, cfg.head_dim, ctx.dtype)
    empty = empty.by_layer() if stack.is_apart(self.blocks) else empty
    tables = self._tables(own, cached=False)
    kept: Any = empty.mark(at_1P, at_1P >= 0)
    _, kept, _ = stack.run(self.blocks, x_1PD, own, tables, per_layer=self._per_layer(), cache=kept, remat=self.remat)
    lead = tuple(jnp.stack([layer[0] for layer in store]) for store in (kept.k_LBKHS, kept.v_LBKSH))
    return ctx.replace(lead=lead), None if cache is None else dataclasses.replace(cache, lead=lead)

  def stream(self, tokens_BT, ctx) -> Any:
    """What enters the first block, [B, T, D]."""
    x_BTD = self.embed(tokens_BT, ctx)
    if self.cfg.embed_scale != 1:  # rounded to the dtype of the stream, as the families do
      x_BTD *= jnp.asarray(self.cfg.embed_scale, x_BTD.dtype)
    if self.cfg.positions == "learned":
      x_BTD += self.learned(ctx.positions_BT, ctx.replace(noise_BT=None))
    return x_BTD

  def project(self, hidden, ctx):
    """Logits [..., V] of final hidden states [..., D]."""
    logits = self.embed.attend(hidden, ctx) if self.head is None else self.head(hidden, ctx)
    if self.cfg.scores:
      return logits
    if self.cfg.logit_scale != 1:
      logits *= self.cfg.logit_scale
    cap = self.cfg.logit_softcap
    return cap * jnp.tanh(logits / cap) if cap else logits

  def __call__(self, tokens_BT, ctx, cache=None):
    """Logits [B, T, V], cache, aux. Training and scoring use `hidden`, and project only where a score is needed."""
    hidden_BTD, cache, aux = self.hidden(tokens_BT, ctx, cache)
    return self.project(hidden_BTD, ctx), cache, aux

  def empty_cache(self, batch: int, slots: int, dtype=jnp.float32) -> kv_cache.Cache:
    """A cache for this model."""
    cfg = self.cfg
    cache = kv_cache.Cache.empty(cfg.depth, batch, slots, cfg.kv_heads, cfg.head_dim, dtype)
    if not self.lead.adapters:
      return cache
    lead_PD: Any = self.lead(None, batch_lib.Ctx(None, None, bank=self.bank))
    P = lead_PD.shape[0]
    k, v = (cfg.depth, cfg.kv_heads, cfg.head_dim, P), (cfg.depth, cfg.kv_heads, P, cfg.head_dim)
    return dataclasses.replace(cache, lead=(jnp.zeros(k, dtype), jnp.zeros(v, dtype)))

  def _tables(self, ctx, cached: bool):
    """Rotary tables [B, T, ...], stacked where layers have different ones; None without rotation."""
    cfg = self.cfg
    if cfg.positions == "learned":
      return None
    lengths_BT = None
    if cfg.rope.depends_on_length:
      lengths_BT = ctx.positions_BT + 1 if cached else rope_lib.lengths(ctx.positions_BT, ctx.segments_BT)
    found = [cfg.rope.tables(ctx.positions_BT, cfg.head_dim, lengths_BT)]
    if cfg.local_rope is not None:
      found.append(cfg.local_rope.tables(ctx.positions_BT, cfg.head_dim))
    if any(cfg.no_rope):
      found.append(rope_lib.identity(found[0]))
    return found[0] if len(found) == 1 else jax.tree.map(lambda *t: jnp.stack(t), *found)

  def _per_layer(self) -> dict[str, Any] | None:
    """What differs by layer: its window and, where there are several rotary tables, which is its own."""
    cfg, given = self.cfg, {}
    if any(cfg.windows):
      given["window"] = jnp.asarray([w or 2**30 for w in cfg.windows], jnp.int32)
    if cfg.positions != "learned" and (cfg.local_rope is not None or any(cfg.no_rope)):
      local = [int(w > 0) for w in cfg.windows] if cfg.local_rope is not None else [0] * cfg.depth
      last = 1 + (cfg.local_rope is not None)
      off = cfg.no_rope or (0,) * cfg.depth
      given["table"] = jnp.asarray([last if o else own for o, own in zip(off, local, strict=True)], jnp.int32)
    return given or None
