"""Prompt tuning (Lester et al. 2021) and P-tuning (Liu et al. 2021): learned embeddings in front of the input.

They run through the model once a batch, see nothing but themselves, and every segment of every row sees them: exactly
what prepending them to each example gives, without its cost.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.core import check
from itune_jax.core import numerics
from itune_jax.core import ranges
from itune_jax.nn import site
from itune_jax.peft.folders import codec
from itune_jax.peft.methods import prefix
from itune_jax.peft import method as method_lib


class LeadAdapter(site.Adapter):
  """Embeddings [P, D], or what an encoder makes of them (P-tuning): three layers with ReLU between, as peft has it."""

  def __init__(self, spec: site.SiteSpec, key, count: int, hidden: int, scale: float):
    (D,), keys = spec.out_shape, jax.random.split(key, 4)
    self.vectors = site.AdapterParam(jax.random.normal(keys[0], (count, D)) * scale, axes=(None, *spec.out_axes))
    self.encodes = hidden > 0
    if self.encodes:
      draw = lambda key, *shape: site.AdapterParam(jax.random.normal(key, shape) * shape[0] ** -0.5, axes=(None, None))
      zeros = lambda width: site.AdapterParam(jnp.zeros((width,)), axes=(None,))
      self.w0, self.b0 = draw(keys[1], D, hidden), zeros(hidden)
      self.w1, self.b1 = draw(keys[2], hidden, hidden), zeros(hidden)
      self.w2, self.b2 = draw(keys[3], hidden, D), zeros(D)

  def post(self, x, y, w, ctx):
    """Of the tap `lead`, which passes nothing."""
    return self.encoded()

  def encoded(self):
    """[P, D]."""
    x = self.vectors[...]
    if not self.encodes:
      return x

    def layer(x, w, b):
      x = x @ w[...]
      return x + numerics.align(b[...], x)

    x = jax.nn.relu(layer(x, self.w0, self.b0))
    return layer(jax.nn.relu(layer(x, self.w1, self.b1)), self.w2, self.b2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompt(method_lib.SiteMethod, codec.ModelCodec):
  """The method: `count` learned tokens. hidden: width of P-tuning's encoder, 0 for none. scale: of the random start;
  the model is another at first.

  count: learned embeddings in front.
  """

  count: int = 20
  hidden: int = 0
  scale: ranges.NonNegativeFloat = 0.02
  name: str = "prompt"
  sites: str = r"positions|lead"
  kinds = ("tap",)
  peft_type = "PROMPT_TUNING"

  def __post_init__(self):
    super().__post_init__()
    check.require(
      self.count > 0 and self.hidden >= 0, f"Prompt(count={self.count}, hidden={self.hidden}): count > 0, hidden >= 0"
    )

  def make(self, spec: site.SiteSpec, key) -> site.Adapter:
    """The learned tokens, or the shift of the positions behind them."""
    if spec.name == "positions":
      return prefix.Shift(self.count)
    if spec.name.endswith("/mix"):  # a site of runs from before attention saw these tokens by itself
      return site.Adapter()
    return LeadAdapter(spec, key, self.count, self.hidden, self.scale)

  def peft_whole(self, adapters: Mapping[str, Any], bank, cfg) -> tuple[codec.Arrays, dict[str, Any]]:
    """[P, D]; those that an encoder makes, as it makes them."""
    rows = np.asarray(adapters["lead"].encoded(), np.float32)
    return {"prompt_embeddings": rows}, prefix.prompt_config(self.count, cfg) | {"prompt_tuning_init": "RANDOM"}

  @classmethod
  def from_peft_whole(cls, config, tensors: codec.Arrays, cfg) -> tuple[Self, dict[str, np.ndarray]]:
    """The method of a folder, and its arrays by path."""
    rows = prefix.whole(tensors, (config["num_virtual_tokens"], cfg.width))
    return cls(count=len(rows)), {"lead/adapters/{name}/vectors": rows}
