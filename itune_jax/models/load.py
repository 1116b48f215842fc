"""Base weights straight onto their shardings, and back into Hugging Face folders."""

from collections.abc import Callable, Iterable, Mapping
import contextlib
import dataclasses
import functools
import hashlib
import itertools
import math
import os
from typing import Any, NamedTuple

from flax import nnx
import jax
from jax.sharding import Mesh
import jax.numpy as jnp
import numpy as np

from itune_jax.core import axes as axes_lib
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import tensors as tensors_lib
from itune_jax.core import tree
from itune_jax.parallel import shard
from itune_jax.models import gguf as gguf_lib
from itune_jax.models.hf import layout
from itune_jax.models.hf import config as config_lib
from itune_jax.models.hf import safetensors_folder
from itune_jax.nn import quant
from itune_jax.nn import site
from itune_jax.nn import stack
from itune_jax.nn import skeleton as skeleton_lib

SHARD_BYTES = 4 * 2**30


@dataclasses.dataclass(frozen=True)
class Base:
  """A loaded base model: its skeleton module (shapes), its arrays by path, and where they came from.

  config_json and generation are the config.json and generation_config.json it came with, which an export writes again;
  None for other sources. is_parted: whether its files have one table, and it has two (`untied`).
  """

  module: Any
  params: dict[str, Any]
  uri: str
  digest: str
  config_json: dict[str, Any] | None = None
  generation: dict[str, Any] | None = None
  is_parted: bool = False

  @property
  def cfg(self) -> Any:
    """The shape of the model."""
    return self.module.cfg

  @property
  def ends(self) -> tuple[int, ...]:
    """Ids of the tokens that end a text, by the word of its files."""
    return config_lib.end_ids(self.config_json, self.generation)


def open_source(path: str):
  """The tensors behind a path: a .gguf file or a Hugging Face folder."""
  if path.endswith(".gguf"):
    if not os.path.exists(path):
      raise errors.InputError(f"{path}: no such file")
    return gguf_lib.GgufSource(path)
  if not os.path.isdir(path):
    raise errors.InputError(f"{path}: no such folder")
  return safetensors_folder.SafetensorsSource(path)


Dtypes = Callable[[list[str]], Mapping[str, Any]]  # of parameters, given all their paths


def all_float32(names: list[str]) -> Mapping[str, Any]:
  """The dtypes of a base unless said otherwise."""
  return dict.fromkeys(names, jnp.float32)


def load(
  path: str,
  *,
  mesh: Mesh,
  rules: axes_lib.Rules,
  dtypes: Dtypes = all_float32,
  remat: stack.Remat = stack.Remat(),
  quantised: quant.Quant | None = None,
  progress: Callable[[int, int], None] = lambda done, total: None,
) -> Base:
  """Loads a base model tensor by tensor, straight onto its shardings.

  Args:
    path: a .gguf file or a Hugging Face folder. quantised: what to pack, parameter by parameter, as it is read.
    progress: called with the values done and to do.

  Raises:
    InputError naming the tensors that are missing, unexpected or misshapen, or that contradict config.json.
  """
  source = open_source(path)
  plan = _plan(source.config(), mesh, rules, remat)
  rows = list(layout.parameters(plan.shapes, plan.module.cfg, skeleton_lib.sites(plan.module)))
  check_tensors(source, _stored(rows), plan.module.cfg)
  kinds = dtypes(list(plan.shapes))
  params, done, total = {}, 0, tree.size(plan.shapes)
  for row in rows:
    value = _read_sharded(source, row, plan.shapes[row.ours].shape, plan.where[row.ours], kinds[row.ours])
    params |= _packed(plan.module, row, value, quantised) or {row.ours: value}
    done += math.prod(plan.shapes[row.ours].shape)
    progress(done, total)
  module = plan.module if quantised is None else quantised_skeleton(plan.module, quantised)
  return Base(
    module, params, os.path.abspath(path), source.digest(), config_json=source.config_json, generation=source.generation
  )


