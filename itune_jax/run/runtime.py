"""What every command builds from its values: mesh, tokenizer, base, adapters, engine."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import functools
import json
import math
import os
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import Mesh
from rich import progress
import rich.console

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import foreign
from itune_jax.core import log
from itune_jax.core import numerics
from itune_jax.core import rng
from itune_jax.core import tree
from itune_jax.data import tokenised
from itune_jax.data.render import chat
from itune_jax.data import feed as feed_lib
from itune_jax.data.render import images as images_lib
from itune_jax.data import mixture as mixture_lib
from itune_jax.data.render import tokenizer as tokenizer_lib
from itune_jax.parallel import hosts
from itune_jax.parallel import mesh as mesh_lib
from itune_jax.models.hf import layout
from itune_jax.models import load as load_lib
from itune_jax.models import view
from itune_jax.models import vlm
from itune_jax.nn import stack
from itune_jax.nn import skeleton
from itune_jax.peft import attach
from itune_jax.peft.folders import exchange
from itune_jax.peft import registry
from itune_jax.peft.combine import mixed
from itune_jax.peft.methods import tokens as tokens_lib
from itune_jax.run import calibrate
from itune_jax.run import specs
from itune_jax.sampling import engine as engine_lib
from itune_jax.train import checkpoint


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
  def adapter(self) -> dict[str, Any]:
    """What a checkpoint brings to a base."""
    return {**self.trainable, **self.constants}

  @property
  def frozen(self) -> dict[str, Any]:
    """All others."""
    return {n: v for n, v in self.attached.params.items() if n not in self.attached.trainable}

  def with_arrays(self, arrays: Mapping[str, Any]) -> "Session":
    """The same model with some arrays replaced."""
    return dataclasses.replace(
      self, attached=dataclasses.replace(self.attached, params={**self.attached.params, **arrays})
    )

  def with_attached(self, attached: attach.Attached) -> "Session":
    """The same base with other methods."""
    binder = view.Binder.of(attached.module, self.mesh, self.rules, self.binder.compute)
    return dataclasses.replace(self, attached=attached, binder=binder, labels=())

  def require_one(self, what: str) -> None:
    """Raises InputError for a model whose rows take different adapters."""
    if self.labels:
      raise errors.InputError(f"{what} takes one adapter, this model has {', '.join(self.labels)}: load it with one")

  def renderer(self, rendering: chat.Rendering) -> chat.Renderer:
    """Renders conversations for this model."""
    return chat.Renderer(self.tokenizer, rendering, self.images)

  def numbers(self, names: Sequence[str | None] | None, rows: int) -> list[int] | None:
    """Each row's adapter by number, by the labels' names; None is the base alone. Raises InputError for others."""
    if names is None:
      return None
    unknown = sorted({str(name) for name in names if name is not None and name not in self.labels})
    if unknown or len(names) != rows:
      known = ", ".join(self.labels) or "none (Model.with_adapters gives names)"
      raise errors.InputError(f"{rows} rows take {rows} adapters' names, or None: got {len(names)}; adapters: {known}")
    return [mixed.NONE if name is None else self.labels.index(name) for name in names]

  def engine(self, progress=lambda n: None) -> engine_lib.Engine:
    """Generation and scoring of this model."""
    text = functools.partial(self.tokenizer.decode, skip_special_tokens=True)
    ends = self.base.cfg.max_length, tokenizer_lib.end_ids(self.tokenizer)
    return engine_lib.Engine(self.binder, self.attached.params, *ends, progress, text)


def start(cluster: str = "") -> None:
  """Joins the cluster, if there is one (`hosts.connect`), and sets up JAX: first thing in a command."""
  if cluster:
    hosts.connect(cluster)
  configure_jax()


def result(figures: Mapping[str, Any]) -> None:
  """Prints what a command found, as the last line of stdout of the lead process."""
  if log.is_lead():
    print(json.dumps(figures), flush=True)


def configure_jax() -> None:
  """The persistent compilation cache (where JAX_COMPILATION_CACHE_DIR says, if set), whatever the compile time.

  Not on several CPU devices: a program that XLA reads back from it there has lost the order of its collectives, and its
  devices wait for each other for ever (jax 0.10.2; the same program, compiled, never does).
  """
  foreign.keep_in(os.path.join(specs.cache_dir(), "native"))
  if several_cpu_devices():
    jax.config.update("jax_enable_compilation_cache", False)
    return
  if not jax.config.jax_compilation_cache_dir:
    jax.config.update("jax_compilation_cache_dir", os.path.join(specs.cache_dir(), "xla"))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def multiply_as(precision: numerics.Precision) -> None:
  """float32 is multiplied as float32 where it is what computes, not by the shorter operands of matrix units. It holds
  for the process: of sessions in float32 the last one decides."""
  if precision.compute == "float32":
    jax.config.update("jax_default_matmul_precision", precision.matmul)


def several_cpu_devices() -> bool:
  """Whether programs may span CPU devices, of this process or several."""
  return jax.default_backend() == "cpu" and jax.device_count() > 1


@contextlib.contextmanager
def uncached() -> Iterator[None]:
  """Compiles without the persistent cache, whose entries for chips that are not there cannot be read."""
  before = jax.config.jax_enable_compilation_cache
  jax.config.update("jax_enable_compilation_cache", False)
  compilation_cache.reset_cache()
  try:
    yield
  finally:
    jax.config.update("jax_enable_compilation_cache", before)
    compilation_cache.reset_cache()


def open_tokenizer(model: specs.Model) -> Any:
  """The tokenizer of a model, and its template."""
  return tokenizer_lib.load(specs.resolve(model.base), model.chat_template or None, model.special_tokens)


def open_renderer(model: specs.Model, rendering: chat.Rendering) -> chat.Renderer:
  """Renders conversations for a model that is not loaded."""
  path = specs.resolve(model.base)
  cfg = model.config or (load_lib.open_source(path).config() if os.path.isdir(path) else None)
  return chat.Renderer(open_tokenizer(model), rendering, _images(path, cfg))


def _images(path: str, cfg: Any) -> images_lib.Images | None:
  """How a model takes images, if it does."""
  if not isinstance(cfg, vlm.VlmConfig):
    return None
  return images_lib.load(path, token=cfg.image_token, patches=cfg.vision.patches, size=cfg.vision.size)


def open_session(
  model: specs.Model,
  methods: Sequence[Any] = (),
  *,
  mesh: mesh_lib.MeshSpec | mesh_lib.Auto = mesh_lib.MeshSpec(),
  precision: numerics.Precision = numerics.Precision(),
  remat: stack.Remat = stack.Remat(),
  seed: int = 0,
  adapter: str = "",
) -> Session:
  """Loads a base model onto the mesh and attaches methods, or those of a saved adapter with its arrays.

  Args:
    adapter: a run directory, a checkpoint, or a PEFT folder; its methods replace `methods`.
  """
  devices = mesh.make()
  if jax.default_backend() != "cpu":  # a CPU knows no other way
    multiply_as(precision)
  path = specs.resolve(model.base)
  tokenizer = tokenizer_lib.load(path, model.chat_template or None, model.special_tokens)
  pairs = None
  if adapter:
    methods, pairs = _methods_of(adapter, model, path)
  elif model.special_tokens:
    ids = sorted(map(int, tokenizer.convert_tokens_to_ids(list(model.special_tokens))))
    methods = (*methods, tokens_lib.Tokens(ids=tuple(ids)))
  dtypes = dtypes_of(methods, precision)
  if model.config is None:
    with log.timed(f"loaded {model.base}"):
      base = _load_with_bar(path, mesh=devices, rules=mesh.rules, dtypes=dtypes, remat=remat, quantised=model.quant)
    if model.quant is not None:
      log.info(_footprint(base, model.quant.kind))
  else:
    base = load_lib.initialise(
      model.config, seed=model.seed, mesh=devices, rules=mesh.rules, dtypes=dtypes, remat=remat
    )
  added = [i for m in methods if isinstance(m, tokens_lib.Tokens) for i in m.ids]
  if max(base.cfg.vocab, *added, 0) < len(tokenizer) - bool(added):
    raise errors.InputError(f"the tokenizer of {model.base} has {len(tokenizer)} tokens, the model {base.cfg.vocab}")
  again = lambda: load_lib.load(path, mesh=devices, rules=mesh.rules, dtypes=dtypes, remat=remat)
  attached = attach.attach(
    base.module,
    base.params,
    methods,
    rng.named(rng.root(seed), "peft"),
    mesh=devices,
    rules=mesh.rules,
    dtype=precision.trained,
    statistics={} if adapter else calibrate.residuals(base, methods, again),
  )
  binder = view.Binder.of(attached.module, devices, mesh.rules, precision.compute)
  session = Session(model, devices, mesh.rules, tokenizer, base, attached, binder, _images(path, base.cfg))
  return _filled(session, adapter, pairs) if adapter else session


def _filled(session: Session, adapter: str, pairs) -> Session:
  """The session with a saved adapter's arrays; `pairs` are those of a PEFT folder."""
  if pairs is not None:
    return session.with_arrays(_placed(session.attached, exchange.fill(session.attached, pairs)))
  folder = checkpoint_of(adapter)
  check_base(folder, session.base)
  return session.with_arrays(checkpoint.restore_trainable(folder, session.adapter))


