"""`itune eval`: a recipe's evaluators on the base model or an adapter."""

from collections.abc import Sequence
import time
from typing import Any

import rich.table

from itune_jax.core import errors
from itune_jax.core import numerics
from itune_jax.data.render import chat
from itune_jax.parallel import mesh as mesh_lib
from itune_jax.run import adapters as adapters_lib
from itune_jax.run import command
from itune_jax.run import console
from itune_jax.run import evaluators
from itune_jax.run import gin_setup
from itune_jax.run import results
from itune_jax.run import run_dir as run_dir_lib
from itune_jax.run import session as session_lib
from itune_jax.run import specs


def evaluate(
  *,
  model: specs.Model,
  rendering: chat.Rendering,
  evals: Sequence[Any],
  mesh: mesh_lib.MeshSpec | mesh_lib.Auto,
  precision: numerics.Precision,
  seed: int,
  adapter: str = "",
  run_dir: str = "",
  name: str = "eval",
  dry_run: bool = False,
  as_asked: bool = False,
  overwrite: bool = False,
) -> dict[str, float]:
  """Runs every evaluator once; returns all figures, and writes them with their rows into the run directory.

  as_asked: uses model and rendering as given, where the adapter was trained with others.

  Raises InputError without evaluators, and where the model, the adapter or the data cannot be had.

  model: the base. rendering: how conversations become tokens. evals: the evaluators. mesh: how devices are laid out.
  precision: which dtype holds what. seed: of what is drawn. adapter: a run directory, checkpoint or PEFT folder, ""
  for none. run_dir: where figures and rows are written, "" for nowhere. name: of this evaluation in the run
  directory. dry_run: builds everything and evaluates nothing. overwrite: replaces an earlier evaluation of this name.
  """
  if run_dir:
    run_dir_lib.check_place(run_dir)
  results.check_label(run_dir, name, overwrite)
  if not evals:
    raise errors.InputError("this recipe has no evaluators: set EVALS, or include a file of gin_configs/evals")
  model, rendering = adapters_lib.as_trained(model, rendering, adapter, as_asked)
  session = session_lib.open_session(model, mesh=mesh, precision=precision, seed=seed, adapter=adapter)
  renderer = session.renderer(rendering)
  bound = evaluators.bound(evals, renderer, seed)
  if dry_run:
    return {}
  figures: dict[str, float] = {}
  started = time.perf_counter()
  engine = session.engine()
  with console.Bars("done") as bars:
    for evaluator in bound:
      bar = bars.add(f"eval {evaluator.name}")
      result = evaluator.run(engine.with_progress(bar.advance))
      bar.finish()
      figures |= result.figures
      if run_dir:
        results.write(run_dir, name, evaluator.name, result)
  return figures | {"eval_s": time.perf_counter() - started}


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command; returns all figures."""
  names = ("adapter", "run_dir", "name", "dry_run", "as_asked", "overwrite")
  figures = gin_setup.call(evaluate, **{name: getattr(args, name) for name in names})
  table = rich.table.Table("figure", "value", title=f"{args.name}: {args.adapter or 'base model'}")
  for name, value in figures.items():
    table.add_row(name, f"{value:.4f}")
  console.show(table)
  return figures
