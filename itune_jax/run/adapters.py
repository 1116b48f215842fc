"""Saved adapters: run directories, checkpoints and PEFT folders, found, checked against a base, and filled in."""

from collections.abc import Mapping
import contextlib
import dataclasses
import hashlib
import json
import os
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from itune_jax.core import axes as axes_lib
from itune_jax.core import check
from itune_jax.core import digests
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import jsontext
from itune_jax.core import log
from itune_jax.core import rng
from itune_jax.data.render import chat
from itune_jax.models import load as load_lib
from itune_jax.models.hf import layout
from itune_jax.peft import attach
from itune_jax.peft import registry
from itune_jax.peft.combine import mixed
from itune_jax.peft.folders import exchange
from itune_jax.run import specs
from itune_jax.run import user_code
from itune_jax.train import checkpoint
from itune_jax.train import checkpoint_meta


# What of a model, and of how conversations are rendered, an adapter must meet as in training.
_OF_MODEL = ("quant", "chat_template", "special_tokens", "scores")
_OF_PROMPTS = ("template_kwargs", "date")


class Saved(NamedTuple):
  """A saved adapter: its folder (PEFT's, or a committed checkpoint), its methods, and a PEFT folder's arrays."""

  folder: str
  methods: tuple[Any, ...]
  values: exchange.Values | None

  @property
  def untied(self) -> bool:
    """Whether it gives the tied tables of its base weights of their own."""
    return self.values is not None and self.values.untied


def is_peft(path: str) -> bool:
  """Whether this is a folder as peft writes it."""
  return files.exists(os.path.join(path, "adapter_config.json"))


def checkpoint_of(path: str) -> str:
  """The checkpoint behind a run directory (its newest) or a checkpoint folder. Raises InputError if there is none."""
  if files.exists(os.path.join(path, "COMMITTED")):
    return path
  found = checkpoint.committed(os.path.join(path, "checkpoints"))
  if not found:
    raise errors.InputError(f"{path}: no run directory with a committed checkpoint, no checkpoint, and no PEFT folder")
  return found[-1]


def digest(path: str) -> str:
  """What tells a saved adapter from others: its methods and the checksums of its arrays, or the bytes of a PEFT
  folder's files; "" for none. Raises InputError where there is none at the path."""
  if not path:
    return ""
  if is_peft(path):
    names = sorted(name for name in files.names(path) if name.startswith("adapter_"))
    return hashlib.sha256("".join(files.sha256(os.path.join(path, name)) for name in names).encode()).hexdigest()
  folder = checkpoint_of(path)
  meta = _meta(folder)
  if "sums" not in meta:  # an earlier version saved it
    return hashlib.sha256(json.dumps([meta["methods"], _bytes_of(folder)], sort_keys=True).encode()).hexdigest()
  kept = {name: total for name, total in meta.get("sums", {}).items() if name.startswith((".trainable", ".constants"))}
  return hashlib.sha256(json.dumps([meta["methods"], kept], sort_keys=True).encode()).hexdigest()


def _bytes_of(folder: str) -> dict[str, str]:
  """SHA-256 of the files of a checkpoint's arrays."""
  at = os.path.join(folder, "arrays")
  found = [os.path.join(place, name) for place, _, names in os.walk(at) for name in names]
  return {os.path.relpath(path, at): files.sha256(path) for path in sorted(found)}


def methods_of(folder: str) -> tuple[Any, ...]:
  """The methods of a checkpoint, whose modules are imported if they are a user's own. Raises InputError when its
  meta.json cannot be read, or such a module is not there any more."""
  meta = _meta(folder)
  user_code.restore(meta.get("imports", ()))
  with _of_meta(folder):
    return tuple(registry.from_json(m) for m in meta["methods"])


def model_of(path: str) -> specs.Model:
  """The model that a checkpoint (or the newest of a run directory) was trained on. Raises InputError without one."""
  folder = checkpoint_of(path)
  return _rebuilt(specs.Model, _meta(folder)["model"], folder)


def model_behind(model: specs.Model, adapter: str, base: str = "") -> specs.Model:
  """The model that an adapter says it belongs to, where the user named none, or no more than its base: how that is
  packed, its template and its added tokens are then the adapter's.

  Args:
    base: where its base is, when it is not where the adapter says.

  Raises:
    InputError without an adapter, and for one that names no base.
  """
  named = "" if model == specs.Model() else model.base
  if model != specs.Model(base=model.base) or not adapter:
    return dataclasses.replace(model, base=base) if base else model
  if named and not base:
    return model if is_peft(adapter) else dataclasses.replace(model_of(adapter), base=named, config=None)
  if is_peft(adapter):
    return specs.Model(base=base or base_of(adapter))
  found = model_of(adapter)
  return dataclasses.replace(found, base=base) if base else found


