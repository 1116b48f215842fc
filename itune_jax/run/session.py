"""A session: what every command builds from its values. Mesh, tokenizer, base, adapters, engine, feed."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import os
from typing import Any

import jax
from jax.sharding import Mesh

from itune_jax.core import batch as batch_lib
from itune_jax.core import check
from itune_jax.core import conversation
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import numerics
from itune_jax.core import rng
from itune_jax.data import feed as feed_lib
from itune_jax.data import grain_feed
from itune_jax.data import made
from itune_jax.data import mixture as mixture_lib
from itune_jax.data import pinned_mixture
from itune_jax.data import stored_beside
from itune_jax.data import stored_reference
from itune_jax.data import stored_teacher
from itune_jax.data import tokenised
from itune_jax.data.render import chat
from itune_jax.data.render import images as images_lib
from itune_jax.data.render import tokenizer as tokenizer_lib
from itune_jax.models import decoder
from itune_jax.models import encdec
from itune_jax.models import load as load_lib
from itune_jax.models import view
from itune_jax.models import vlm
from itune_jax.nn import stack
from itune_jax.parallel import mesh as mesh_lib
from itune_jax.peft import attach
from itune_jax.peft.methods import tokens as tokens_lib
from itune_jax.run import adapters as adapters_lib
from itune_jax.run import calibrate
from itune_jax.run import loading
from itune_jax.run import process
from itune_jax.run import specs
from itune_jax.run import views
from itune_jax.sampling import engine as engine_lib
from itune_jax.sampling.decode import decode as decode_lib
from itune_jax.sampling.responders import on_mesh


@dataclasses.dataclass(frozen=True)
class Session:
  """A model on a mesh with its methods, and its tokenizer."""

  model: specs.Model
  mesh: Mesh
  rules: Mapping[str, tuple[str, ...]]
  tokenizer: Any
  base: load_lib.Base
  attached: attach.Attached
  binder: view.Binder
  images: images_lib.Images | None
  labels: tuple[str, ...] = ()  # of several adapters of which each row takes one

  @property
  def trainable(self) -> dict[str, Any]:
    """The arrays that train."""
    return {n: self.attached.params[n] for n in sorted(self.attached.trainable)}

  @property
  def constants(self) -> dict[str, Any]:
    """Adapters' arrays that do not train and could not be made again."""
    return {n: self.attached.params[n] for n in sorted(self.attached.constants)}

  @property
  def frozen(self) -> dict[str, Any]:
    """All that does not train."""
    return {n: v for n, v in self.attached.params.items() if n not in self.attached.trainable}

  def identity(self, rendering: chat.Rendering) -> dict[str, Any]:
    """What a checkpoint says of this model, trained on conversations rendered so."""
    return adapters_lib.identity(self.model, self.base, self.attached.methods, rendering)

  def with_arrays(self, arrays: Mapping[str, Any]) -> "Session":
    """The same model with some arrays replaced."""
    return dataclasses.replace(self, attached=adapters_lib.replaced(self.attached, arrays))

  def with_attached(self, attached: attach.Attached) -> "Session":
    """The same base with other methods."""
    binder = view.Binder.of(attached.module, self.mesh, self.rules, self.binder.compute)
    return dataclasses.replace(self, attached=attached, binder=binder, labels=())

  def without_methods(self) -> "Session":
    """The base alone."""
    return self.with_attached(attach.Attached(self.base.module, dict(self.base.params), frozenset(), ()))

  def with_adapters(self, adapters: Mapping[str, str]) -> "Session":
    """The same base with several saved adapters by name. Raises InputError as `adapters.side_by_side` does."""
    together = adapters_lib.side_by_side(self.model, self.base, adapters, self.mesh, self.rules)
    return dataclasses.replace(self.with_attached(together), labels=tuple(adapters))

  def require_one(self, what: str) -> None:
    """Raises InputError for a model whose rows take different adapters."""
    if self.labels:
      raise errors.InputError(f"{what} takes one adapter, this model has {', '.join(self.labels)}: load it with one")

  def renderer(self, rendering: chat.Rendering) -> chat.Renderer:
    """Renders conversations for this model."""
    alone = one_answer(self.base.cfg)
    return chat.Renderer(self.tokenizer, rendering, self.images, ends=self.base.ends, one_answer=alone)

  def engine(self, progress: Callable[[int], None] = lambda n: None) -> engine_lib.Engine:
    """Generation and scoring of ids."""
    ends = tuple(dict.fromkeys((*self.base.ends, *tokenizer_lib.end_ids(self.tokenizer))))
    scores = bool(getattr(self.base.cfg, "scores", 0))
    return engine_lib.Engine(self.binder, self.attached.params, self.base.cfg.max_length, ends, progress, scores=scores)

  def responder(
    self, renderer: conversation.Renderer, decode: decode_lib.Decode = decode_lib.Decode()
  ) -> on_mesh.MeshResponder:
    """This model as somebody who answers conversations and scores text. Raises InputError for a reward model."""
    if getattr(self.base.cfg, "scores", 0):
      raise errors.InputError(f"{self.model.base} is a reward model, which writes no text: `itune reward` asks it")
    return on_mesh.MeshResponder(self.engine(), renderer, decode, self.labels)


