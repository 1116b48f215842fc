"""Hugging Face PEFT folders, both ways: adapter_config.json and adapter_model.safetensors.

A folder holds one method of `registry.METHODS` that peft knows (`codec.PeftMethod`); beside it may stand rows of single
tokens (`Tokens`, as trainable_token_indices) and base parameters that train (`Full`, as modules_to_save and biases).
Layers of lower rank are written at their own rank, and layers without an adapter not at all.
"""

from collections.abc import Iterable, Iterator, Mapping
import dataclasses
import os
import re
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import tensors as tensors_lib
from itune_jax.nn import skeleton
from itune_jax.peft import attach
from itune_jax.peft import method as method_lib
from itune_jax.peft.folders import chosen
from itune_jax.peft.folders import codec
from itune_jax.peft.folders import experts
from itune_jax.peft.folders import options
from itune_jax.peft.folders import reading
from itune_jax.peft.folders import tied
from itune_jax.peft.methods import full as full_lib
from itune_jax.peft import registry
from itune_jax.peft.folders import opened as opened_lib
from itune_jax.peft.methods import regressor as regressor_lib
from itune_jax.peft.methods import tokens as tokens_lib

_PREFIX, _ROOT = "base_model.model.", "base_model."


class Layout(Protocol):
  """What this room needs to know of a family: HF module names by site, and two words of adapter_config.json."""

  @property
  def task_type(self) -> str:
    """peft's word for what the model does."""
    ...

  @property
  def fan_in_fan_out(self) -> bool:
    """Whether the family's kernels are [in, out]."""
    ...

  def __call__(self, site: str) -> str | None:
    """The HF module of a site (`model.layers.{}.self_attn.q_proj`), or None."""
    ...

  def tensors(self, model: Any) -> Mapping[str, tuple[Any, tuple[int, ...]]]:
    """Of every HF tensor in memory: our parameter (`ours`, `to_hf`, `from_hf`), and the index into its stack."""
    ...


Places = list[tuple[tuple[int, ...], np.ndarray]]  # arrays of a parameter by their index into its stack


@dataclasses.dataclass
class Values:
  """The arrays of a folder: by method type, site and leaf; shared banks; and base parameters by path and index."""

  leaves: dict[str, dict[str, codec.Arrays]] = dataclasses.field(default_factory=dict)
  banks: dict[str, codec.Arrays] = dataclasses.field(default_factory=dict)
  whole: dict[str, codec.Arrays] = dataclasses.field(default_factory=dict)
  opened: dict[str, Places] = dataclasses.field(default_factory=dict)
  copies: dict[str, Places] = dataclasses.field(default_factory=dict)  # of base parameters that do not train
  untied: bool = False  # whether the tables of a tied base part (`tied`)


def save(folder: str, attached: attach.Attached, layout: Layout, *, base: str | None) -> None:
  """Writes the adapter of a model as a PEFT folder; `base` is its base_model_name_or_path, None where it says none.

  Raises:
    InputError when peft has no such combination, or a site has no HF module. RunError when a weight is not finite.
  """
  method, beside = _one(attached.methods)
  tensors, config = _written(attached, method, layout)
  for other in beside:
    more, fields = (_token_rows if isinstance(other, tokens_lib.Tokens) else opened_lib.write)(attached, other, layout)
    tensors, config = tensors | more, config | fields
  config |= {
    "peft_type": method.peft_type,
    "task_type": layout.task_type,
    "base_model_name_or_path": base,
    "revision": None,
    "inference_mode": True,
    "auto_mapping": None,
  }
  with files.whole_folder(folder) as partial:
    tensors_lib.save(os.path.join(partial, "adapter_model.safetensors"), tensors)
    files.write_json(os.path.join(partial, "adapter_config.json"), dict(sorted(config.items())))


