"""Vision-language models: a decoder in whose rows image features stand in the places of image tokens."""

import dataclasses
from typing import Any, Literal

from flax import nnx
import jax.numpy as jnp

from itune_jax.core import check
from itune_jax.core import rng
from itune_jax.models import decoder
from itune_jax.nn import mlp as mlp_lib
from itune_jax.nn import site
from itune_jax.nn import stack
from itune_jax.nn import vision as vision_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class VlmConfig(decoder.DecoderConfig):
  """A decoder with an image encoder. projector: "mlp" of two layers (LLaVA) or "linear" (PaliGemma). text_family: the
  family of the decoder inside."""

  vision: vision_lib.VisionConfig
  text_family: str
  image_token: int
  projector: Literal["mlp", "linear"] = "mlp"
  projector_activation: mlp_lib.Activation = "gelu"

  def __post_init__(self):
    super().__post_init__()
    check.require(self.vocab > self.image_token >= 0, f"image_token = {self.image_token} is outside the vocabulary")

  @property
  def stacks(self) -> dict[str, int]:
    """Module paths that hold stacks, and how deep."""
    return super().stacks | {"vision/blocks": self.vision.depth}

  def make(self, key, *, dtype=jnp.float32, remat: stack.Remat = stack.Remat()) -> "Vlm":
    """A model of this shape, with random weights."""
    return Vlm(self, key, dtype=dtype, remat=remat)


class Projector(nnx.Module):
  """Image features to the width of the text."""

  def __init__(self, cfg: VlmConfig, key, dtype):
    self.activation = cfg.projector_activation
    make = lambda name, width: site.Proj(
      "...D,DE->...E", (width, cfg.width), ("embed", None), rng.named(key, name), bias=True, dtype=dtype
    )
    self.first = make("first", cfg.vision.width)
    if cfg.projector == "mlp":
      self.second = make("second", cfg.width)
    self.layers = 2 if cfg.projector == "mlp" else 1

  def __call__(self, x_IPD, ctx):
    """Features [I, P, D] of the text's width."""
    y = self.first(x_IPD, ctx)
    return self.second(mlp_lib.ACTIVATIONS[self.activation](y), ctx) if self.layers == 2 else y


class Vlm(decoder.Decoder):
  """`ctx.images` [B, I, H, W, 3] are the pixels of each row's images, in the order of their places in it."""

  def __init__(self, cfg: VlmConfig, key, *, dtype=jnp.float32, remat: stack.Remat = stack.Remat()):
    super().__init__(cfg, key, dtype=dtype, remat=remat)
    self.image_token = cfg.image_token
    self.vision = vision_lib.Vision(cfg.vision, rng.named(key, "vision"), dtype=dtype, remat=remat)
    self.projector = Projector(cfg, rng.named(key, "projector"), dtype)

  def stream(self, tokens_BT, ctx) -> Any:
    """Embeddings of the tokens, image features in the places of image tokens."""
    x_BTD = super().stream(tokens_BT, ctx)
    if ctx.images is None:
      return x_BTD
    B = tokens_BT.shape[0]
    pixels, own = ctx.images.reshape(-1, *ctx.images.shape[2:]), ctx.replace(rows_B=_numbers(ctx, ctx.images.shape[1]))
    features_BSD = self.projector(self.vision(pixels, own), own).reshape(B, -1, x_BTD.shape[-1])
    is_image_BT = tokens_BT == self.image_token
    at_BT = jnp.clip(jnp.cumsum(is_image_BT, axis=1) - 1, 0, features_BSD.shape[1] - 1)
    taken_BTD = jnp.take_along_axis(features_BSD, at_BT[..., None], axis=1)
    return jnp.where(is_image_BT[..., None], taken_BTD.astype(x_BTD.dtype), x_BTD)


def _numbers(ctx, images: int):
  """A number for each image of the batch, by its row: what is drawn for it does not depend on how the batch is cut."""
  if ctx.rows_B is None:
    return None
  return (ctx.rows_B[:, None] * 4096 + jnp.arange(images)).reshape(-1)
