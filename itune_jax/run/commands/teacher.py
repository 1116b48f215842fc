"""`itune teacher`: the likeliest tokens of a teacher, stored beside prepared data (`data.stored_teacher`)."""

from collections.abc import Callable, Iterator, Mapping
import functools
from typing import Any

import jax
import numpy as np

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import files
from itune_jax.core import log
from itune_jax.data import feed as feed_lib
from itune_jax.data import made
from itune_jax.data import mixture as mixture_lib
from itune_jax.data import stored_beside
from itune_jax.data import stored_reference
from itune_jax.data import stored_teacher
from itune_jax.data import tokenised
from itune_jax.data import validation as validation_lib
from itune_jax.data.render import chat
from itune_jax.data.render import tokenizer as tokenizer_lib
from itune_jax.objectives.distill import top_k
from itune_jax.parallel import mesh as mesh_lib
from itune_jax.parallel import shard
from itune_jax.run import command
from itune_jax.run import console
from itune_jax.run import gin_setup
from itune_jax.run import rendering as rendering_lib
from itune_jax.run import session as session_lib
from itune_jax.run import specs
from itune_jax.run import views as views_lib
from itune_jax.run.commands import reference
from itune_jax.select import mixing as mixing_lib


def teacher(
  *,
  model: specs.Model,
  mixture: mixture_lib.Mixture,
  rendering: chat.Rendering,
  packing: feed_lib.Packing,
  objective: contracts.Objective,
  views: Mapping[str, views_lib.View],
  mesh: mesh_lib.MeshSpec | mesh_lib.Auto,
  seed: int,
  validation: validation_lib.Validation = validation_lib.Validation(),
  mixing: mixing_lib.Adaptive | None = None,
  dry_run: bool = False,
) -> dict[str, Any]:
  """Computes and stores the likeliest tokens at every trained id of every source; returns how many of each.

  What is there already is not computed again. Raises InputError where the recipe names no stored teacher, the data is
  not prepared, the teacher not had, or its tokenizer another.

  model: the student. mixture: the data. rendering: how conversations become tokens. packing: the geometry of a batch.
  objective: the loss, which says how many tokens at which temperature. views: the teacher. mesh: how devices are laid
  out. seed: of what the feed draws. validation: what is held out. mixing: the rule that changes the mixture's rates,
  whose held-out rows need them as well, None for none. dry_run: writes nothing.
  """
  asked = views.get("teacher")
  check.require(isinstance(asked, views_lib.StoredTeacher), "VIEWS names no stored teacher: @views.StoredTeacher()")
  assert isinstance(asked, views_lib.StoredTeacher)
  of, renderer = asked.of(objective), rendering_lib.open_renderer(model, rendering)
  session = session_lib.open_session(asked.model, mesh=mesh, precision=asked.precision, adapter=asked.adapter)
  same = tokenizer_lib.digest(session.tokenizer) == tokenizer_lib.digest(renderer.tokenizer)
  check.require(same, f"{asked.model.base} has another tokenizer than {model.base}: its ids mean other words")
  mixtures = [validation.trained(rendering_lib.opened(mixture))]
  if mixing is not None:
    mixtures.append(validation.measured(rendering_lib.opened(mixture), mixing.follows == "alignment"))
  paths = [session_lib.prepared(one, renderer) for one in mixtures]
  root, found = specs.cache_dir(), []
  for source in (source for path in paths for source in files.read_json(path)["sources"]):
    cached = tokenised.CachedSource(tokenised.source_folder(root, source["key"]))
    examples = made.wrapped({source["name"]: cached}, (), seed)[source["name"]]
    beside = stored_reference.beside(objective.columns, seed)
    folder = f"{root}/{stored_teacher.KIND.folder}/{stored_beside.key(source['key'], of, beside)}"
    known = files.exists(f"{folder}/manifest.json")
    if not known and not dry_run:
      with files.locked(folder), console.Bars("examples") as bars:
        bar = bars.add(f"teacher {source['name']}", total=len(examples))
        facts = {"source": source["key"], "beside": beside, "examples": len(examples)}
        _write(folder, session, examples, packing, of, facts, bar.advance)
      log.info(f"wrote {folder}")
    found.append({"name": source["name"], "examples": len(examples), "was_there": known})
  return {**of._asdict(), "sources": found}


def _write(folder, session, examples, packing, of: stored_teacher.Of, facts, advance: Callable[..., None]) -> None:
  counts = [int(stored_teacher.trained(examples[i]).sum()) for i in range(len(examples))]
  entries = _entries(session, examples, packing, of, advance)
  stored_teacher.write(folder, counts, entries, session.base.cfg.vocab, of, facts)


def _entries(session, examples, packing, of: stored_teacher.Of, advance) -> Iterator[stored_teacher.Entry]:
  run = program(session.binder, of.k, of.temperature)
  for numbers, row, (ids_TK, logp_TK) in reference.rows_of(session, examples, packing, run, advance):
    found: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {number: [] for number in numbers}
    for number, item, segment in reference.items_of(numbers, row):
      # What a prompt that stands once predicts carries no weight, so all that does lies in the segment.
      at = np.flatnonzero(item.weights[segment.first + 1 : segment.last + 1]) + segment.begins
      found[number].append((ids_TK[at], logp_TK[at]))
    for number, parts in found.items():
      yield number, np.concatenate([ids for ids, _ in parts]), np.concatenate([logp for _, logp in parts])


@functools.lru_cache(maxsize=8)
def program(bind: Any, k: int, temperature: float) -> Callable:
  """`(params, batch) -> (ids [B, T, k], log-probs [B, T, k])`, compiled once for a binder."""

  @jax.jit
  def run(params, batch):
    model = bind(params)
    fn = lambda logits, columns: top_k.likeliest(logits[0], k, temperature)
    found = model.over_vocabulary(fn, batch, model.context(batch))
    return shard.everywhere(found, bind.mesh)

  return run


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command; returns what was stored."""
  return gin_setup.call(teacher, dry_run=args.dry_run)