def with_adapters(session: Session, adapters: Mapping[str, str]) -> Session:
  """The session's base with several saved adapters, one of them for each row of a batch (`peft.mixed`).

  Args:
    adapters: run directories, checkpoints or PEFT folders by the names that rows will give.
  """
  base, found = session.base, {}
  on = dict(mesh=session.mesh, rules=session.rules)
  for label, adapter in adapters.items():
    methods, pairs = _methods_of(adapter, session.model, specs.resolve(session.model.base))
    attached = attach.attach(base.module, base.params, methods, rng.root(0), **on)
    found[label] = _filled(session.with_attached(attached), adapter, pairs).attached
  both = mixed.combine(base.module, base.params, found, **on)
  return dataclasses.replace(session.with_attached(both), labels=tuple(adapters))


def packed_weights(base: load_lib.Base) -> tuple[dict[str, Any], int]:
  """The arrays of a base's packed kernels, and how many weights they stand for."""
  packed = {name: value for name, value in base.params.items() if "/kernel/" in name}
  names = {name.split("/kernel/")[0] for name in packed}
  nodes = {name: node for name, node in skeleton.sites(base.module).items() if name in names}
  return packed, sum(math.prod((*skeleton.lead(n, base.cfg.stacks), *node.core_shape)) for n, node in nodes.items())