def open_session(
  model: specs.Model,
  methods: Sequence[Any] = (),
  *,
  mesh: mesh_lib.MeshSpec | mesh_lib.Auto | mesh_lib.Same = mesh_lib.MeshSpec(),
  precision: numerics.Precision = numerics.Precision(),
  remat: stack.Remat = stack.Remat(),
  seed: int = 0,
  adapter: str = "",
  tokenizer: Any = None,
) -> Session:
  """Loads a base model onto the mesh and attaches methods, or those of a saved adapter with its arrays.

  Args:
    adapter: a run directory, a checkpoint, or a PEFT folder; its methods replace `methods`.
    tokenizer: the model's own, where it is loaded already.

  Raises:
    InputError when the model or the adapter cannot be had, or do not fit each other, the tokenizer, or the mesh.
  """
  devices = mesh.make()
  if jax.default_backend() != "cpu":  # a CPU knows no other way
    process.multiply_as(precision)
  path = specs.resolve(model.base)
  tokenizer = loading.tokenizer(model, path) if tokenizer is None else tokenizer
  saved = adapters_lib.read(adapter, model, path) if adapter else None
  methods = _with_tokens(methods, model, tokenizer) if saved is None else saved.methods
  place = loading.Place(devices, mesh.rules, loading.dtypes_of(methods, precision), remat)
  base = loading.base(model, path, place, untied=saved is not None and saved.untied)
  if saved is not None:
    adapters_lib.require_base(saved, base)
  _check_vocabulary(model, base, tokenizer, methods)
  attached = attach.attach(
    base.module,
    base.params,
    methods,
    rng.named(rng.root(seed), "peft"),
    mesh=devices,
    rules=mesh.rules,
    dtype=precision.trained,
    statistics={} if adapter else calibrate.residuals(base, methods, lambda: place.load(path)),
  )
  if saved is not None:
    attached = adapters_lib.filled(attached, saved, base)
  binder = view.Binder.of(attached.module, devices, mesh.rules, precision.compute)
  return Session(model, devices, mesh.rules, tokenizer, base, attached, binder, _images(path, base.cfg))


def beside(session: Session, remat: stack.Remat) -> views.Policy:
  """What the views of an objective are made beside, of a loaded model."""

  def opened(asked: views.Model) -> views.Other:
    mesh = mesh_lib.Same(session.mesh, {**session.rules, **asked.rules})
    other = open_session(asked.model, mesh=mesh, precision=asked.precision, remat=remat, adapter=asked.adapter)
    identity = tokenizer_lib.digest(other.tokenizer)
    return views.Other(other.binder, other.attached.params, identity, other.tokenizer.get_vocab)

  def on_base(adapters: Mapping[str, str]) -> tuple[view.Binder, Mapping[str, Any]]:
    together = adapters_lib.side_by_side(session.model, session.base, adapters, session.mesh, session.rules)
    return view.Binder.of(together.module, session.mesh, session.rules, session.binder.compute), together.params

  attached, tokenizer = session.attached, tokenizer_lib.digest(session.tokenizer)
  own = (session.base, session.binder, attached.params, attached.trainable, tokenizer)
  return views.Policy(*own, opened, on_base, session.tokenizer.get_vocab)


def images_of(path: str) -> images_lib.Images | None:
  """How the model of a Hugging Face folder takes images, if it does."""
  return _images(path, load_lib.open_source(path).config())


def one_answer_of(path: str) -> bool:
  """Whether the model of a Hugging Face folder wants one answer a row (`one_answer`)."""
  return one_answer(load_lib.open_source(path).config())


def prepared(mixture: mixture_lib.Mixture, renderer: chat.Renderer) -> str:
  """The file of a prepared mixture's manifest, "" for a dataset of Grain, which is read as it is trained on.

  Raises InputError if it is not prepared, or a pinned one is not what its manifest says.
  """
  if mixture.grain:
    return ""
  if mixture.manifest:
    pinned_mixture.read(mixture.manifest, renderer)
    return mixture.manifest
  path = tokenised.mixture_file(specs.cache_dir(), tokenised.mixture_key(mixture, renderer))
  if not os.path.exists(path):
    raise errors.InputError(
      f"the mixture {mixture.name} is not prepared for this tokenizer, rendering and validation: run `itune prepare` "
      "with the same recipe and values first"
    )
  return path


def live_manifest(mixture: mixture_lib.Mixture) -> dict[str, Any]:
  """The manifest of a mixture of which nothing is prepared."""
  return {"name": mixture.name, "rates": {}, "sources": [], "grain": mixture.grain}


