"""`itune eval`: a recipe's evaluators on the base model or an adapter."""

from collections.abc import Sequence
import time
from typing import Any

from rich import progress as rich_progress
import rich.console
import rich.table

from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.core import numerics
from itune_jax.data.render import chat
from itune_jax.parallel import mesh as mesh_lib
from itune_jax.run import gin_setup
from itune_jax.run import results
from itune_jax.run import runtime
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
) -> dict[str, float]:
  """Runs every evaluator once; returns all figures, and writes them with their rows into the run directory."""
  if not evals:
    raise errors.InputError("this recipe has no evaluators: set EVALS, or include a file of gin_configs/evals")
  session = runtime.open_session(model, mesh=mesh, precision=precision, seed=seed, adapter=adapter)
  renderer = session.renderer(rendering)
  bound = [e.bind(renderer, seed) for e in evals]
  if dry_run:
    return {}
  figures: dict[str, float] = {}
  columns = (
    rich_progress.TextColumn("{task.description}"),
    rich_progress.TextColumn("{task.completed:.0f} done"),
    rich_progress.TimeElapsedColumn(),
  )
  started = time.perf_counter()
  console = rich.console.Console(stderr=True)
  with rich_progress.Progress(*columns, console=console, disable=not log.is_lead()) as bar:
    for evaluator in bound:
      task = bar.add_task(f"eval {evaluator.name}", total=None)
      result = evaluator.run(session.engine(lambda n, task=task: bar.advance(task, n)))
      figures |= result.figures
      if run_dir:
        results.write(run_dir, name, evaluator.name, result)
  return figures | {"eval_s": time.perf_counter() - started}


def main(args) -> None:
  """Runs the command; the last line of stdout is one JSON object."""
  runtime.start(args.cluster)
  gin_setup.parse("eval", args.gin_file, args.overrides)
  figures = gin_setup.call(evaluate, adapter=args.adapter, run_dir=args.run_dir, name=args.name, dry_run=args.dry_run)
  table = rich.table.Table("figure", "value", title=f"{args.name}: {args.adapter or 'base model'}")
  for name, value in figures.items():
    table.add_row(name, f"{value:.4f}")
  if log.is_lead():
    rich.console.Console(stderr=True).print(table)
  runtime.result(figures)