def _footprint(base: load_lib.Base, kind: str) -> str:
  """What the packed kernels weigh."""
  packed, values = packed_weights(base)
  bits = 8 * tree.nbytes(packed) / values
  return (
    f"{kind}: {values:,} weights of the frozen base in {tree.nbytes(packed) / 2**20:,.1f} MiB ({bits:.2f} bits each)"
  )


def _load_with_bar(path: str, **how) -> load_lib.Base:
  """Loads a base; a bar appears when it takes longer than a moment."""
  columns = (progress.TextColumn("loading"), progress.BarColumn(), progress.TaskProgressColumn())
  with progress.Progress(*columns, console=rich.console.Console(stderr=True), transient=True) as bar:
    task = bar.add_task("load", total=None)
    return load_lib.load(path, progress=lambda done, total: bar.update(task, completed=done, total=total), **how)


def adapter_arrays(session: Session, folder: str) -> dict[str, Any]:
  """Arrays of a PEFT folder for methods that are already attached. Raises InputError when they do not fit them."""
  ours = next((m for m in session.attached.methods if getattr(m, "sites", None)), None)
  if ours is None:
    raise errors.InputError(f"{folder} holds an adapter, but this run attaches none")
  _, values = exchange.load(folder, session.base.module, layout.Layout.of(session.base.cfg))
  try:
    return _placed(session.attached, exchange.fill(session.attached, values))
  except KeyError as e:
    raise errors.InputError(f"{folder}: this run's {type(ours).__name__} has no adapter at {e}") from None