def untied(base: Base, dtypes: Dtypes = all_float32) -> Base:
  """A base of tied tables with an output projection of its own, which starts as the embedding: what peft makes of it
  for an adapter of one of them. Its files, and so its digest, are the same. dtypes: of the new kernel.

  Raises InputError for a base that has one.
  """
  if not base.cfg.tied:
    raise errors.InputError(f"{base.uri}: the output projection has weights of its own already")
  module = skeleton(dataclasses.replace(base.cfg, tied=False), base.module.remat)
  if any("/kernel/" in name for name in base.params):
    raise errors.InputError(
      "the base is quantised, and the adapter gives it an output projection: load the full weights"
    )
  like = base.params["embed/table"].sharding
  where = jax.sharding.NamedSharding(like.mesh, jax.sharding.PartitionSpec(*reversed((*like.spec, None, None)[:2])))
  dtype = dtypes([*base.params, "head/kernel"])["head/kernel"]
  head = jax.jit(lambda table: table.T.astype(dtype), out_shardings=where)(base.params["embed/table"])
  config = base.config_json and config_lib.untied(base.config_json)
  params = {**base.params, "head/kernel": head}
  return dataclasses.replace(base, module=module, params=params, config_json=config, is_parted=True)


def abstract(
  cfg: Any,
  *,
  mesh: Mesh,
  rules: axes_lib.Rules,
  dtypes: Dtypes = all_float32,
  remat: stack.Remat = stack.Remat(),
  quantised: quant.Quant | None = None,
) -> Base:
  """A model of shapes, dtypes and shardings alone: what is needed to compile for a mesh that is not there."""
  plan = _plan(cfg, mesh, rules, remat)
  if quantised is not None:
    plan = _plan(cfg, mesh, rules, remat, lambda module: quantised_skeleton(module, quantised))
  kinds = dtypes([name for name in plan.shapes if "/kernel/" not in name])
  params = {
    name: jax.ShapeDtypeStruct(value.shape, kinds.get(name, value.dtype), sharding=plan.where[name])
    for name, value in plan.shapes.items()
  }
  return Base(plan.module, params, "shapes", hashlib.sha256(repr(cfg).encode()).hexdigest())


def initialise(
  cfg: Any,
  *,
  seed: int,
  mesh: Mesh,
  rules: axes_lib.Rules,
  dtypes: Dtypes = all_float32,
  remat: stack.Remat = stack.Remat(),
) -> Base:
  """A randomly initialised model, made on its shardings (for tests and from-scratch runs)."""
  plan = _plan(cfg, mesh, rules, remat)
  kinds = dtypes(list(plan.shapes))

  def make(key):
    params = skeleton_lib.disassemble(cfg.make(key))[1]
    return {name: value.astype(kinds[name]) for name, value in params.items()}

  params = jax.jit(make, out_shardings=plan.where)(jax.random.key(seed))
  return Base(plan.module, params, f"random:seed={seed}", digest_of_random(cfg, seed))


def digest_of_random(cfg: Any, seed: int) -> str:
  """What tells a randomly initialised model from others."""
  return hashlib.sha256(repr((cfg, seed)).encode()).hexdigest()


def _packed(module, row, value, how) -> dict[str, Any] | None:
  """The packed arrays of one kernel by path, or None where it stays whole."""
  path, _, leaf = row.ours.rpartition("/")
  if how is None or leaf != "kernel" or not how.matches(path):
    return None
  node = skeleton_lib.sites(module)[path]

  @jax.jit
  def run(value):
    proj = nnx.merge(*nnx.split(node))
    proj.kernel = nnx.Param(value)
    site.quantise(proj, how, len(row.lead))
    return skeleton_lib.disassemble(proj.kernel)[1]  # pyright: ignore[reportArgumentType]

  return {f"{row.ours}/{name}": array for name, array in run(value).items()}


def quantised_skeleton(module, how: quant.Quant):
  """The skeleton with packed kernels."""

  def pack():
    whole = nnx.merge(*nnx.split(module))
    whole = nnx.merge(nnx.split(whole)[0], jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), nnx.split(whole)[1]))
    for path, node in skeleton_lib.sites(whole).items():
      if isinstance(node, site.Proj) and how.matches(path):
        site.quantise(node, how, len(skeleton_lib.lead(path, module.cfg.stacks)))
    return whole

  return nnx.eval_shape(pack)


