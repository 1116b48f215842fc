"""`itune reference`: what a reference says of prepared data, stored beside it (`data.stored_reference`)."""

from collections.abc import Callable, Iterator
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
from itune_jax.run import rendering as rendering_lib
from itune_jax.run import session as session_lib
from itune_jax.run import specs
from itune_jax.select import mixing as mixing_lib


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
  mixing: mixing_lib.Adaptive | None = None,
  dry_run: bool = False,
) -> dict[str, Any]:
  """Computes and stores log p of every trained id of every source; returns how many of each.

  What is there already is not computed again. Raises InputError where the data is not prepared or the model not had.

  model: the base. mixture: the data. rendering: how conversations become tokens. packing: the geometry of a batch.
  objective: the loss, which says what stands beside the examples. mesh: how devices are laid out. precision: which
  dtype holds what. seed: of what the feed draws. validation: what is held out. adapter: what sits on the base, "" for
  nothing. mixing: the rule that changes the mixture's rates, whose held-out rows need them as well, None for none.
  dry_run: writes nothing.
  """
  session = session_lib.open_session(model, mesh=mesh, precision=precision, seed=seed, adapter=adapter)
  mixture = rendering_lib.opened(mixture)
  mixtures = [validation.trained(mixture)]
  mixtures += [validation.measured(mixture, mixing.follows == "alignment")] if mixing is not None else []
  paths = [session_lib.prepared(one, session.renderer(rendering)) for one in mixtures]
  of = stored_reference.Of(session.base.digest, adapters_lib.digest(adapter), precision.compute)
  root, found = specs.cache_dir(), []
  for source in (source for path in paths for source in files.read_json(path)["sources"]):
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
  found: list[Any] = [None] * len(examples)
  for numbers, row, (logp_T,) in rows_of(session, examples, packing, program(session.binder), advance):
    _book(found, numbers, row, logp_T)
  return found


Row = tuple[list[int], list[pack.Item | pack.Group], tuple[np.ndarray, ...]]


def rows_of(
  session: session_lib.Session,
  examples: tokenised.Examples,
  packing: feed_lib.Packing,
  run: Callable,
  advance: Callable[..., None],
) -> Iterator[Row]:
  """Packed rows of all examples: the numbers of a row's examples, the examples, and what `run` gives of its positions.

  run: `(params, batch) -> arrays [B, T, ...]`, replicated.
  """
  rows, length = packing.rows, packing.row_length
  lengths = examples.repeated_lengths if packing.repeat_prompts else examples.lengths
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
      arrays = tuple(map(np.asarray, jax.device_get(run(session.attached.params, laid))))
      for b, row in enumerate(given):
        yield members[b], row, tuple(array[b] for array in arrays)
      advance(sum(map(len, members)))


def items_of(numbers: list[int], row: list[pack.Item | pack.Group]) -> Iterator[tuple[int, pack.Item, pack.Segment]]:
  """The items of a row's examples, each with its example's number and its segment; prompts that stand once are left
  out, since nothing of them trains."""
  segments = iter(pack.segments(row))
  for number, example in zip(numbers, row, strict=True):
    if isinstance(example, pack.Group) and example.trunk:
      next(segments)
    for item in example.items if isinstance(example, pack.Group) else (example,):
      yield number, item, next(segments)


def _one(examples: tokenised.Examples, index: int, repeat: bool) -> pack.Item | pack.Group:
  example = examples[index]
  return example.repeated() if repeat and isinstance(example, pack.Group) else example


def _book(found: list[Any], numbers: list[int], row: list[pack.Item | pack.Group], logp_T: np.ndarray) -> None:
  """Puts what a row says where its examples stand."""
  values: dict[int, list[np.ndarray]] = {number: [] for number in numbers}
  for number, item, segment in items_of(numbers, row):
    own = np.zeros(len(item.ids), np.float32)
    own[segment.first + 1 : segment.last + 1] = logp_T[segment.here]
    values[number].append(own)
  for number, each in values.items():
    found[number] = np.concatenate(each)


@functools.lru_cache(maxsize=8)
def program(bind: Any) -> Callable:
  """`(params, batch) -> (log p [B, T],)`, compiled once for a binder."""

  @jax.jit
  def run(params, batch):
    model = bind(params)
    return (shard.everywhere(model.token_logprobs(batch, model.context(batch)), bind.mesh),)

  return run


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command; returns what was stored."""
  return gin_setup.call(reference, dry_run=args.dry_run)