def _one(methods) -> tuple[codec.PeftMethod, list[codec.PeftMethod]]:
  """The method that names the folder, and what stands beside it. What no reader of the model needs is left out."""
  methods = [m for m in methods if not isinstance(m, regressor_lib.Regressor)]
  known = [m for m in methods if isinstance(m, codec.PeftMethod)]
  mains = [m for m in known if not isinstance(m, (tokens_lib.Tokens, full_lib.Full))] or known[:1]
  if len(mains) != 1 or len(known) != len(methods):
    kinds = [type(m).__name__ for m in methods]
    raise errors.InputError(
      f"this model has {kinds}; a PEFT folder holds one of {', '.join(supported())}, with rows of tokens and opened "
      "parameters beside it: export --format=hf, merged"
    )
  return mains[0], [m for m in known if m not in mains]


def supported() -> list[str]:
  """The methods that peft knows."""
  return sorted(name for name, _ in _kinds().values())


def _kinds() -> dict[str, tuple[str, type[codec.PeftMethod]]]:
  """The methods that peft knows, with their names, by peft's type."""
  pairs = registry.METHODS.items()
  return {kind.peft_type: (name, kind) for name, kind in pairs if issubclass(kind, codec.PeftMethod)}


def _written(attached, method: codec.PeftMethod, layout) -> tuple[codec.Arrays, dict[str, Any]]:
  """Tensors of a method, and its fields of the config."""
  if isinstance(method, full_lib.Full):
    return opened_lib.write_norms(attached, method, layout)
  if isinstance(method, codec.ModelCodec):
    return _by_model(attached, method)
  if isinstance(method, codec.ModuleWriter):
    return _by_module(attached, method, layout)
  raise TypeError(f"{type(method).__name__} is a PeftMethod, and says of neither module nor model what it writes")


def _by_module(attached, method: codec.ModuleWriter, layout):
  """Tensors and config of a method that peft writes module by module."""
  tensors: codec.Arrays = {}
  parts = list(_parts(attached, method, layout))
  for part in parts:
    tensors |= {f"{_PREFIX}{part.module}.{name}": tensor for name, tensor in method.peft_write(part).items()}
  if isinstance(method, codec.BankCodec):
    stem = f"bank/{method.name}_"
    bank = {n.removeprefix(stem): np.asarray(v) for n, v in attached.params.items() if n.startswith(stem)}
    tensors |= {_ROOT + name: tensor for name, tensor in method.peft_bank(bank).items()}
  config = {
    "target_modules": _targets([part.module for part in parts], _modules(attached.module, layout)),
    **({"fan_in_fan_out": True} if layout.fan_in_fan_out else {}),
  }
  return tensors, config | method.peft_config(parts)


def _by_model(attached, method: codec.ModelCodec):
  """Tensors and config of a method whose tensors are those of the model, not of a module."""
  live, _ = skeleton.disassemble(attached.module)
  module = live.build({n: attached.params[n] for n in live.names})
  adapters = {
    path: node.adapters[method.name] for path, node in skeleton.sites(module).items() if method.name in node.adapters
  }
  return method.peft_whole(adapters, module.bank, module.cfg)


def _parts(attached, method, layout) -> Iterator[codec.Part]:
  """Every single site that has the adapter, with its arrays, cut to the layer's rank."""
  stacks = attached.module.cfg.stacks
  for path, node in skeleton.sites(attached.module).items():
    if method.name not in node.adapters:
      continue
    module = layout(path)
    if module is None:
      raise errors.InputError(f"{path} has no Hugging Face module: its adapter cannot be exported")
    stem, names = f"{path}/adapters/{method.name}/", skeleton.expanded(path, stacks)
    meta = skeleton.metadata(node.adapters[method.name])
    spec = node.spec(path, names)
    for at, name in zip(np.ndindex(*skeleton.lead(path, stacks)), names, strict=True):
      leaves = {n: _plain(attached.params[stem + n][at]) for n in meta}
      if leaves.get("active", 1) and leaves.get("rank_mask", np.ones(1)).sum():
        axes = {n.removeprefix("inner/"): m["axes"] for n, m in meta.items()}
        leaves = {n.removeprefix("inner/"): leaf for n, leaf in leaves.items() if n != "active"}
        yield codec.Part(name, module.format(*at), spec, _cut(leaves, axes))