class _Plan(NamedTuple):
  module: Any
  shapes: dict[str, Any]
  where: dict[str, jax.sharding.NamedSharding]


def skeleton(cfg: Any, remat: stack.Remat = stack.Remat()) -> Any:
  """The model of a config with shapes in place of arrays; costs no memory."""
  return nnx.eval_shape(lambda: cfg.make(jax.random.key(0), remat=remat))


def _plan(cfg, mesh, rules, remat, change=lambda module: module) -> _Plan:
  module = change(skeleton(cfg, remat))
  _, shapes = skeleton_lib.disassemble(module)
  axes = {name: meta["axes"] for name, meta in skeleton_lib.metadata(module).items()}
  return _Plan(module, shapes, shard.shardings(shapes, axes, rules, mesh))


def stored_shapes(cfg: Any) -> dict[str, tuple[int, ...]]:
  """The tensors that a model of this shape is stored as, and theirs."""
  module = skeleton(cfg)
  rows = layout.parameters(skeleton_lib.disassemble(module)[1], cfg, skeleton_lib.sites(module))
  return _stored(rows)


def _stored(rows: Iterable[layout.Mapped]) -> dict[str, tuple[int, ...]]:
  return {name: row.their_shape for row in rows for name in row.theirs}


def check_tensors(source: Any, wanted: Mapping[str, tuple[int, ...]], cfg: Any) -> None:
  """Raises InputError, naming them, for tensors that are missing, unexpected, misshapen or of a type of no weight."""
  found = source.names()
  if cfg.tied:
    _check_tied(source, found, cfg)
    found = found - {_head_name(cfg)}
  odd = [f"{name} of type {source.dtype(name)}" for name in sorted(found) if source.dtype(name).kind in "iub"]
  if odd:
    raise errors.InputError(f"{source.path}: weights are no numbers with a fraction: {', '.join(odd[:3])}")
  missing, unexpected = sorted(set(wanted) - found), sorted(found - set(wanted))
  bad = [
    f"{name} is {source.shape(name)}, expected {shape} by the config"
    for name, shape in wanted.items()
    if name in found and source.shape(name) != shape
  ]
  if missing == [_head_name(cfg)]:
    raise errors.InputError(f"{source.path}: missing {missing[0]}, though the config says tie_word_embeddings = false")
  for problem, names in (("missing", missing), ("unexpected", unexpected), ("misshapen", bad)):
    if names:
      more = f" and {len(names) - 3} more" if len(names) > 3 else ""
      raise errors.InputError(f"{source.path}: {problem} tensors: {', '.join(names[:3])}{more}")


def _head_name(cfg) -> str:
  return f"{layout.Layout.of(cfg).on_disk('head')}.weight"


def _check_tied(source, found, cfg) -> None:
  """A tied model may store its head as well, if it is the same; compared a block of rows at a time."""
  table = f"{layout.Layout.of(cfg).on_disk('embed')}.weight"
  if _head_name(cfg) not in found or table not in found:
    return
  head, table = source.read(_head_name(cfg)), source.read(table)
  same = head.shape == table.shape and all(
    np.array_equal(head[at : at + 4096], table[at : at + 4096]) for at in range(0, len(head), 4096)
  )
  if not same:
    raise errors.InputError(
      f"{source.path}: the config says tie_word_embeddings = true, but {_head_name(cfg)} differs from the embedding"
    )


def _read_sharded(source, row, shape, sharding, dtype):
  """One parameter; stacked ones are filled in place, a tensor at a time, so that no second copy of them exists."""
  n = len(row.lead)
  one = jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec(*sharding.spec[n:]))

  def part(name):
    def fetch(index):
      value = np.array(row.from_hf(source.read(name))[index], dtype=dtype)
      if not tensors_lib.finite(value):
        raise errors.InputError(f"{source.path}: {name} holds a value that is not finite, read as {np.dtype(dtype)}")
      return value

    return jax.make_array_from_callback(row.shape, one, fetch)

  if not n:
    return part(row.theirs[0])
  whole = jax.jit(lambda: jnp.zeros(shape, dtype), out_shardings=sharding)()
  for at, name in zip(itertools.product(*map(range, row.lead)), row.theirs, strict=True):
    whole = _put(whole, part(name), at, sharding=sharding)
  return whole


