"""`itune demo`: the commands of the main job one after the other, each as one would type it."""

import json
import os
import shlex
import subprocess
import sys
import time
from typing import Any

import rich.table

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import log
from itune_jax.run import command
from itune_jax.run import console

_GAINS = ("exact_match_before", "exact_match_after", "gain", "gain_ci_low", "gain_ci_high")


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the commands; returns exact match before and after, speeds and times.

  Raises RunError naming the command that failed; it has said why.
  """
  run = args.run_dir or time.strftime("runs/demo-%Y%m%d-%H%M%S")
  recipe, started, seconds = _recipe(args), time.perf_counter(), {}
  again = ["--overwrite"] if args.run_dir and os.path.isdir(run) else []  # the demo goes on with a run that is there
  steps = {
    "prepare": ["prepare", *recipe],
    "eval_before": ["eval", *recipe, f"--run_dir={run}", "--name=before", *again],
    "training": ["train", *recipe, f"--run_dir={run}"],
    "eval_after": ["eval", *recipe, f"--run_dir={run}", f"--adapter={run}", "--name=after", *again],
    "export": ["export", f"--adapter={run}", "--format=peft", f"--out={os.path.join(run, 'peft')}", *again],
    "report": ["report", f"--run_dir={run}"],
  }
  figures: dict[str, Any] = {}
  for name, argv in steps.items():
    begun = time.perf_counter()
    figures[name] = _command([*argv, *(["--log_json"] if args.log_json else [])])
    seconds[f"{name}_s"] = round(time.perf_counter() - begun, 1)
  seconds["wall_s"] = round(time.perf_counter() - started, 1)
  trained = files.read_json(os.path.join(run, "train.json"))
  _show(figures["report"], trained, seconds)
  gains = {name: round(figures["report"][name], 4) for name in _GAINS}
  speeds = {name: round(trained[name], 2) for name in ("trained_tokens_per_s", "first_step_s")}
  return {**gains, **speeds, **seconds, "run_dir": run, "report": figures["report"]["report"]}


def _recipe(args: command.Args) -> list[str]:
  found = ["--gin_file=recipes/demo.gin"]
  if args.data:
    own = ["--gin_file=overlays/own_data.gin"]
    found += [
      *own,
      *(f"--gin.{n}={v!r}" for n, v in (("DATA", args.data), ("EVAL_DATA", args.eval_data), ("CHECK", args.check))),
    ]
  found += [f"--gin.STEPS={args.steps}"] if args.steps else []
  found += [f"--gin.EVAL_LIMIT={args.limit}"] if args.limit else []
  return [*found, *args.gin_values]


def _command(argv: list[str]) -> dict[str, Any]:
  """Runs a command in a process of its own, as one that was typed; returns its result."""
  bold = console.in_colour(sys.stderr)
  line = f"itune {shlex.join(argv)}"
  log.info(f"\n\033[1m{line}\033[0m" if bold else f"\n{line}" if not log.as_json() else line, event="command")
  done = subprocess.run(
    [sys.executable, "-m", "itune_jax.run.cli", *argv], stdout=subprocess.PIPE, text=True, check=False
  )
  if done.returncode:
    raise errors.RunError(f"itune {argv[0]} failed: see what it says above")
  return json.loads(done.stdout.strip().splitlines()[-1])


def _show(figures: dict[str, Any], trained: dict[str, Any], seconds: dict[str, float]) -> None:
  percent = (
    lambda name, low, high: f"{100 * figures[name]:.1f} %  [{100 * figures[low]:.1f}, {100 * figures[high]:.1f}]"
  )
  gain = [100 * figures[name] for name in ("gain", "gain_ci_low", "gain_ci_high")]
  table = rich.table.Table("demo", "value", title="Instruction tuning of SmolLM2-135M-Instruct: held-out items")
  table.add_row("exact match before", percent("exact_match_before", "before_low", "before_high"))
  table.add_row("exact match after", percent("exact_match_after", "after_low", "after_high"))
  table.add_row("gain, points", f"{gain[0]:+.1f}  [{gain[1]:+.1f}, {gain[2]:+.1f}]")
  table.add_row("trained tokens/s", f"{trained['trained_tokens_per_s']:.1f}")
  table.add_row("first step (compile)", f"{trained['first_step_s']:.1f} s")
  table.add_row("wall time", f"{int(seconds['wall_s']) // 60} min {int(seconds['wall_s']) % 60} s")
  table.add_row("report", figures["report"])
  console.show(table)
