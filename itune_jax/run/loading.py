"""The base model of a session: loaded with a bar or made at random, in the types that its methods ask for."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
import os
from typing import Any

from jax.sharding import Mesh

from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.core import numerics
from itune_jax.core import tree
from itune_jax.data.render import tokenizer as tokenizer_lib
from itune_jax.models import load as load_lib
from itune_jax.models import reward_head
from itune_jax.nn import skeleton
from itune_jax.nn import stack
from itune_jax.run import console
from itune_jax.run import specs


@dataclasses.dataclass(frozen=True)
class Place:
  """Where the arrays of a base go, and as what."""

  mesh: Mesh
  rules: Mapping[str, tuple[str, ...]]
  dtypes: load_lib.Dtypes
  remat: stack.Remat

  def load(self, path: str, **more: Any) -> load_lib.Base:
    """The weights at a path. Raises InputError for what is no model (`models.load.load`)."""
    return load_lib.load(path, mesh=self.mesh, rules=self.rules, dtypes=self.dtypes, remat=self.remat, **more)

  def initialise(self, cfg: Any, seed: int) -> load_lib.Base:
    """Random weights."""
    return load_lib.initialise(cfg, seed=seed, mesh=self.mesh, rules=self.rules, dtypes=self.dtypes, remat=self.remat)


class NoTokenizer:
  """In place of a tokenizer that is not there: logits need none, and whoever asks for text is told."""

  def __init__(self, path: str):
    self._path = path

  def __getattr__(self, name: str) -> Any:
    raise errors.InputError(f"{self._path}: no tokenizer there, which text needs (tokenizer.json)")

  def __call__(self, *args: Any, **given: Any) -> Any:
    return self.encode(*args, **given)


def tokenizer(model: specs.Model, path: str) -> Any:
  """The tokenizer of a model whose files are at `path`, or one that says that there is none.

  Raises InputError for files that are no tokenizer.
  """
  wants = model.chat_template or model.special_tokens
  if os.path.isdir(path) and not wants and not any("token" in name or "vocab" in name for name in os.listdir(path)):
    return NoTokenizer(path)
  return tokenizer_lib.load(path, model.chat_template or None, model.special_tokens)


def base(model: specs.Model, path: str, place: Place, *, untied: bool = False) -> load_lib.Base:
  """The base of a model whose files are at `path`. Raises InputError for what is no model.

  untied: whether its adapter wants an output projection beside a table that the base ties to it.
  """
  if model.scores:
    return _scoring(model, path, place)
  if not untied:
    return _plain(model, path, place)
  both = lambda names: place.dtypes([*names, "head/kernel"])  # which the files do not have
  return load_lib.untied(_plain(model, path, dataclasses.replace(place, dtypes=both)), place.dtypes)


def _scoring(model: specs.Model, path: str, place: Place) -> load_lib.Base:
  """A base whose head scores text; methods that open that head meet it by its name."""

  def dtypes(given):
    found = place.dtypes([*(name for name in given if not name.startswith("head/")), "head/kernel"])
    return {name: found.get(name, found["head/kernel"]) for name in given}

  plain = _plain(model, path, dataclasses.replace(place, dtypes=dtypes))
  return reward_head.scoring(plain, model.scores, dtypes, model.quant)


def _plain(model: specs.Model, path: str, place: Place) -> load_lib.Base:
  if model.config is not None:
    return place.initialise(model.config, model.seed)
  with log.timed(f"loaded {model.base}"), console.Bars(transient=True) as bars:
    found = place.load(path, quantised=model.quant, progress=bars.add("loading").reach)
  if model.quant is not None:
    log.info(_footprint(found, model.quant.kind))
  return found


def digest_of(model: specs.Model) -> str:
  """What tells a base from others (`Base.digest`), without its weights. Raises InputError for what is no model."""
  if model.config is not None:
    return load_lib.digest_of_random(model.config, model.seed)
  return load_lib.open_source(specs.resolve(model.base)).digest()


def dtypes_of(methods: Sequence[Any], precision: numerics.Precision) -> load_lib.Dtypes:
  """Base parameters that a method opens are master weights; the rest are frozen."""

  def of(names):
    opened = {name for m in methods for name in m.opens(names)}
    return {name: precision.trained if name in opened else precision.frozen for name in names}

  return of


def packed_weights(base: load_lib.Base) -> tuple[dict[str, Any], int]:
  """The arrays of a base's packed kernels, and how many weights they stand for."""
  packed = {name: value for name, value in base.params.items() if "/kernel/" in name}
  names = {name.split("/kernel/")[0] for name in packed}
  nodes = {name: node for name, node in skeleton.sites(base.module).items() if name in names}
  return packed, sum(math.prod((*skeleton.lead(n, base.cfg.stacks), *node.core_shape)) for n, node in nodes.items())


def count(params: Mapping[str, Any], base: load_lib.Base) -> int:
  """How many numbers these parameters of a model are; a packed kernel counts its weights, not its codes."""
  packed, values = packed_weights(base)
  return tree.size(dict(params)) + (values - tree.size(packed) if packed.keys() <= params.keys() else 0)


def _footprint(base: load_lib.Base, kind: str) -> str:
  """What the packed kernels weigh."""
  packed, values = packed_weights(base)
  mib, bits = tree.nbytes(packed) / 2**20, 8 * tree.nbytes(packed) / values
  return f"{kind}: {values:,} weights of the frozen base in {mib:,.1f} MiB ({bits:.2f} bits each)"