def _plain(array) -> np.ndarray:
  """Values as float32, places as whole numbers."""
  return np.asarray(array, None if jnp.issubdtype(array.dtype, jnp.integer) else np.float32)


def _cut(leaves, axes) -> codec.Arrays:
  rank = int(leaves["rank_mask"].sum()) if "rank_mask" in leaves else None
  at = lambda n, leaf: tuple(slice(rank if axis == "rank" else None) for axis in axes[n][: leaf.ndim])
  return {n: leaf[at(n, leaf)] for n, leaf in leaves.items()}


def _token_rows(attached, method, layout) -> tuple[codec.Arrays, dict[str, Any]]:
  """Rows of single tokens beside another method."""
  if layout.task_type != "CAUSAL_LM":
    raise errors.InputError("peft has no rows of new tokens for encoder-decoders: export --format=hf, merged")
  parts = list(_parts(attached, method, layout))
  tensors = {f"{_PREFIX}{p.module}.token_adapter.trainable_tokens_delta": p.leaves["rows"] for p in parts}
  return tensors, {"trainable_token_indices": {p.module.rsplit(".", 1)[-1]: list(method.ids) for p in parts}}


def load(folder: str, model: Any, layout: Layout) -> tuple[tuple[method_lib.Method, ...], Values]:
  """Reads a PEFT folder: the methods that fit `model`, and their values.

  Raises InputError, by name, for other methods, options that change the function, files that are not whole, and modules
  that this model lacks.
  """
  kinds = _kinds()
  kinds["P_TUNING"] = kinds["PROMPT_TUNING"]  # a folder holds what the encoder made
  where = os.path.join(folder, "adapter_config.json")
  config = options.checked(files.read_object(where), where, sorted(kinds))
  name, kind = kinds[config["peft_type"]]
  path, tensors = reading.tensors_of(folder)
  opened_lib.check_saved(config, tensors, path)
  values = Values()
  if issubclass(kind, codec.ModelCodec):
    if extra := sorted(set(tensors) - {"prompt_embeddings"}):
      raise errors.InputError(f"{path}: {extra[0]} is no tensor of {kind.__name__}")
    with reading.naming(path):
      method, values.whole[name] = kind.from_peft_whole(config, tensors, model.cfg)
    return (method,), values
  if config.get("target_parameters"):
    with reading.naming(path):
      tensors = experts.unfused(config, tensors, _modules(model, layout), _PREFIX)
  tables_tied = model.cfg.tied and config.get("ensure_weight_tying")
  model, tensors = _with_own_tables(config, tensors, model, layout, path, values)
  parts, rows, roots = _sorted(path, kind, tensors, model, layout, values)
  methods: list[method_lib.Method] = []
  if issubclass(kind, codec.ModuleCodec):
    pair = (layout("head"), layout("embed")) if tables_tied else ()
    chosen.check(config, [part.module for part in parts], _asked(model, layout, parts), path, pair)
    if parts:
      methods.append(_method_of(kind, config, parts, roots, path, name, values))
  if rows or config.get("trainable_token_indices"):
    methods.append(_tokens(config, values, rows, where))
  if values.opened:
    methods.append(full_lib.Full(params="|".join(map(re.escape, sorted(values.opened)))))
  if not methods:
    raise errors.InputError(f"{path} holds no adapter")
  return tuple(methods), values


