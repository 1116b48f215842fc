"""`itune sweep`: many runs of one recipe, and what the values in which they differ did."""

import os
import statistics
from typing import Any

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import log
from itune_jax.run import command
from itune_jax.run import console
from itune_jax.run import gin_setup
from itune_jax.run.commands import train_flags
from itune_jax.run.sweep import cells as cells_lib
from itune_jax.run.sweep import estimates
from itune_jax.run.sweep import running
from itune_jax.run.sweep import space as space_lib
from itune_jax.run.sweep import sub_meshes
from itune_jax.run.sweep import summary as summary_lib
from itune_jax.run.sweep import sweep_layouts


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command; returns where the summary is.

  Raises InputError for a file that is no sweep, and RunError, after all else has run, where a run failed.
  """
  space, common = space_lib.read(args.sweep), [*args.rest, *args.gin_values]
  cells_lib.require_macros(space, common)
  first = space.halving.steps[0] if space.halving else 0
  cells = cells_lib.cells(space, first)
  _check(cells, common, deeply=not args.summary)
  asks = args.sub_meshes and not (args.dry_run or args.summary)
  groups = sub_meshes.groups(args.sub_meshes, sub_meshes.here()) if asks else ()
  runner = running.Runner(args.out, common, args.workers, groups)
  if args.dry_run:
    return _planned(space, cells, runner, args)
  if args.part and space.halving:
    raise errors.InputError(f"--part={args.part}: {space.path} halves, so a rung needs all runs of the one before")
  if args.part:
    k, n = map(int, args.part.split("/"))
    return {"out": args.out, "runs": len(_run(runner, cells[k::n]))}
  done = _finished(space, runner, cells) if args.summary else _all(space, runner, cells)
  found = summary_lib.of(space, done, runner.failed)
  _write(args.out, found)
  console.show(*sweep_layouts.terminal(found))
  for note in found.notes:
    log.info(f"note: {note}")
  if runner.failed:
    raise errors.RunError(_failures(runner.failed, len(cells), args.out))
  return {"page": os.path.join(args.out, "sweep.html"), "runs": len(done), "points": len(found.rows)}


def _check(cells: list[cells_lib.Cell], common: list[str], deeply: bool) -> None:
  """Raises InputError for what `itune train` would refuse of a cell, before any of them runs.

  deeply: reads the recipe with each value of each factor once. That imports what the recipe names, and finds a class or
  a field that is not there.
  """
  seen: set[tuple[str, str]] = set()
  for cell in cells:
    args = train_flags.COMMAND.parse([*common, *cell.flags(), "--run_dir=x"])
    values = {(name, repr(value)) for name, value in cell.point.items()}
    if deeply and not values <= seen:
      seen |= values
      try:
        gin_setup.parse("train", args.gin_file, args.overrides, imports=args.imports, reads_data=False)
      except errors.InputError as e:
        raise errors.InputError(f"{cell.title}: {e}") from None


def _all(space: space_lib.Space, runner: running.Runner, cells: list[cells_lib.Cell]) -> list[running.Done]:
  """All runs. With halving each rung trains what the one before left; of a point the longest run counts."""
  if not space.halving:
    return runner.run(cells)
  points, reached = list(space.points), {}
  for steps in space.halving.steps:
    rung = [cells_lib.Cell(point, seed, steps) for point in points for seed in space.seeds]
    log.info(f"rung of {steps} steps: {len(rung)} runs")
    done = runner.run(rung)
    by_point = [[one for one in done if one.cell.point == point] for point in points]
    reached |= {id(point): runs for point, runs in zip(points, by_point, strict=True) if runs}
    figures = {
      k: statistics.fmean(_ranked_by(one, space.halving.metric) for one in runs)
      for k, runs in enumerate(by_point)
      if runs
    }
    if steps != space.halving.steps[-1]:
      points = [points[k] for k in space.halving.survivors(figures)] if figures else []
  return [one for runs in reached.values() for one in runs]


def _ranked_by(done: running.Done, metric: str) -> float:
  if metric not in done.figures:
    named = ", ".join(sorted(name for name in done.figures if "/" in name)) or "none"
    raise errors.InputError(f"halving.metric = {metric}: {done.folder} has no such figure; it has {named}")
  return done.figures[metric]


def _finished(space: space_lib.Space, runner: running.Runner, cells: list[cells_lib.Cell]) -> list[running.Done]:
  """What is done already, of each point the longest."""
  rungs = space.halving.steps if space.halving else (0,)
  found = {}
  for steps in rungs:
    for k, cell in enumerate(cells):
      one = runner.done(cells_lib.Cell(cell.point, cell.seed, steps))
      if one is not None:
        found[k] = one
  if not found:
    raise errors.InputError(f"{space.path}: no run of this sweep is done")
  return list(found.values())


def _run(runner: running.Runner, cells: list[cells_lib.Cell]) -> list[running.Done]:
  done = runner.run(cells)
  if runner.failed:
    raise errors.RunError(_failures(runner.failed, len(cells), ""))
  return done


def _planned(space, cells, runner: running.Runner, args: command.Args) -> dict[str, Any]:
  """The runs, and what they will take by those that are done, or by `itune plan` for a slice."""
  done = [one for cell in cells if (one := runner.done(cell)) is not None]
  for cell in cells:
    log.info(f"{'done' if runner.done(cell) else 'to do'}: {cell.title}")
  seconds = statistics.median(one.figures["seconds"] for one in done) if done else None
  left = len({runner.folder(cell) for cell in cells}) - len({one.folder for one in done})
  told: dict[str, Any] = {"runs": len(cells), "done": len(done), "points": len(space.points)}
  if args.topology:
    return told | _on_slice(space, cells, args)
  if seconds is None:
    log.info(f"how long a run takes is known once one is done: --part=0/{len(cells)} runs the first alone")
    return told
  hours = left * seconds / (args.sub_meshes or args.workers) / 3600
  told |= {"hours_left": round(hours, 3)}
  return told | ({"cost_left": round(hours * args.price, 2)} if args.price else {})


def _on_slice(space: space_lib.Space, cells: list[cells_lib.Cell], args: command.Args) -> dict[str, Any]:
  """What all runs take on a slice: the hours of their steps alone, by the compiled programs. A rung is its first."""
  found = estimates.of(cells, [*args.rest, *args.gin_values], args.topology)
  told: dict[str, Any] = {"topology": args.topology, "do_not_fit": [one.title for one in found if not one.fits]}
  known = [one.hours for one in found if one.hours is not None]
  if len(known) < len(found):
    return told
  hours = sum(known) * len(space.seeds) / args.workers
  return told | {"hours": round(hours, 3)} | ({"cost": round(hours * args.price, 2)} if args.price else {})


def _write(out: str, found: summary_lib.Summary) -> None:
  files.write_json(os.path.join(out, "sweep.json"), summary_lib.stored(found))
  for name, text in (
    ("sweep.md", sweep_layouts.markdown(found)),
    ("sweep.tex", sweep_layouts.latex(found)),
    ("sweep.csv", sweep_layouts.csv_text(found)),
    ("sweep.html", sweep_layouts.page(found)),
  ):
    files.write_text(os.path.join(out, name), text)
  log.info(f"wrote {os.path.join(out, 'sweep.html')}, sweep.md, sweep.tex, sweep.csv and sweep.json")


def _failures(failed: dict[str, str], of: int, out: str) -> str:
  title, why = next(iter(failed.items()))
  more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
  kept = f"; the others are in {os.path.join(out, 'sweep.html')}" if out else ""
  return f"{len(failed)} of {of} runs failed: {title}: {why}{more}{kept}; give the command again to try these again"