def _placed(attached, arrays):
  like = attached.params
  return {n: jax.device_put(a.astype(like[n].dtype), like[n].sharding) for n, a in arrays.items()}


def checkpoint_of(path: str) -> str:
  """The checkpoint behind a run directory (its newest) or a checkpoint folder. Raises InputError if there is none."""
  if files.exists(os.path.join(path, "COMMITTED")):
    return path
  found = checkpoint.committed(os.path.join(path, "checkpoints"))
  if not found:
    raise errors.InputError(f"{path}: no run directory with a committed checkpoint, no checkpoint, and no PEFT folder")
  return found[-1]


def model_behind(model: specs.Model, adapter: str) -> specs.Model:
  """The model that an adapter says it belongs to, where the user named none."""
  if model != specs.Model() or not adapter:
    return model
  peft_config = os.path.join(adapter, "adapter_config.json")
  if files.exists(peft_config):
    base = files.read_json(peft_config).get("base_model_name_or_path") or model.base
    return specs.Model(base=base)
  return check.rebuild(specs.Model, files.read_json(os.path.join(checkpoint_of(adapter), "meta.json"))["model"])


def check_base(folder: str, base: load_lib.Base) -> None:
  """Raises InputError when a checkpoint was trained on another base."""
  meta = files.read_json(os.path.join(folder, "meta.json"))
  if meta["base_digest"] != base.digest:
    raise errors.InputError(f"{folder} was trained on another base model ({meta['base']}), not on {base.uri}")


def identity(session: Session) -> dict[str, Any]:
  """What a checkpoint says of the model it belongs to."""
  model = dataclasses.asdict(session.model)
  return {
    "base": session.model.base if session.model.config is None else session.base.uri,
    "base_digest": session.base.digest,
    "model": {
      "base": model["base"],
      "config": model["config"],
      "chat_template": model["chat_template"],
      "seed": model["seed"],
      "quant": model["quant"],
      "special_tokens": model["special_tokens"],
    },
    "methods": [registry.to_json(m) for m in session.attached.methods],
  }


def open_feed(
  mixture: mixture_lib.Mixture,
  renderer: chat.Renderer,
  packing: feed_lib.Packing,
  seed: int,
  rows: Sequence[int] | None = None,
) -> tuple[feed_lib.Feed, dict[str, Any]]:
  """The feed of these rows of a batch over a prepared mixture, and its manifest. Raises InputError if not prepared."""
  root = specs.cache_dir()
  path = tokenised.mixture_file(root, tokenised.mixture_key(mixture, renderer))
  if not os.path.exists(path):
    raise errors.InputError(
      f"the mixture {mixture.name} is not prepared for this tokenizer and rendering: `itune prepare` it first"
    )
  manifest = files.read_json(path)
  sources = {s["name"]: tokenised.CachedSource(tokenised.source_folder(root, s["key"])) for s in manifest["sources"]}
  return feed_lib.Feed(sources, manifest["rates"], packing, seed=seed, rows=rows), manifest


def dtypes_of(methods: Sequence[Any], precision: numerics.Precision) -> load_lib.Dtypes:
  """Base parameters that a method opens are master weights; the rest are frozen."""

  def of(names):
    opened = {name for m in methods if hasattr(m, "opens") for name in m.opens(names)}
    return {name: precision.trained if name in opened else precision.frozen for name in names}

  return of


def methods_of(folder: str) -> tuple[Any, ...]:
  """The methods of a checkpoint."""
  return tuple(registry.from_json(m) for m in files.read_json(os.path.join(folder, "meta.json"))["methods"])


def _methods_of(adapter: str, model: specs.Model, path: str):
  if files.exists(os.path.join(adapter, "adapter_config.json")):
    cfg = model.config or load_lib.open_source(path).config()
    return exchange.load(adapter, load_lib.skeleton(cfg), layout.Layout.of(cfg))
  return methods_of(checkpoint_of(adapter)), None