@functools.partial(jax.jit, donate_argnums=0, static_argnames="sharding")
def _put(whole, part, at, *, sharding):
  start = (*at, *[0] * part.ndim)
  whole = jax.lax.dynamic_update_slice(whole, part.reshape((1,) * len(at) + part.shape), start)
  return jax.lax.with_sharding_constraint(whole, sharding)


def save_hf(
  folder: str,
  module: Any,
  params: Mapping[str, Any],
  *,
  dtype: str = "float32",
  tokens: Mapping[str, Any] | None = None,
  config_json: Mapping[str, Any] | None = None,
  generation: Mapping[str, Any] | None = None,
  shard_bytes: int = SHARD_BYTES,
  progress: Callable[[str], None] = lambda name: None,
) -> None:
  """Writes config.json, generation_config.json and (sharded) safetensors that transformers loads, tensor by tensor.

  Args:
    tokens: special ids, which both configs get. config_json, generation: what the base had, which is kept otherwise.

  Raises InputError when kernels are quantised: what was rounded away cannot be exported as if it were the model. Raises
  RunError, and leaves nothing behind, when a weight is not finite or the disk is full.
  """
  _, shapes = skeleton_lib.disassemble(module)
  if any("/kernel/" in name for name in shapes):
    raise errors.InputError("the base is quantised: export the adapter alone (--format=peft), or load the full weights")
  tokens = dict(tokens or {})
  config = config_lib.config_to_hf(module.cfg, dtype, tokens)
  if config_json is not None:
    keep = ("dtype", "torch_dtype", "vocab_size", *tokens)
    config = {**config_json, **{k: v for k, v in config.items() if k in keep}}
  generation = {"_from_model_config": True, **tokens} if generation is None else {**generation, **tokens}
  rows = list(layout.parameters(shapes, module.cfg, skeleton_lib.sites(module)))
  kind = np.dtype(jnp.dtype(dtype))
  sizes = {name: (kind, row.their_shape) for row in rows for name in row.theirs}
  shards = _sharded(sizes, shard_bytes)
  with files.whole_folder(folder) as partial:
    files.require_room(partial, sum(math.prod(shape) * kind.itemsize for _, shape in sizes.values()))
    _write(partial, shards, rows, params, kind, progress)
    files.write_json(os.path.join(partial, "config.json"), config)
    files.write_json(os.path.join(partial, "generation_config.json"), generation)


Sizes = dict[str, tuple[Any, tuple[int, ...]]]  # type and shape of tensors, by name


def _sharded(sizes: Sizes, shard_bytes: int) -> list[Sizes]:
  """Tensors by the file that they go into."""
  shards: list[Sizes] = [{}]
  full = 0
  for name, (kind, shape) in sizes.items():
    nbytes = math.prod(shape) * kind.itemsize
    if shards[-1] and full + nbytes > shard_bytes:
      shards.append({})
      full = 0
    shards[-1][name] = (kind, shape)
    full += nbytes
  return shards


def _write(folder, shards: list[Sizes], rows, params, kind, progress) -> None:
  """Writes the tensors one by one: no more than one of them is in memory."""
  names = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
  names = ["model.safetensors"] if len(shards) == 1 else names
  with contextlib.ExitStack() as stack_of_files:
    writers = {}
    for file, sizes in zip(names, shards, strict=True):
      writer = stack_of_files.enter_context(tensors_lib.writing(os.path.join(folder, file), sizes))
      writers |= dict.fromkeys(sizes, writer)
    for row in rows:
      for at, name in zip(np.ndindex(*row.lead), row.theirs, strict=True):
        writers[name].put(name, row.to_hf(np.asarray(jax.device_get(params[row.ours][at]))).astype(kind))
      progress(row.ours)
  if len(shards) > 1:
    index = {name: file for file, sizes in zip(names, shards, strict=True) for name in sizes}
    total = sum(math.prod(shape) * kind.itemsize for sizes in shards for kind, shape in sizes.values())
    files.write_json(
      os.path.join(folder, "model.safetensors.index.json"), {"metadata": {"total_size": total}, "weight_map": index}
    )