def _method_of(kind: type[codec.ModuleCodec], config, parts, roots, path, name, values) -> codec.ModuleCodec:
  """The method, and what it reads of every part."""
  with reading.naming(path):
    method = kind.from_peft(config, parts)
    values.leaves[name] = {part.name: method.peft_read(part) for part in parts}
    if isinstance(method, codec.BankCodec):
      values.banks[name] = method.read_bank(roots)
    elif roots:
      raise errors.InputError(f"{min(roots)} belongs to no module")
    for part in parts:
      part.tensors.require_taken()
  return method


def _with_own_tables(config, tensors, model, layout, path, values) -> tuple[Any, codec.Arrays]:
  """The model with an output projection of its own, where the folder gives it one, and the tensors that count."""
  head, embed = layout("head"), layout("embed")
  if not model.cfg.tied or head is None or embed is None:
    return model, tensors
  bare = {key.removeprefix(_PREFIX): tensor for key, tensor in tensors.items()}
  bare, values.untied = tied.own_tables(config, bare, head, embed, path)
  tensors = {key if key.startswith(_ROOT) else _PREFIX + key: tensor for key, tensor in bare.items()}
  return (tied.untied(model) if values.untied else model), tensors


def _asked(model, layout, parts) -> list[str]:
  """Modules of the model that a config may name. Experts are modules of their own on disk alone, if not here."""
  modules = _modules(model, layout)
  some = any("/experts/" in part.name for part in parts)
  return [m for m, site in modules.items() if some or "/experts/" not in site] + [layout("head") or ""]


def _sorted(path, kind: type[codec.PeftMethod], tensors, model, layout, values):
  """Tensors by what they belong to: parts of the method, rows of tokens (by site), and those of no module."""
  back, known, specs = _modules(model, layout), layout.tensors(model), _specs(model)
  by_module: dict[str, codec.Arrays] = {}
  rows: dict[str, np.ndarray] = {}
  roots: codec.Arrays = {}
  for key, tensor in tensors.items():
    module, name = reading.split(key.removeprefix(_PREFIX), back)
    if tensor.dtype.kind in "iub" and name not in kind.peft_integers:
      raise errors.InputError(f"{path}: {key} is of type {tensor.dtype}, and a weight has a fraction")
    if name in ("token_adapter.trainable_tokens_delta", "trainable_tokens_delta"):
      rows[back[module]] = tensor
    elif name in kind.peft_names:
      by_module.setdefault(module, {})[name] = tensor
    elif (place := opened_lib.place(key.removeprefix(_PREFIX), known)) is not None:
      into = values.copies if place.is_copy else values.opened
      into.setdefault(place.mapped.ours, []).append((place.at, place.read(tensor, f"{path}: {key}")))
    elif key.startswith(_ROOT) and key.removeprefix(_ROOT) in kind.peft_roots:
      roots[key.removeprefix(_ROOT)] = tensor
    elif not module or name not in kind.peft_ignored:
      raise errors.InputError(f"{path}: {key} is no {kind.__name__} tensor of a module of this model")
  make = lambda module, found: codec.Tensors(found, module)
  parts = [codec.Part(back[m], m, specs[back[m]], tensors=make(m, t)) for m, t in by_module.items()]
  return parts, rows, roots


def _tokens(config, values, rows, where: str) -> tokens_lib.Tokens:
  """The method of a folder's token rows, and their values sorted by id, as the method wants them."""
  ids = reading.token_ids(config, rows, where)
  values.leaves["Tokens"] = {name: {"rows": tensor[np.argsort(ids)]} for name, tensor in rows.items()}
  return tokens_lib.Tokens(ids=tuple(sorted(ids)), sites="|".join(map(re.escape, sorted(rows))))


