"""Tensors of a Hugging Face folder, each mapped into memory only while it is read (`core.tensors`)."""

import dataclasses
import json
import os
import re
from typing import Any

import numpy as np

from itune_jax.core import digests
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import log
from itune_jax.core import tensors
from itune_jax.models.hf import config as config_lib
from itune_jax.models import zoo

# Constants that older exports saved beside the weights.
_BUFFERS = re.compile(r".*\.(rotary_emb\.inv_freq|position_ids|(attn|attention)\.(masked_)?bias)")
_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
# What other formats of weights are called, and what each wants.
_OTHERS = {
  ".bin": "a pickle of PyTorch's, which is not read: load the folder with transformers and save it again",
  ".pt": "a pickle of PyTorch's, which is not read: load the folder with transformers and save it again",
  ".pth": "a pickle of PyTorch's, which is not read: load the folder with transformers and save it again",
  ".gguf": "a model by itself: give that file",
}


class SafetensorsSource:
  """Tensors of a folder with config.json and one safetensors file or a sharded index.

  Raises InputError for files that are missing, truncated or corrupt.
  """

  def __init__(self, path: str):
    self.path = path
    config_file = os.path.join(path, "config.json")
    if not os.path.exists(config_file):
      raise errors.InputError(f"{path}: no config.json; expected a Hugging Face model folder")
    self.config_json = files.read_object(config_file)
    kind = self.config_json.get("model_type")
    family = zoo.FAMILIES.get(kind) if isinstance(kind, str) else None
    self._config = config_lib.config_from_hf(self.config_json, config_file)
    generation = os.path.join(path, "generation_config.json")
    self.generation = files.read_object(generation) if os.path.exists(generation) else None
    config_lib.end_ids(self.config_json, self.generation, path)
    copies = re.compile(family.copies if family else "")
    self._where: dict[str, tensors.Place] = {}
    for file in _members(path):
      for stored, place in tensors.header(file).items():
        name = _renamed(stored, family)
        if _BUFFERS.fullmatch(name) or copies.fullmatch(name):
          continue
        if name in self._where:
          raise errors.InputError(f"{file}: {stored} stands in {self._where[name].file} too")
        self._where[name] = place

  def config(self) -> Any:
    """The shape of the model, from config.json."""
    cfg = self._config
    if max(cfg.stacks.values()) > len(self._where):
      raise errors.InputError(
        f"{self.path}: missing tensors: {max(cfg.stacks.values())} layers or experts, and {len(self._where)} tensors"
      )
    if zoo.FAMILIES[cfg.family].untied_if_stored and not getattr(cfg, "scores", 0):
      cfg = dataclasses.replace(cfg, tied="lm_head.weight" not in self._where)
    return cfg

  def names(self) -> set[str]:
    """Names of all tensors, in the spelling of today's transformers."""
    return set(self._where)

  def shape(self, name: str) -> tuple[int, ...]:
    """Shape of a tensor, without reading it."""
    return self._where[name].shape

  def dtype(self, name: str) -> np.dtype:
    """The type that a tensor is stored in."""
    return self._where[name].dtype

  def read(self, name: str) -> np.ndarray:
    """One tensor, mapped: it is read where it is touched, and released with the array."""
    return tensors.read(self._where[name])

  def digest(self) -> str:
    """SHA-256 over the bytes of the tensors and what config.json says of their function."""
    facts = {k: v for k, v in config_lib.config_to_hf(self.config(), "", {}).items() if k not in _NOT_FUNCTION}
    found = [
      digests.Stored(name, place.dtype.name, place.shape, place.file, place.offset, place.nbytes)
      for name, place in self._where.items()
    ]
    return digests.of_tensors(found, json.dumps(facts, sort_keys=True))


_NOT_FUNCTION = ("architectures", "max_position_embeddings", "n_positions")


def _members(path: str) -> list[str]:
  """The files of a folder, in transformers' precedence: one whole file, then an index of shards."""
  whole, index = os.path.join(path, _WHOLE), os.path.join(path, _INDEX)
  if os.path.exists(whole):
    if os.path.exists(index):
      log.info(f"{path}: {_WHOLE} is read, as transformers does; {_INDEX} beside it and its shards are not")
    return [whole]
  if os.path.exists(index):
    return [os.path.join(path, name) for name in _shards(index)]
  found = [name for name in files.names(path) if name.endswith((*_OTHERS, ".safetensors"))]
  if not found:
    raise errors.InputError(f"{path}: no weights; expected {_WHOLE}, or {_INDEX} and its shards")
  wants = _OTHERS.get(os.path.splitext(found[0])[1], "no part of a model without an index: download the folder anew")
  raise errors.InputError(f"{path}: neither {_WHOLE} nor {_INDEX}; {found[0]} is {wants}")


def _shards(index: str) -> list[str]:
  """The files that an index names. Raises InputError for an index that is none."""
  places = files.read_object(index).get("weight_map")
  named = lambda name: isinstance(name, str) and name == os.path.basename(name) and name.endswith(".safetensors")
  if not isinstance(places, dict) or not places or not all(map(named, places.values())):
    raise errors.InputError(f"{index}: weight_map names no safetensors files beside it")
  for name, file in places.items():
    path = os.path.join(os.path.dirname(index), file)
    if not os.path.exists(path):
      raise errors.InputError(f"{index}: {file} is missing, which holds {name}")
  found = {name: file for file in set(places.values()) for name in _names(index, file)}
  if lost := sorted(name for name in places if found.get(name) != places[name]):
    raise errors.InputError(f"{index}: {lost[0]} is not in {places[lost[0]]}")
  return sorted(set(places.values()))


def _names(index: str, file: str) -> list[str]:
  return list(tensors.header(os.path.join(os.path.dirname(index), file)))


def _renamed(name: str, family: zoo.Family | None) -> str:
  if name == "score.weight":  # the head of …ForSequenceClassification, the same in all families
    return name
  for pattern, replacement in family.renames if family else ():
    name = re.sub(pattern, replacement, name)
  return name
