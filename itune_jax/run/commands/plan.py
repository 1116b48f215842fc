"""`itune plan`: compiles a recipe's real programs for a TPU slice that is not there. Do they fit? How fast are they?

They are those of training and of the evaluators (`run/plan/programs.py`), made of shapes alone; the TPU compiler
(libtpu) runs on any machine.
"""

import dataclasses
from typing import Any

from itune_jax.evals import official
from itune_jax.evals import suite as suite_lib
from itune_jax.run import command
from itune_jax.run import gin_setup
from itune_jax.run import suites
from itune_jax.run.commands import plan_flags
from itune_jax.run.commands import train as train_lib
from itune_jax.run.plan import compiled
from itune_jax.run.plan import remat
from itune_jax.run.plan import suite_times
from itune_jax.run.plan import table
from itune_jax.run.plan import topology


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command; returns the figures. Raises InputError for an unknown topology, and without a TPU compiler."""
  run = gin_setup.call(train_lib.Train)
  steps = run.steps
  if run.epochs:  # how many steps they take hangs on data, which is not opened; the program of a step does not
    run = dataclasses.replace(run, steps=1000, epochs=0)
  if args.choose_remat:
    # Before the first line is printed, with which JAX starts.
    topology.chips_of(args.topology, args.program, args.slices)
    found = remat.choose(run, lambda run: compiled.plan(run, args.topology, slices=args.slices))
  elif args.program == "suite":
    found = suite_times.plan(run, args.topology, _suite(args), args.slices, args.dry_run)
  else:
    found = compiled.plan(run, args.topology, args.program, args.slices, args.dry_run)
  if args.program == "train" and steps:
    found["steps"] = steps
  table.show(found, args.html)
  return found


def _suite(args: command.Args) -> suite_lib.Suite:
  """The suite that flags ask for."""
  given = {name: getattr(args, name) for name in ("max_new_tokens", "shots") if getattr(args, name) is not None}
  common = official.Settings(limit=args.limit, **given)
  names = plan_flags.SUITE if args.suite is None else suites.named(args.suite)
  made = suite_lib.Suite(names=names, common=common, data=args.data_dir or "")
  if args.batch:
    made = dataclasses.replace(made, decode=dataclasses.replace(made.decode, batch=args.batch))
  return suites.completed([made])[0]