def fill(attached: attach.Attached, values: Values) -> dict[str, np.ndarray]:
  """The arrays of an attached adapter, by path, filled from a PEFT folder.

  Raises InputError on shapes, and for a copy of the base that is not this base, KeyError naming the place where this
  model has no such adapter.
  """
  arrays: dict[str, np.ndarray] = {}
  places, named = _expansion(attached.module), {type(m).__name__: m.name for m in attached.methods}
  axes = {path: meta["axes"] for path, meta in skeleton.metadata(attached.module).items()}
  if missing := [kind for kind in (*values.leaves, *values.whole) if kind not in named]:
    raise errors.InputError(f"the folder holds {missing[0]}, and this model has {', '.join(named) or 'no method'}")
  if values.untied and attached.module.cfg.tied:
    raise errors.InputError("the folder has an output projection of its own, and this model ties it to its embedding")
  opened_lib.check_copies(attached.params, values.copies)
  for kind, by_site in values.leaves.items():
    for name, leaves in by_site.items():
      site, at = places[name]
      stem = f"{site}/adapters/{named[kind]}"
      stem += "/inner" if f"{stem}/active" in attached.params else ""
      rank = leaves["rank_mask"].size if "rank_mask" in leaves else None
      for leaf, value in leaves.items():
        _put(arrays, attached.params, axes, f"{stem}/{leaf}", at, value, name, rank)
  for kind, bank in values.banks.items():
    arrays |= {f"bank/{named[kind]}_{n}": value for n, value in bank.items()}
  for kind, whole in values.whole.items():
    arrays |= {path.format(name=named[kind]): value for path, value in whole.items()}
  for path, values_at in values.opened.items():
    arrays[path] = np.array(attached.params[path], np.float32)
    for at, value in values_at:
      arrays[path][at] = value
  for path, value in arrays.items():
    if path in attached.params and attached.params[path].shape != value.shape:
      raise errors.InputError(f"{path} is {value.shape} in the folder, {attached.params[path].shape} in this model")
  return arrays


def _put(arrays, params, axes, path, at, value, name, rank: int | None):
  """One layer's array into its stack; ranks that are higher in the stack are filled up with zeros."""
  if path not in arrays:
    arrays[path] = np.zeros_like(_plain(params[path]))
  slot, shape = arrays[path][at].shape, np.shape(value)
  free = [axis == "rank" for axis in axes[path][len(axes[path]) - len(slot) :]]
  fits = len(slot) == len(shape) and all(
    (n <= m and n == (rank or n)) if f else n == m for n, m, f in zip(shape, slot, free, strict=True)
  )
  if not fits:
    raise errors.InputError(f"{name}: {path.rsplit('/', 1)[-1]} is {shape} in the folder, {slot} in this model")
  arrays[path][(*at, *map(slice, shape))] = value


def _modules(model, layout) -> dict[str, str]:
  """The expanded site of every HF module of a model."""
  sites = {}
  for path in skeleton.sites(model):
    module = layout(path)
    if module:
      indices = np.ndindex(*skeleton.lead(path, model.cfg.stacks))
      names = skeleton.expanded(path, model.cfg.stacks)
      sites |= {module.format(*at): name for at, name in zip(indices, names, strict=True)}
  return sites


def _specs(model) -> dict[str, Any]:
  """What a method is told of every single site, by its expanded name."""
  stacks = model.cfg.stacks
  pairs = ((skeleton.expanded(path, stacks), path, node) for path, node in skeleton.sites(model).items())
  return {name: node.spec(path, names) for names, path, node in pairs for name in names}


def _expansion(model) -> dict[str, tuple[str, tuple[int, ...]]]:
  """Expanded site name to (site, index into its stacked axes)."""
  stacks, places = model.cfg.stacks, {}
  for path in skeleton.sites(model):
    indices = np.ndindex(*skeleton.lead(path, stacks))
    places |= {name: (path, at) for name, at in zip(skeleton.expanded(path, stacks), indices, strict=True)}
  return places


def _targets(chosen: list[str], modules: Iterable[str]) -> list[str]:
  """Short names where they name no other module; full module names (which peft matches exactly) otherwise."""
  last = lambda module: module.rsplit(".", 1)[-1]
  short = {last(m) for m in chosen}
  return sorted(short) if {m for m in modules if last(m) in short} == set(chosen) else sorted(chosen)
