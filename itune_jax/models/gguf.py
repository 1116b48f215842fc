"""GGUF files as a source of tensors under their Hugging Face names.

llama.cpp stores query and key rows in the interleaved rotary order; they are put back into the half-split order
here, once, so that nothing downstream knows where the weights came from.
"""

import hashlib
import os
from typing import Any

import gguf
import numpy as np

from itune_jax.core import errors
from itune_jax.models import decoder
from itune_jax.nn import rope as rope_lib

_NAMES = {
  "model.embed_tokens": "token_embd",
  "model.norm": "output_norm",
  "lm_head": "output",
  "input_layernorm": "attn_norm",
  "post_attention_layernorm": "ffn_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
}


class GgufSource:
  """Tensors of a GGUF file of the llama architecture, dequantised one at a time."""

  def __init__(self, path: str):
    self.path = path
    try:
      self._reader = gguf.GGUFReader(path)
    except (ValueError, OSError, IndexError) as e:
      raise errors.InputError(f"{path}: not a readable GGUF file ({e})") from None
    self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}
    architecture = self.field("general.architecture")
    if architecture != "llama":
      raise errors.InputError(f"{path}: general.architecture is {architecture!r}; supported is 'llama'")

  def field(self, name: str, default: Any = None) -> Any:
    """A metadata value, or the default."""
    found = self._reader.fields.get(name)
    return default if found is None else found.contents()

  def config(self) -> decoder.DecoderConfig:
    """The shape of the model. Rope scaling in GGUF files is refused: its parameters live in a tensor."""
    if "rope_freqs.weight" in self._tensors or self.field("llama.rope.scaling.type", "none") != "none":
      raise errors.InputError(f"{self.path}: scaled rotary positions in GGUF are not supported; load the HF folder")
    width, heads = self.field("llama.embedding_length"), self.field("llama.attention.head_count")
    return decoder.DecoderConfig(
      vocab=self._shape("token_embd.weight")[0],
      width=width,
      depth=self.field("llama.block_count"),
      heads=heads,
      kv_heads=self.field("llama.attention.head_count_kv", heads),
      head_dim=self.field("llama.rope.dimension_count", width // heads),
      mlp=self.field("llama.feed_forward_length"),
      max_length=self.field("llama.context_length"),
      norm_eps=float(self.field("llama.attention.layer_norm_rms_epsilon")),
      rope=rope_lib.Rope(base=float(self.field("llama.rope.freq_base", 10_000.0))),
      tied="output.weight" not in self._tensors,
    )

  def names(self) -> set[str]:
    """The HF names of all tensors in the file."""
    return {self._theirs(name) for name in self._tensors}

  def shape(self, name: str) -> tuple[int, ...]:
    """Shape of a tensor, as HF would store it."""
    return self._shape(self._ours(name))

  def read(self, name: str) -> np.ndarray:
    """One tensor in float32 and in HF's layout."""
    tensor = self._tensors[self._ours(name)]
    array = gguf.dequantize(tensor.data, tensor.tensor_type).reshape(self._shape(tensor.name)).astype(np.float32)
    if name.endswith(("q_proj.weight", "k_proj.weight")):
      kind = "llama.attention.head_count" + ("_kv" if name.endswith("k_proj.weight") else "")
      heads = self.field(kind)
      array = array.reshape(heads, array.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(array.shape)
    return array

  def digest(self) -> str:
    """SHA-256 over tensor names, shapes, types and the file's size: cheap, and changes with the model."""
    sha = hashlib.sha256(str(os.path.getsize(self.path)).encode())
    for name in sorted(self._tensors):
      sha.update(f"{name}{self._shape(name)}{self._tensors[name].tensor_type.name}".encode())
    return sha.hexdigest()

  def _shape(self, name) -> tuple[int, ...]:
    return tuple(int(n) for n in reversed(self._tensors[name].shape))

  def _ours(self, name: str) -> str:
    module, leaf = name.rsplit(".", 1)
    if module.startswith("model.layers."):
      _, _, layer, rest = module.split(".", 3)
      return f"blk.{layer}.{_NAMES[rest]}.{leaf}"
    return f"{_NAMES[module]}.{leaf}"

  def _theirs(self, name: str) -> str:
    back = {ours: theirs for theirs, ours in _NAMES.items()}
    module, leaf = name.rsplit(".", 1)
    if module.startswith("blk."):
      _, layer, rest = module.split(".", 2)
      return f"model.layers.{layer}.{back.get(rest, rest)}.{leaf}"
    return f"{back.get(module, module)}.{leaf}"
