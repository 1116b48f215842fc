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
  """`ctx.images` [I, H, W, 3] are preprocessed pixels, in the order of their places in the rows."""

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
    features = self.projector(self.vision(ctx.images, ctx), ctx).reshape(-1, x_BTD.shape[-1])
    is_image = tokens_BT == self.image_token
    at = jnp.cumsum(is_image.reshape(-1)).reshape(is_image.shape) - 1
    taken = jnp.take(features, jnp.clip(at, 0, features.shape[0] - 1), axis=0)
    return jnp.where(is_image[..., None], taken.astype(x_BTD.dtype), x_BTD)
