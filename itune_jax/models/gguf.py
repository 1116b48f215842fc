"""GGUF files as a source of tensors under their Hugging Face names.

llama.cpp stores query and key rows in the interleaved rotary order; they are put back into the half-split order
here, once, so that nothing downstream knows where the weights came from.
"""

import json
import os
from typing import Any

import gguf
import numpy as np

from itune_jax.core import digests
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import gguf_fields
from itune_jax.core import jsontext
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


# Metadata of a llama model: read, or saying nothing of the function (None), or of one value alone.
_FIELDS: dict[str, Any] = {
  **dict.fromkeys(("block_count", "context_length", "embedding_length", "feed_forward_length", "vocab_size")),
  **dict.fromkeys(("attention.head_count", "attention.head_count_kv", "attention.layer_norm_rms_epsilon")),
  **dict.fromkeys(("rope.dimension_count", "rope.freq_base", "attention.key_length", "attention.value_length")),
  "rope.scaling.type": "none",
  "rope.scaling.factor": 1.0,
  "rope.scaling.finetuned": False,
  "expert_count": 0,
  "expert_used_count": 0,
  "attention.causal": True,
  "use_parallel_residual": False,
}


class GgufSource:
  """Tensors of a GGUF file of the llama architecture, dequantised one at a time.

  Raises InputError, naming the file, for one that is not whole or not what it says.
  """

  config_json = None
  generation = None

  def __init__(self, path: str):
    self.path = path
    if files.is_pointer(path):
      raise errors.InputError(f"{path}: {files.POINTER}")
    try:
      # Our own reader first: in a list that is longer than the file the library would go on for ever.
      self._fields = gguf_fields.read(path)
      reader = gguf.GGUFReader(path)
      self._tensors = {tensor.name: tensor for tensor in reader.tensors}
      _check_tiles(reader, os.path.getsize(path))
    except Exception as e:  # whatever the library meets in bytes that are none of its format
      said = jsontext.said(e).removeprefix(f"{path}: ")
      raise errors.InputError(f"{path}: not a readable GGUF file: truncated or corrupt ({said})") from None
    self._ours = {_theirs(name): name for name in self._tensors}
    if len(self._ours) < len(self._tensors):
      raise errors.InputError(f"{path}: two of its tensors are one of the model's; load the HF folder")
    architecture = self.field("general.architecture")
    if architecture != "llama":
      raise errors.InputError(f"{path}: general.architecture is {architecture!r}; supported is 'llama'")
    self._check_fields()

  def _check_fields(self) -> None:
    """Rope scaling in GGUF files is refused: its parameters live in a tensor."""
    if "rope_freqs.weight" in self._tensors:
      raise errors.InputError(f"{self.path}: scaled rotary positions in GGUF are not supported; load the HF folder")
    for name in self._fields:
      key = name.removeprefix("llama.")
      if key == name:
        continue
      if key not in _FIELDS:
        raise errors.InputError(f"{self.path}: {name} = {self.field(name)!r} is not known here; load the HF folder")
      if _FIELDS[key] is not None and self.field(name) != _FIELDS[key]:
        raise errors.InputError(f"{self.path}: {name} = {self.field(name)!r} is not supported; load the HF folder")

  def field(self, name: str, default: Any = None) -> Any:
    """A metadata value, or the default."""
    return self._fields.get(name, default)

  def _number(self, name: str, default: float | None = None) -> Any:
    value = self.field(f"llama.{name}", default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
      raise errors.InputError(f"{self.path}: llama.{name} is {value!r}; a number above 0 is expected")
    return value

  def config(self) -> decoder.DecoderConfig:
    """The shape of the model."""
    try:
      return self._config()
    except errors.InputError as e:
      raise errors.InputError(str(e) if str(e).startswith(self.path) else f"{self.path}: {e}") from None
    except (TypeError, ValueError, OverflowError, ZeroDivisionError) as e:
      raise errors.InputError(f"{self.path}: its metadata are damaged ({jsontext.said(e)})") from None

  def _config(self) -> decoder.DecoderConfig:
    if "token_embd.weight" not in self._tensors:
      raise errors.InputError(f"{self.path}: missing tensors: token_embd.weight")
    width, heads = self._number("embedding_length"), self._number("attention.head_count")
    sizes = {self._number(f"attention.{name}_length", width // heads) for name in ("key", "value")}
    head_dim = self._number("rope.dimension_count", max(sizes))
    if sizes != {head_dim}:
      raise errors.InputError(f"{self.path}: heads of {sorted(sizes)}, of which {head_dim} turn, are not supported")
    return decoder.DecoderConfig(
      vocab=self._shape("token_embd.weight")[0],
      width=width,
      depth=self._number("block_count"),
      heads=heads,
      kv_heads=self._number("attention.head_count_kv", heads),
      head_dim=head_dim,
      mlp=self._number("feed_forward_length"),
      max_length=self._number("context_length"),
      norm_eps=float(self._number("attention.layer_norm_rms_epsilon")),
      rope=rope_lib.Rope(base=float(self._number("rope.freq_base", 10_000.0))),
      tied="output.weight" not in self._tensors,
    )

  def names(self) -> set[str]:
    """The HF names of all tensors in the file."""
    return set(self._ours)

  def shape(self, name: str) -> tuple[int, ...]:
    """Shape of a tensor, as HF would store it."""
    return self._shape(self._ours[name])

  def dtype(self, name: str) -> np.dtype:
    """The type that `read` gives."""
    del name
    return np.dtype(np.float32)

  def read(self, name: str) -> np.ndarray:
    """One tensor in float32 and in HF's layout. Raises InputError for a kind of packing that is not known."""
    tensor = self._tensors[self._ours[name]]
    try:
      flat = gguf.dequantize(tensor.data, tensor.tensor_type)
    except (NotImplementedError, ValueError, KeyError) as e:
      raise errors.InputError(
        f"{self.path}: {tensor.name} ({tensor.tensor_type.name}) cannot be unpacked: {e}"
      ) from None
    array = flat.reshape(self._shape(tensor.name)).astype(np.float32)
    if name.endswith(("q_proj.weight", "k_proj.weight")):
      kind = "llama.attention.head_count" + ("_kv" if name.endswith("k_proj.weight") else "")
      heads = self.field(kind, self.field("llama.attention.head_count"))
      array = array.reshape(heads, array.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(array.shape)
    return array

  def digest(self) -> str:
    """SHA-256 over the bytes of the tensors and what the metadata say of their function."""
    facts = {name: self.field(name) for name in self._fields if name.startswith("llama.")}
    facts.pop("llama.context_length", None)
    found = [
      digests.Stored(name, t.tensor_type.name, self._shape(name), self.path, int(t.data_offset), int(t.n_bytes))
      for name, t in self._tensors.items()
    ]
    return digests.of_tensors(found, json.dumps(facts, sort_keys=True, default=str))

  def _shape(self, name) -> tuple[int, ...]:
    return tuple(int(n) for n in reversed(self._tensors[name].shape))


_BACK = {ours: theirs for theirs, ours in _NAMES.items()}


def _theirs(name: str) -> str:
  """The HF name of a tensor; that of one that is not known is its own."""
  if "." not in name:
    return name
  module, leaf = name.rsplit(".", 1)
  if module.count(".") > 1 and module.startswith("blk."):
    _, layer, rest = module.split(".", 2)
    return f"model.layers.{layer}.{_BACK.get(rest, rest)}.{leaf}"
  return f"{_BACK.get(module, module)}.{leaf}"


def _check_tiles(reader: gguf.GGUFReader, total: int) -> None:
  """Raises InputError unless tensors lie one behind the other, each from a multiple of the alignment on, up to the end
  of the file: what was shifted would be read as other numbers."""
  align, at = int(reader.alignment), int(reader.data_offset)
  up = lambda n: -(-n // align) * align
  start = at
  for tensor in sorted(reader.tensors, key=lambda one: int(one.data_offset)):
    if int(tensor.data_offset) - start != up(at - start):
      raise errors.InputError(f"{tensor.name} does not begin where the tensor before it ends")
    at = int(tensor.data_offset) + int(tensor.n_bytes)
  if not at <= total <= start + up(at - start):
    raise errors.InputError(f"{total:,} bytes, where its tensors end at {at:,}")
