"""Vision transformers (Dosovitskiy et al. 2021), as CLIP and SigLIP have them."""

import dataclasses
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp

from itune_jax.core import check
from itune_jax.core import rng
from itune_jax.nn.attention import kernels
from itune_jax.nn import mlp as mlp_lib
from itune_jax.nn import norm as norm_lib
from itune_jax.nn import site
from itune_jax.nn import stack


@dataclasses.dataclass(frozen=True, kw_only=True)
class VisionConfig:
  """Shape of an image encoder. class_token: a learned token before the patches, and a norm in front of the blocks
  (CLIP); without it the patches have a bias (SigLIP). skip: how many of the last blocks are not run, and whether the
  final norm is, follows from where the language model reads: LLaVA reads behind the last block but one."""

  size: int
  patch: int
  width: int
  depth: int
  heads: int
  mlp: int
  norm_eps: float = 1e-5
  activation: mlp_lib.Activation = "quick_gelu"
  class_token: bool = True
  skip: int = 1

  def __post_init__(self):
    check.check_types(self)
    check.finite(self)
    for name in ("size", "patch", "width", "depth", "heads", "mlp"):
      check.require(getattr(self, name) > 0, f"VisionConfig.{name} must be positive, not {getattr(self, name)}")
    check.require(self.norm_eps >= 0, f"VisionConfig.norm_eps must be 0 or more, not {self.norm_eps}")
    check.require(self.size % self.patch == 0, f"images of {self.size} pixels are not whole patches of {self.patch}")
    check.require(self.width % self.heads == 0, f"vision width {self.width} is not a multiple of {self.heads} heads")
    check.require(0 <= self.skip < self.depth, f"VisionConfig.skip = {self.skip}; there are {self.depth} blocks")

  @property
  def patches(self) -> int:
    """Patches of an image, and so the tokens it takes in the text."""
    return (self.size // self.patch) ** 2


class Block(nnx.Module):
  """x + attention(norm(x)), then x + mlp(norm(x)), each image seeing itself as a whole."""

  def __init__(self, cfg: VisionConfig, key, dtype):
    D, N, H = cfg.width, cfg.heads, cfg.width // cfg.heads
    make_norm = lambda: norm_lib.LayerNorm(D, eps=cfg.norm_eps, dtype=dtype)
    self.attn_norm, self.mlp_norm = make_norm(), make_norm()
    k_q, k_k, k_v, k_o = jax.random.split(rng.named(key, "attn"), 4)
    into = lambda k: site.Proj("...D,DNH->...NH", (D, N, H), ("embed", "heads", "head_dim"), k, bias=True, dtype=dtype)
    self.q, self.k, self.v = into(k_q), into(k_k), into(k_v)
    self.o = site.Proj("...NH,NHD->...D", (N, H, D), ("heads", "head_dim", "embed"), k_o, bias=True, dtype=dtype)
    self.mlp = mlp_lib.Plain(D, cfg.mlp, rng.named(key, "mlp"), activation=cfg.activation, dtype=dtype)

  def __call__(self, x_IPD, ctx, *, cache=None, layer=None):
    """Returns (x_IPD, cache, aux)."""
    h = self.attn_norm(x_IPD)
    everywhere = jnp.ones((x_IPD.shape[0], x_IPD.shape[1], x_IPD.shape[1]), bool)
    out, _ = kernels.dense(self.q(h, ctx), self.k(h, ctx), self.v(h, ctx), everywhere)
    x_IPD += self.o(out, ctx)
    return x_IPD + self.mlp(self.mlp_norm(x_IPD), ctx), cache, {}


class Vision(nnx.Module):
  """Pixels [I, H, W, 3] to features [I, P, D], one a patch."""

  def __init__(self, cfg: VisionConfig, key, *, dtype=jnp.float32, remat: stack.Remat = stack.Remat()):
    self.cfg, self.remat = cfg, remat
    shape = (3, cfg.patch, cfg.patch, cfg.width)
    axes = (None, None, None, "embed")
    self.patch = site.Proj(
      "...CHW,CHWD->...D", shape, axes, rng.named(key, "patch"), bias=not cfg.class_token, dtype=dtype
    )
    places = cfg.patches + cfg.class_token
    self.positions = site.Embed(places, cfg.width, rng.named(key, "positions"), dtype=dtype)
    make_norm = lambda: norm_lib.LayerNorm(cfg.width, eps=cfg.norm_eps, dtype=dtype)
    if cfg.class_token:
      self.class_token = nnx.Param(jnp.zeros((cfg.width,), dtype), axes=("embed",))
      self.pre_norm = make_norm()
    self.blocks = stack.build(lambda k: Block(cfg, k, dtype), cfg.depth, rng.named(key, "blocks"))
    self.norm = make_norm()

  def __call__(self, images_IHWC, ctx) -> Any:
    """Features of every patch, without the class token."""
    cfg, p = self.cfg, self.cfg.patch
    ctx = ctx.replace(noise_BT=None, segments_BT=None, positions_BT=None, prefix_BT=None)
    side = cfg.size // p
    x = images_IHWC.astype(ctx.dtype).reshape(-1, side, p, side, p, 3).transpose(0, 1, 3, 5, 2, 4)
    x_IPD = self.patch(x.reshape(-1, side * side, 3, p, p), ctx)
    if cfg.class_token:
      first = jnp.broadcast_to(self.class_token[...].astype(x_IPD.dtype)[None, None], (x_IPD.shape[0], 1, cfg.width))
      x_IPD = jnp.concatenate([first, x_IPD], axis=1)
    x_IPD += self.positions(jnp.arange(x_IPD.shape[1])[None], ctx)
    if cfg.class_token:
      x_IPD = self.pre_norm(x_IPD)
    kept = jax.tree.map(lambda w: w[: cfg.depth - cfg.skip], nnx.split(self.blocks)[1])
    blocks = nnx.merge(nnx.split(self.blocks)[0], kept)
    x_IPD, _, _ = stack.run(blocks, x_IPD, ctx, remat=self.remat)
    if not cfg.skip:
      x_IPD = self.norm(x_IPD)
    return x_IPD[:, int(cfg.class_token) :]
