"""`itune reference`: what a reference says of prepared data, stored beside it (`data.stored_reference`)."""

from collections.abc import Callable
import functools
from typing import Any

import jax
import numpy as np

from itune_jax.core import contracts
from itune_jax.core import log
from itune_jax.core import numerics
from itune_jax.core import pack
from itune_jax.data import feed as feed_lib
from itune_jax.data import made
from itune_jax.data import mixture as mixture_lib
from itune_jax.data import stored_reference
from itune_jax.data import tokenised
from itune_jax.data import validation as validation_lib
from itune_jax.data.render import chat
from itune_jax.core import files
from itune_jax.parallel import mesh as mesh_lib
from itune_jax.parallel import shard
from itune_jax.run import adapters as adapters_lib
from itune_jax.run import command
from itune_jax.run import console
from itune_jax.run import gin_setup
from itune_jax.run import session as session_lib
from itune_jax.run import specs


def reference(
  *,
  model: specs.Model,
  mixture: mixture_lib.Mixture,
  rendering: chat.Rendering,
  packing: feed_lib.Packing,
  objective: contracts.Objective,
  mesh: mesh_lib.MeshSpec | mesh_lib.Auto,
  precision: numerics.Precision,
  seed: int,
  validation: validation_lib.Validation = validation_lib.Validation(),
  adapter: str = "",
  dry_run: bool = False,
) -> dict[str, Any]:
  """Computes and stores log p of every trained id of every source; returns how many of each.

  What is there already is not computed again. Raises InputError where the data is not prepared or the model not had.

  model: the base. mixture: the data. rendering: how conversations become tokens. packing: the geometry of a batch.
  objective: the loss, which says what stands beside the examples. mesh: how devices are laid out. precision: which
  dtype holds what. seed: of what the feed draws. validation: what is held out. adapter: what sits on the base, "" for
  nothing. dry_run: writes nothing.
  """
  session = session_lib.open_session(model, mesh=mesh, precision=precision, seed=seed, adapter=adapter)
  path = session_lib.prepared(validation.trained(mixture), session.renderer(rendering))
  of = stored_reference.Of(session.base.digest, adapters_lib.digest(adapter), precision.compute)
  root, found = specs.cache_dir(), []
  for source in files.read_json(path)["sources"]:
    cached = tokenised.CachedSource(tokenised.source_folder(root, source["key"]))
    examples = made.wrapped({source["name"]: cached}, objective.columns, seed)[source["name"]]
    beside = stored_reference.beside(objective.columns, seed)
    folder = stored_reference.folder_of(root, stored_reference.key(source["key"], of, beside))
    known = files.exists(f"{folder}/manifest.json")
    if not known and not dry_run:
      with files.locked(folder), console.Bars("examples") as bars:
        bar = bars.add(f"reference {source['name']}", total=len(examples))
        values = _logprobs(session, examples, packing, bar.advance)
        facts = {"source": source["key"], **of._asdict(), "beside": beside, "examples": len(examples)}
        stored_reference.write(folder, values, facts)
      log.info(f"wrote {folder}")
    found.append({"name": source["name"], "examples": len(examples), "was_there": known})
  return {"base": of.base, "adapter": of.adapter, "sources": found}


def _logprobs(
  session: session_lib.Session, examples: tokenised.Examples, packing: feed_lib.Packing, advance: Callable[..., None]
) -> list[np.ndarray]:
  """Of each example log p of its ids, one item behind the other."""
  run = program(session.binder)
  rows, length = packing.rows, packing.row_length
  lengths = examples.repeated_lengths if packing.repeat_prompts else examples.lengths
  found: list[Any] = [None] * len(examples)
  window = 64 * rows  # examples that are packed together
  for start in range(0, len(examples), window):
    numbers = range(start, min(start + window, len(examples)))
    packed = pack.best_fit_decreasing([int(lengths[i]) for i in numbers], length)
    for at in range(0, len(packed), rows):
      members = [[numbers[i] for i in row] for row in packed[at : at + rows]]
      given = [[_one(examples, i, packing.repeat_prompts) for i in row] for row in members]
      batch = pack.fill(
        given + [[]] * (rows - len(given)), length, grouped=examples.schema.grouped, repeats=packing.repeat_prompts
      )
      laid = shard.same_batch(batch, session.mesh, dict(session.rules))
      logp_BT = np.asarray(jax.device_get(run(session.attached.params, laid)), np.float32)
      for b, row in enumerate(given):
        _book(found, members[b], row, logp_BT[b])
      advance(sum(map(len, members)))
  return found


def _one(examples: tokenised.Examples, index: int, repeat: bool) -> pack.Item | pack.Group:
  example = examples[index]
  return example.repeated() if repeat and isinstance(example, pack.Group) else example


def _book(found: list[Any], numbers: list[int], row: list[pack.Item | pack.Group], logp_T: np.ndarray) -> None:
  """Puts what a row says where its examples stand."""
  segments = iter(pack.segments(row))
  for number, example in zip(numbers, row, strict=True):
    items = example.items if isinstance(example, pack.Group) else (example,)
    values = []
    if isinstance(example, pack.Group) and example.trunk:
      next(segments)
    for item in items:
      own, segment = np.zeros(len(item.ids), np.float32), next(segments)
      own[segment.first + 1 : segment.last + 1] = logp_T[segment.here]
      values.append(own)
    found[number] = np.concatenate(values)


@functools.lru_cache(maxsize=8)
def program(bind: Any) -> Callable:
  """`(params, batch) -> log p [B, T]`, compiled once for a binder."""

  @jax.jit
  def run(params, batch):
    model = bind(params)
    return shard.everywhere(model.token_logprobs(batch, model.context(batch)), bind.mesh)

  return run


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command; returns what was stored."""
  return gin_setup.call(reference, dry_run=args.dry_run)
