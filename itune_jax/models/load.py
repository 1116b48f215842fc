"""Base weights straight onto their shardings, and back into Hugging Face folders."""

from collections.abc import Callable, Mapping
import dataclasses
import hashlib
import os
from typing import Any

import jax
from jax.sharding import Mesh
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from itune_jax.core import axes as axes_lib
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.dist import shard
from itune_jax.models import decoder
from itune_jax.models import gguf as gguf_lib
from itune_jax.models import hf
from itune_jax.nn import stack
from itune_jax.nn import tree as nn_tree

SHARD_BYTES = 4 * 2**30


class SafetensorsSource:
  """Tensors of a Hugging Face folder, memory-mapped; one file or a sharded index."""

  def __init__(self, path: str):
    self.path = path
    config_file = os.path.join(path, "config.json")
    if not os.path.exists(config_file):
      raise errors.InputError(f"{path}: no config.json; expected a Hugging Face model folder")
    self._config = files.read_json(config_file)
    index = os.path.join(path, "model.safetensors.index.json")
    if os.path.exists(index):
      members = sorted(set(files.read_json(index)["weight_map"].values()))
    else:
      members = ["model.safetensors"]
    self._where: dict[str, Any] = {}
    self._files = [os.path.join(path, file) for file in members]
    for file in self._files:
      try:
        opened = safetensors.safe_open(file, framework="numpy")
      except (OSError, safetensors.SafetensorError) as e:
        raise errors.InputError(f"{file}: missing, truncated or corrupt ({e})") from None
      self._where |= dict.fromkeys(opened.keys(), opened)

  def config(self) -> decoder.DecoderConfig:
    """The shape of the model, from config.json."""
    return hf.config_from_hf(self._config, os.path.join(self.path, "config.json"))

  def names(self) -> set[str]:
    """Names of all tensors."""
    return set(self._where)

  def shape(self, name: str) -> tuple[int, ...]:
    """Shape of a tensor, without reading it."""
    return tuple(self._where[name].get_slice(name).get_shape())

  def read(self, name: str) -> np.ndarray:
    """One tensor."""
    return self._where[name].get_tensor(name)

  def digest(self) -> str:
    """SHA-256 over the headers and sizes of the files."""
    sha = hashlib.sha256()
    for file in self._files:
      sha.update(str(os.path.getsize(file)).encode())
      with open(file, "rb") as f:
        sha.update(f.read(int.from_bytes(f.read(8), "little")))
    return sha.hexdigest()


@dataclasses.dataclass(frozen=True)
class Base:
  """A loaded base model: its skeleton module (shapes), its arrays by path, and where they came from."""

  module: decoder.Decoder
  params: dict[str, Any]
  uri: str
  digest: str

  @property
  def cfg(self) -> decoder.DecoderConfig:
    """The shape of the model."""
    return self.module.cfg


def open_source(path: str):
  """The tensors behind a path: a .gguf file or a Hugging Face folder."""
  if path.endswith(".gguf"):
    if not os.path.exists(path):
      raise errors.InputError(f"{path}: no such file")
    return gguf_lib.GgufSource(path)
  if not os.path.isdir(path):
    raise errors.InputError(f"{path}: no such folder")
  return SafetensorsSource(path)


def load(
  path: str,
  *,
  mesh: Mesh,
  rules: axes_lib.Rules,
  dtype: Callable[[str], Any] = lambda name: jnp.float32,
  remat: stack.Remat = stack.Remat(),
) -> Base:
  """Loads a base model, each device reading only the slices it holds.

  Args:
    path: a .gguf file or a Hugging Face folder. dtype: of each parameter, by path.

  Raises:
    InputError naming the tensors that are missing, unexpected or misshapen.
  """
  source = open_source(path)
  cfg = source.config()
  module = decoder.skeleton(cfg, remat=remat)
  _, shapes = nn_tree.disassemble(module)
  axes = {name: meta["axes"] for name, meta in nn_tree.metadata(module).items()}
  where = shard.shardings(shapes, axes, rules, mesh)
  rows = list(hf.parameters(shapes, cfg, nn_tree.sites(module)))
  _check_tensors(source, rows, cfg)
  params = {
    row.ours: _read_sharded(source, row, shapes[row.ours].shape, where[row.ours], dtype(row.ours)) for row in rows
  }
  return Base(module, params, os.path.abspath(path), source.digest())