def open_feed(
  mixture: mixture_lib.Mixture,
  renderer: chat.Renderer,
  packing: feed_lib.Packing,
  seed: int,
  rows: Sequence[int] | None = None,
  columns: Sequence[batch_lib.Column] = (),
  reference: stored_reference.Of | None = None,
  taught: Sequence[str] = (),
  teacher: stored_teacher.Of | None = None,
) -> tuple[feed_lib.Packed, dict[str, Any]]:
  """The feed of these rows of a batch over a prepared mixture, and its manifest.

  columns: what batches get of the sources' columns. reference: whose stored log-probs they get beside. taught: sources
  whose number in this order stands in the column `source`. teacher: whose likeliest tokens they get. Raises InputError
  if the mixture is not prepared, or lacks a column.
  """
  if mixture.grain:
    check.require(
      not columns, f"Mixture {mixture.name}: the objective reads columns, which a dataset of Grain has none of"
    )
    how: dict[str, Any] = dict(seed=seed, rows=rows, refuses=mixture.bad_rows == "refuse")
    return grain_feed.GrainFeed(mixture.name, mixture.grain, renderer, packing, **how), live_manifest(mixture)
  sources, columns, manifest = open_sources(mixture, renderer, seed, columns, reference, taught, teacher)
  feed = feed_lib.Feed(sources, manifest["rates"], packing, seed=seed, rows=rows, columns=columns)
  return feed, manifest


def open_sources(
  mixture: mixture_lib.Mixture,
  renderer: chat.Renderer,
  seed: int,
  columns: Sequence[batch_lib.Column] = (),
  reference: stored_reference.Of | None = None,
  taught: Sequence[str] = (),
  teacher: stored_teacher.Of | None = None,
) -> tuple[dict[str, tokenised.Examples], tuple[batch_lib.Column, ...], dict[str, Any]]:
  """The sources of a prepared mixture, the columns that batches get of them, and the manifest; as `open_feed`."""
  root, path = specs.cache_dir(), prepared(mixture, renderer)
  manifest = files.read_json(path)
  sources: dict[str, tokenised.Examples] = {
    s["name"]: tokenised.CachedSource(
      pinned_mixture.folder_of(path, s["key"]) if mixture.manifest else tokenised.source_folder(root, s["key"])
    )
    for s in manifest["sources"]
  }
  if reference is not None:
    sources = _with_reference(sources, manifest, columns, seed, reference)
    columns = (*columns, stored_reference.REFERENCE)
  if teacher is not None:
    sources = _with_teacher(sources, manifest, columns, seed, teacher)
  if taught:
    sources = made.numbered(made.wrapped(sources, columns, seed), taught)
    columns = (*columns, made.SOURCE)
  return sources, tuple(columns), manifest


def _with_reference(sources, manifest, columns, seed: int, of: stored_reference.Of):
  """The sources with what the feed puts beside their examples, and with a reference's stored log-probs."""
  made.check_labels(sources, columns)
  beside, keys = stored_reference.beside(tuple(columns), seed), {s["name"]: s["key"] for s in manifest["sources"]}
  found = {}
  for name, source in made.wrapped(sources, columns, seed).items():
    folder = stored_reference.find(specs.cache_dir(), keys[name], of, beside, name)
    found[name] = stored_reference.WithReference(source, folder)
  return found


def _with_teacher(sources, manifest, columns, seed: int, of: stored_teacher.Of):
  """The sources with a teacher's likeliest tokens."""
  beside, keys = stored_reference.beside(tuple(columns), seed), {s["name"]: s["key"] for s in manifest["sources"]}
  found = {}
  for name, source in sources.items():
    folder = stored_beside.find(specs.cache_dir(), stored_teacher.KIND, keys[name], of, beside, name)
    found[name] = stored_teacher.WithTeacher(source, folder)
  return found


def _with_tokens(methods: Sequence[Any], model: specs.Model, tokenizer: Any) -> tuple[Any, ...]:
  """The methods, and one that trains the rows of the tokens that the user added."""
  if not model.special_tokens:
    return tuple(methods)
  ids = sorted(map(int, tokenizer.convert_tokens_to_ids(list(model.special_tokens))))
  return (*methods, tokens_lib.Tokens(ids=tuple(ids)))


def _check_vocabulary(model: specs.Model, base: load_lib.Base, tokenizer: Any, methods: Sequence[Any]) -> None:
  added = [i for m in methods if isinstance(m, tokens_lib.Tokens) for i in m.ids]
  if isinstance(tokenizer, loading.NoTokenizer):
    return
  if max(base.cfg.vocab, *added, 0) < len(tokenizer) - bool(added):
    raise errors.InputError(f"the tokenizer of {model.base} has {len(tokenizer)} tokens, the model {base.cfg.vocab}")


def one_answer(cfg: Any) -> bool:
  """Whether a model reads all that stands in front of an answer both ways, so that a row holds one answer."""
  return isinstance(cfg, encdec.EncDecConfig) or (isinstance(cfg, decoder.DecoderConfig) and cfg.prefix_lm)


def _images(path: str, cfg: Any) -> images_lib.Images | None:
  """How a model takes images, if it does."""
  if not isinstance(cfg, vlm.VlmConfig):
    return None
  return images_lib.load(path, token=cfg.image_token, patches=cfg.vision.patches, size=cfg.vision.size)
