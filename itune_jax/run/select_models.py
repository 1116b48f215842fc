"""Models as scores, diversity and budgets of `itune select` ask them, by what --base and --adapter take."""

from collections.abc import Sequence
import dataclasses
import functools
import hashlib
import json
import os
from typing import Any

import numpy as np

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import numerics
from itune_jax.core import pack
from itune_jax.data.render import chat
from itune_jax.parallel import mesh as mesh_lib
from itune_jax.run import adapters as adapters_lib
from itune_jax.run import process
from itune_jax.run import session as session_lib
from itune_jax.run import specs
from itune_jax.run import tuning
from itune_jax.sampling import engine as engine_lib
from itune_jax.sampling import requests as requests_lib
from itune_jax.sampling.decode import decode as decode_lib
from itune_jax.select import input_rows
from itune_jax.select import select_protocol
from itune_jax.select import stages
from itune_jax.select.scores import answers
from itune_jax.select.scores import asked as asked_lib
from itune_jax.train import checkpoint


def opened(
  base: str, adapter: str, *, begin: stages.Begin, folder: str, targets: Sequence[select_protocol.Row] = ()
) -> "MeshAsked":
  """The model of `itune select`. begin: is told of each piece of work. folder: where trainings of scores are kept.

  Raises InputError when the model or the adapter cannot be had.
  """
  process.configure_jax()
  found = _model(base, adapter)
  return MeshAsked(found, begin=begin, folder=folder, targets=targets)


@dataclasses.dataclass(frozen=True)
class _Model:
  """A session, how its conversations are rendered, and what it was named by."""

  session: session_lib.Session
  rendering: chat.Rendering
  name: str

  @functools.cached_property
  def renderer(self) -> chat.Renderer:
    """Of its conversations."""
    return self.session.renderer(self.rendering)


class MeshAsked(asked_lib.Asked):
  """A model on the mesh."""

  def __init__(
    self,
    model: _Model,
    *,
    begin: stages.Begin,
    folder: str,
    targets: Sequence[select_protocol.Row],
    bar: stages.Advance = lambda n: None,
    others: dict[str, _Model] | None = None,
  ):
    self._model, self._begin, self._folder, self._bar = model, begin, folder, bar
    self._others = {} if others is None else others
    self.targets = targets

  @property
  def identity(self) -> dict[str, Any]:
    """What its numbers hang on: the model, its adapter, and how conversations become tokens."""
    session = self._model.session
    who: dict[str, Any] = {"name": self._model.name, **session.identity(self._model.rendering)}
    who["arrays"] = checkpoint.checksums(session.trainable)
    who["targets"] = hashlib.sha256(json.dumps(list(self.targets), sort_keys=True).encode()).hexdigest()
    return json.loads(json.dumps(who, default=str))  # as a manifest gives it back

  @property
  def name(self) -> str:
    """What it was named by."""
    return self._model.name

  @property
  def responder(self) -> requests_lib.Responder:
    """Answers, greedily, and log-probabilities of texts."""
    return self._model.session.responder(self._model.renderer, decode_lib.Decode(batch=32))

  @property
  def engine(self) -> engine_lib.Engine:
    """Scoring of ids."""
    return self._model.session.engine(self._bar)

  @property
  def renderer(self) -> chat.Renderer:
    """Conversations into ids."""
    return self._model.renderer

  def tokens(self, rows: Sequence[select_protocol.Row]) -> np.ndarray:
    """Ids of each row as its template renders it [N]; 0 for a row that renders to nothing."""
    found = answers.all_of(self.renderer, rows)
    return np.array([0 if one is None else sum(len(item.ids) for item in one.given) for one in found], np.int64)

  def other(self, model: str) -> "MeshAsked":
    """Another model on the same mesh; the last two stay open."""
    if model == self._model.name:
      return self
    if model not in self._others:
      for old in list(self._others)[:-1]:
        del self._others[old]
      self._others[model] = _model(model, "", mesh_lib.Same(self._model.session.mesh, self._model.session.rules))
    return self._with(self._others[model])

  def tuned(self, name: str, items: Sequence[pack.Item], how: asked_lib.Tuning) -> asked_lib.Tuned:
    """A training, kept in the folder of the selection."""
    session, found = tuning.tune(self._model.session, items, how, os.path.join(self._folder, name))
    return asked_lib.Tuned(self._with(_Model(session, self._model.rendering, f"{self._model.name}+{name}")), found)

  def progress(self, what: str, total: int) -> "MeshAsked":
    """The same, with a bar."""
    how: dict[str, Any] = dict(begin=self._begin, folder=self._folder, targets=self.targets, others=self._others)
    return MeshAsked(self._model, bar=self._begin(what, total), **how)

  def _with(self, model: _Model) -> "MeshAsked":
    how: dict[str, Any] = dict(begin=self._begin, folder=self._folder, targets=self.targets, others=self._others)
    return MeshAsked(model, **how)


def targets_of(file: str) -> list[select_protocol.Row]:
  """The rows of a task. Raises InputError for a file that cannot be read."""
  found = []
  for path, line, row, problem, *_ in input_rows.rows(file):
    if row is None:
      raise errors.InputError(f"{path}:{line}: {problem}")
    check.require(answers.example(row) is not None, f"{path}:{line}: a row of --targets is no example")
    found.append(row)
  return found


def _model(base: str, adapter: str, mesh: Any = None) -> _Model:
  """A model by the name of a base, or by the path of an adapter in its place."""
  if not adapter and _is_adapter(base):
    base, adapter = "", base
  asked = specs.Model(base=base) if base else specs.Model()
  model, rendering = adapters_lib.as_trained(asked, chat.Rendering(), adapter)
  how: dict[str, Any] = {} if mesh is None else {"mesh": mesh}
  session = session_lib.open_session(model, adapter=adapter, precision=numerics.Precision(), **how)
  return _Model(session, rendering, adapter or base or model.base)


def _is_adapter(path: str) -> bool:
  there = lambda name: os.path.exists(os.path.join(path, name))
  return adapters_lib.is_peft(path) or there("COMMITTED") or there("checkpoints")
