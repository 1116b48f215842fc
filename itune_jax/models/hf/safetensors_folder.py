"""Tensors of a Hugging Face folder, each mapped into memory only while it is read.

The safetensors package maps whole files, whose touched pages stay resident until the file is closed; here peak
memory is that of one tensor. (Format: 8 bytes of header length, a JSON header, the data.)
"""

import dataclasses
import hashlib
import json
import os
import re
from typing import Any

import jax.numpy as jnp
import numpy as np

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.models.hf import config as config_lib
from itune_jax.models import zoo

_DTYPES = {
  "F64": np.float64,
  "F32": np.float32,
  "F16": np.float16,
  "BF16": jnp.bfloat16,
  "I64": np.int64,
  "U8": np.uint8,
}
_DTYPES |= {"I32": np.int32, "I8": np.int8, "BOOL": np.bool_}
# Constants that older exports saved beside the weights.
_BUFFERS = re.compile(r".*\.(rotary_emb\.inv_freq|position_ids|(attn|attention)\.(masked_)?bias)")


class SafetensorsSource:
  """Tensors of a folder with config.json and one safetensors file or a sharded index.

  Raises InputError for files that are missing, truncated or corrupt.
  """

  def __init__(self, path: str):
    self.path = path
    config_file = os.path.join(path, "config.json")
    if not os.path.exists(config_file):
      raise errors.InputError(f"{path}: no config.json; expected a Hugging Face model folder")
    self.config_json = files.read_json(config_file)
    index = os.path.join(path, "model.safetensors.index.json")
    if os.path.exists(index):
      members = sorted(set(files.read_json(index)["weight_map"].values()))
    else:
      members = ["model.safetensors"]
    self._files = [os.path.join(path, file) for file in members]
    family = zoo.FAMILIES.get(self.config_json.get("model_type"))
    self._where: dict[str, tuple[str, Any, tuple[int, ...], int]] = {}
    for file in self._files:
      for name, place in _header(file).items():
        self._where[_renamed(name, family)] = place
    copies = re.compile(family.copies if family else "")
    keep = lambda name: not (_BUFFERS.fullmatch(name) or copies.fullmatch(name))
    self._where = {name: place for name, place in self._where.items() if keep(name)}

  def config(self) -> Any:
    """The shape of the model, from config.json."""
    cfg = config_lib.config_from_hf(self.config_json, os.path.join(self.path, "config.json"))
    if zoo.FAMILIES[cfg.family].untied_if_stored:
      cfg = dataclasses.replace(cfg, tied="lm_head.weight" not in self._where)
    return cfg

  def names(self) -> set[str]:
    """Names of all tensors, in the spelling of today's transformers."""
    return set(self._where)

  def shape(self, name: str) -> tuple[int, ...]:
    """Shape of a tensor, without reading it."""
    return self._where[name][2]

  def read(self, name: str) -> np.ndarray:
    """One tensor, mapped: it is read where it is touched, and released with the array."""
    file, dtype, shape, offset = self._where[name]
    if 0 in shape:
      return np.zeros(shape, dtype)
    return np.memmap(file, dtype, "r", offset, shape)

  def digest(self) -> str:
    """SHA-256 over the headers and sizes of the files."""
    sha = hashlib.sha256()
    for file in self._files:
      sha.update(str(os.path.getsize(file)).encode())
      with open(file, "rb") as f:
        sha.update(f.read(int.from_bytes(f.read(8), "little")))
    return sha.hexdigest()


def _renamed(name: str, family: zoo.Family | None) -> str:
  for pattern, replacement in family.renames if family else ():
    name = re.sub(pattern, replacement, name)
  return name


def _header(file: str) -> dict[str, tuple[str, Any, tuple[int, ...], int]]:
  """{name: (file, dtype, shape, offset)} of one safetensors file."""
  try:
    with open(file, "rb") as f:
      size = int.from_bytes(f.read(8), "little")
      entries = json.loads(f.read(size) if size <= os.path.getsize(file) else b"")
    entries.pop("__metadata__", None)
    found = {}
    end = 0
    for name, entry in entries.items():
      begin, stop = entry["data_offsets"]
      dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), tuple(entry["shape"])
      if stop - begin != int(np.prod(shape)) * dtype.itemsize:
        raise errors.InputError(f"{file}: corrupt: {name} is {entry['dtype']}{list(shape)} in {stop - begin} bytes")
      found[name] = (file, dtype, shape, 8 + size + begin)
      end = max(end, 8 + size + stop)
  except KeyError as e:
    raise errors.InputError(f"{file}: corrupt, or of an unknown dtype ({e})") from None
  except (OSError, ValueError, AttributeError) as e:
    if isinstance(e, errors.InputError):
      raise
    raise errors.InputError(f"{file}: missing, truncated or corrupt ({e})") from None
  if os.path.getsize(file) < end:
    raise errors.InputError(f"{file}: truncated: {os.path.getsize(file):,} bytes, where its header promises {end:,}")
  return found