def base_of(folder: str) -> str:
  """The base that a PEFT folder names. Raises InputError for one that names none, or one that is not had here."""
  where = os.path.join(folder, "adapter_config.json")
  config = files.read_object(where)
  base, revision = config.get("base_model_name_or_path"), config.get("revision")
  if not isinstance(base, str) or not base:
    raise errors.InputError(f"{where}: base_model_name_or_path is {base!r}: say which base it belongs to (--base)")
  if os.path.isabs(base) and not os.path.exists(base):
    inside = os.path.join(folder, "base")
    if os.path.basename(base) == "base" and os.path.isdir(inside):  # the folder was moved with its base
      return inside
    raise errors.InputError(f"{where}: its base {base} is not there: say where it is now (--base)")
  if revision not in (None, "main") and not os.path.exists(base):
    raise errors.InputError(f"{where}: revision {revision!r} of {base}: fetch it yourself and give its folder (--base)")
  return base


def as_trained(
  model: specs.Model, rendering: chat.Rendering, adapter: str, as_asked: bool = False
) -> tuple[specs.Model, chat.Rendering]:
  """Model and rendering for an adapter: those that it was trained with, where the user named none.

  Args:
    as_asked: whether others are used all the same; each difference is then printed.

  Raises:
    InputError naming what differs: the adapter would meet another base, or other prompts, than in training.
  """
  theirs = model if as_asked and model != specs.Model() else model_behind(model, adapter)
  if not adapter or is_peft(adapter):
    return theirs, rendering
  folder = checkpoint_of(adapter)
  trained, known = model_of(adapter), _meta(folder).get("rendering")  # none in checkpoints of earlier versions
  before = None if known is None else _rebuilt(chat.Rendering, known, folder)
  if before is not None and rendering == chat.Rendering():
    rendering = before
  pairs = {f"Model.{name}": (getattr(trained, name), getattr(theirs, name)) for name in _OF_MODEL}
  if before is not None:
    pairs |= {f"Rendering.{name}": (getattr(before, name), getattr(rendering, name)) for name in _OF_PROMPTS}
  differ = [f"{name} = {there!r} there, {here!r} here" for name, (there, here) in pairs.items() if there != here]
  if differ and not as_asked:
    raise errors.InputError(
      f"{adapter} was trained otherwise: {'; '.join(differ)}. Leave these values out, or give --as_asked to use them"
    )
  for one in differ:
    log.info(f"not as {adapter} was trained: {one}")
  return theirs, rendering


def read(adapter: str, model: specs.Model, path: str) -> Saved:
  """What is saved at `adapter`, for the model whose files are at `path`. Raises InputError when there is nothing."""
  if not is_peft(adapter):
    folder = checkpoint_of(adapter)
    return Saved(folder, methods_of(folder), None)
  cfg = model.config or load_lib.open_source(path).config()
  if model.scores and not getattr(cfg, "scores", 0):
    cfg = dataclasses.replace(cfg, scores=model.scores, tied=False)
  methods, values = exchange.load(adapter, load_lib.skeleton(cfg), layout.Layout.of(cfg))
  return Saved(adapter, tuple(methods), values)


def require_base(saved: Saved, base: load_lib.Base) -> None:
  """Raises InputError where an adapter says that it is of another base: before its methods look for sites in this."""
  (check_base if saved.values is None else check_manifest)(saved.folder, base)


def filled(attached: attach.Attached, saved: Saved, base: load_lib.Base) -> attach.Attached:
  """The attached methods with the arrays that were saved. Raises InputError when they are of another base."""
  if saved.values is not None:
    check_manifest(saved.folder, base)
    return replaced(attached, _placed(attached, exchange.fill(attached, saved.values)))
  arrays = _restored(attached, saved.folder, base)
  checkpoint.require_whole(saved.folder, arrays)
  return replaced(attached, arrays)


def arrays_for(attached: attach.Attached, path: str, base: load_lib.Base) -> dict[str, Any]:
  """Arrays of a saved adapter for methods that are attached already. Raises InputError when they do not fit them."""
  if not is_peft(path):
    return _restored(attached, checkpoint_of(path), base)
  ours = next(iter(attach.on_sites(attached.methods)), None)
  if ours is None:
    raise errors.InputError(f"{path} holds an adapter, but this run attaches none")
  _, values = exchange.load(path, base.module, layout.Layout.of(base.cfg))
  try:
    return _placed(attached, exchange.fill(attached, values))
  except KeyError as e:
    raise errors.InputError(f"{path}: this run's {type(ours).__name__} has no adapter at {e}") from None


def say_packing(path: str, model: specs.Model) -> None:
  """Says where a run starts from an adapter whose base was packed otherwise than its own."""
  if is_peft(path) or (there := model_of(path).quant) == model.quant:
    return
  kinds = ["not packed" if quant is None else f"packed ({quant.kind})" for quant in (there, model.quant)]
  log.info(
    f"WARM_START: the base of {path} was {kinds[0]}, that of this run is {kinds[1]}: it starts a little beside it"
  )