def initialise(
  cfg: decoder.DecoderConfig,
  *,
  seed: int,
  mesh: Mesh,
  rules: axes_lib.Rules,
  dtype: Callable[[str], Any] = lambda name: jnp.float32,
  remat: stack.Remat = stack.Remat(),
) -> Base:
  """A randomly initialised model, made on its shardings (for tests and from-scratch runs)."""
  module = decoder.skeleton(cfg, remat=remat)
  _, shapes = nn_tree.disassemble(module)
  axes = {name: meta["axes"] for name, meta in nn_tree.metadata(module).items()}
  where = shard.shardings(shapes, axes, rules, mesh)

  def make(key):
    params = nn_tree.disassemble(decoder.Decoder(cfg, key))[1]
    return {name: value.astype(dtype(name)) for name, value in params.items()}

  params = jax.jit(make, out_shardings=where)(jax.random.key(seed))
  return Base(module, params, f"random:seed={seed}", hashlib.sha256(repr((cfg, seed)).encode()).hexdigest())


def _check_tensors(source, rows, cfg):
  wanted = {name: row.their_shape for row in rows for name in row.theirs}
  ignored = {"lm_head.weight"} if cfg.tied else set()
  found = {name for name in source.names() if not name.endswith("rotary_emb.inv_freq")} - ignored
  missing, unexpected = sorted(set(wanted) - found), sorted(found - set(wanted))
  bad = [
    f"{name} is {source.shape(name)}, expected {shape}"
    for name, shape in wanted.items()
    if name in found and source.shape(name) != shape
  ]
  for problem, names in (("missing", missing), ("unexpected", unexpected), ("misshapen", bad)):
    if names:
      more = f" and {len(names) - 3} more" if len(names) > 3 else ""
      raise errors.InputError(f"{source.path}: {problem} tensors: {', '.join(names[:3])}{more}")


def _read_sharded(source, row, shape, sharding, dtype):
  def fetch(index):
    if not row.stacked:
      return np.asarray(row.from_hf(source.read(row.theirs[0]))[index], dtype=dtype)
    layers = range(shape[0])[index[0]]
    out = np.empty((len(layers), *row.shape), dtype)[(slice(None), *index[1:])]
    for i, layer in enumerate(layers):
      out[i] = row.from_hf(source.read(row.theirs[layer]))[index[1:]]
    return out

  return jax.make_array_from_callback(tuple(shape), sharding, fetch)


def save_hf(
  folder: str,
  module: decoder.Decoder,
  params: Mapping[str, Any],
  *,
  dtype: str = "float32",
  tokens: Mapping[str, Any] | None = None,
  shard_bytes: int = SHARD_BYTES,
  progress: Callable[[str], None] = lambda name: None,
) -> None:
  """Writes config.json, generation_config.json and (sharded) safetensors that transformers loads.

  Raises RunError, and leaves nothing behind, when a weight is not finite or the disk is full.
  """
  _, shapes = nn_tree.disassemble(module)
  rows = hf.parameters(shapes, module.cfg, nn_tree.sites(module))
  shards: list[dict[str, np.ndarray]] = [{}]
  for row in rows:
    array = np.asarray(jax.device_get(params[row.ours]))
    if not np.isfinite(array.astype(np.float32)).all():
      raise errors.RunError(f"{row.ours} holds a value that is not finite: refusing to export it")
    for i, name in enumerate(row.theirs):
      tensor = np.ascontiguousarray(row.to_hf(array[i] if row.stacked else array)).astype(dtype)
      if shards[-1] and sum(t.nbytes for t in shards[-1].values()) + tensor.nbytes > shard_bytes:
        shards.append({})
      shards[-1][name] = tensor
    progress(row.ours)
  with files.whole_folder(folder) as partial:
    _write_shards(partial, shards)
    tokens = dict(tokens or {})
    files.write_json(os.path.join(partial, "config.json"), hf.config_to_hf(module.cfg, dtype, tokens))
    files.write_json(os.path.join(partial, "generation_config.json"), {"_from_model_config": True, **tokens})


def _write_shards(folder, shards):
  if len(shards) == 1:
    safetensors.numpy.save_file(shards[0], os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    return
  index = {}
  for i, tensors in enumerate(shards):
    file = f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
    safetensors.numpy.save_file(tensors, os.path.join(folder, file), metadata={"format": "pt"})
    index |= dict.fromkeys(tensors, file)
  total = sum(tensor.nbytes for tensors in shards for tensor in tensors.values())
  files.write_json(
    os.path.join(folder, "model.safetensors.index.json"), {"metadata": {"total_size": total}, "weight_map": index}
  )