def checkpointed(attached: attach.Attached) -> dict[str, Any]:
  """What a checkpoint brings to a base: the arrays that train, and constants that could not be made again."""
  names = [*sorted(attached.trainable), *sorted(attached.constants)]
  return {name: attached.params[name] for name in names}


def replaced(attached: attach.Attached, arrays: Mapping[str, Any]) -> attach.Attached:
  """The same methods with some arrays replaced."""
  return dataclasses.replace(attached, params={**attached.params, **arrays})


def check_base(folder: str, base: load_lib.Base) -> None:
  """Raises InputError when a checkpoint was trained on another base."""
  meta = _meta(folder)
  if meta["base_digest"] != base.digest:
    old = (
      "" if str(meta["base_digest"]).startswith("2-") else "; or it was saved by an earlier version, which knew less"
    )
    raise errors.InputError(f"{folder} was trained on another base model ({meta['base']}), not on {base.uri}{old}")


def check_manifest(folder: str, base: load_lib.Base) -> None:
  """Raises InputError when a PEFT folder was exported here, of another base."""
  path = os.path.join(folder, "export_manifest.json")
  if not files.exists(path):
    return
  manifest = files.read_object(path)
  known = [digest for digest in (manifest.get("base_digest"), *manifest.get("base_digests", [])) if digest]
  comparable = [digest for digest in known if str(digest).startswith(f"{digests.VERSION}-")]
  if comparable and base.digest not in comparable:
    raise errors.InputError(
      f"{folder} was exported for another base model ({manifest.get('base')}), not for {base.uri}"
    )


def identity(
  model: specs.Model, base: load_lib.Base, methods: tuple[Any, ...], rendering: chat.Rendering
) -> dict[str, Any]:
  """What a checkpoint says of its model: base and how that is packed, template, rendering, methods, and the modules of
  a user's own that make those.

  Raises InputError for a method that nobody could make again of what the checkpoint says.
  """
  kinds = [type(m) for m in methods] + list(registry.METHODS.values())
  fields = dataclasses.asdict(model)
  names = ("base", "config", "chat_template", "seed", "quant", "special_tokens", "scores")
  return {
    "base": model.base if model.config is None else base.uri,
    "base_digest": base.digest,
    "model": {name: fields[name] for name in names},
    "rendering": dataclasses.asdict(rendering),
    "methods": [_again(m) for m in methods],
    "imports": user_code.remembered([kind.__module__ for kind in kinds]),
  }


def _again(method: Any) -> dict[str, Any]:
  """A method as data. Raises InputError when the data does not make it again: then no checkpoint could be read."""
  data = registry.to_json(method)
  try:
    same = registry.from_json(json.loads(json.dumps(data))) == method
  except (TypeError, ValueError) as e:
    raise errors.InputError(f"{data['type']} cannot be saved, so it is not trained: {e}") from None
  check.require(
    same, f"{data['type']} cannot be saved, so it is not trained: what JSON holds of its fields makes another"
  )
  return data


def side_by_side(
  model: specs.Model, base: load_lib.Base, adapters: Mapping[str, str], mesh: Mesh, rules: axes_lib.Rules
) -> attach.Attached:
  """A base with several saved adapters, one of them for each row of a batch (`peft.combine.mixed`).

  Args:
    adapters: run directories, checkpoints or PEFT folders by the names that rows will give.

  Raises:
    InputError when one is not there or of another base, and for what cannot differ from row to row.
  """
  path, found = specs.resolve(model.base), {}
  for label, adapter in adapters.items():
    saved = read(adapter, model, path)
    attached = attach.attach(base.module, base.params, saved.methods, rng.root(0), mesh=mesh, rules=rules)
    found[label] = filled(attached, saved, base)
  return mixed.combine(base.module, base.params, found, mesh=mesh, rules=rules)


def _meta(folder: str) -> dict[str, Any]:
  """What a checkpoint says of itself. Raises InputError when it says less than that."""
  return checkpoint_meta.read(folder, ("base", "base_digest", "model", "methods"))


def _rebuilt(kind: type, fields: dict[str, Any], folder: str) -> Any:
  """A value as a checkpoint has it. Raises InputError, naming its file, for what makes none."""
  with _of_meta(folder):
    return check.rebuild(kind, fields)


@contextlib.contextmanager
def _of_meta(folder: str):
  path = os.path.join(folder, checkpoint_meta.FILE)
  try:
    yield
  except errors.InputError as e:
    raise errors.InputError(f"{path}: {e}") from None
  except (TypeError, ValueError, LookupError, AttributeError) as e:
    raise errors.InputError(f"{path}: is damaged ({jsontext.said(e)})") from None


def _restored(attached: attach.Attached, folder: str, base: load_lib.Base) -> dict[str, Any]:
  check_base(folder, base)
  return checkpoint.restore_trainable(folder, checkpointed(attached))


def _placed(attached: attach.Attached, arrays: Mapping[str, Any]) -> dict[str, Any]:
  like = attached.params
  return {n: jax.device_put(a.astype(like[n].dtype), like[n].sharding) for n, a in arrays.items()}
