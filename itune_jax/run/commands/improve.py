"""`itune improve`: a model makes data, and is trained on it, beside real data of equal tokens and no training at all.

Each step is a command as one would type it, in a process of its own; those that are done are not done again.
"""

from collections.abc import Sequence
import dataclasses
import json
import os
import shlex
import subprocess
import sys
import time
from typing import Any

import rich.table

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import log
from itune_jax.data import example as example_lib
from itune_jax.data.render import chat
from itune_jax.grading import checkers
from itune_jax.run import command
from itune_jax.run import console
from itune_jax.run import gin_setup
from itune_jax.run import improve_arms
from itune_jax.run import recipes as recipes_lib
from itune_jax.run import rendering as rendering_lib
from itune_jax.run import specs
from itune_jax.synth import sources


@dataclasses.dataclass(frozen=True, kw_only=True)
class Improve:
  """What a round is, beside its files.

  generators: parts of gin_configs/synth, each of which makes `accept` rows. accept: rows of each generator.
  candidates: rows that each looks at, at most; 0 for no bound. select: how rows of both arms are chosen, drawn by the
  seed (`random`), or those with the longest answers (`longest`; real rows are drawn all the same). budget: tokens of
  each arm, 0 for as many as the smaller one has. seeds: runs of each arm, from 0. steps: of the optimizer. max_length:
  tokens of a row.
  """

  generators: tuple[str, ...]
  accept: int = 128
  candidates: int = 0
  select: improve_arms.By = "random"
  budget: int = 0
  seeds: int = 3
  steps: int = 60
  max_length: int = 512

  def __post_init__(self):
    check.check_types(self)
    check.require(self.generators, "Improve.generators names no part of gin_configs/synth")
    least = min(self.accept, self.seeds, self.steps, self.max_length)
    check.require(least > 0, "Improve.accept, seeds, steps and max_length count from 1")
    check.require(min(self.candidates, self.budget) >= 0, "Improve.candidates and budget are 0 (no bound) or more")


def one_round(
  *,
  plan: Improve,
  run_dir: str,
  real: str,
  eval_data: str,
  test: str,
  base: str = "",
  data: str = "",
  recipes: Sequence[str] = (),
  teacher: Sequence[str] = (),
) -> dict[str, Any]:
  """Runs a round; returns rows, tokens, figures and the comparison, which improve.json in `run_dir` holds as well.

  plan: what the round is. run_dir: where it is written. real: the file of real rows. eval_data: the file of held-out
  rows. test: how answers are judged. base: the model. data: what generators begin with. recipes: files of gin by which
  arms are trained. teacher: further flags of `itune synth`.
  """
  started = time.perf_counter()
  # What is wrong with the files is said before anything is made, or paid for.
  heldout, real_rows = sources.read(eval_data).examples, list(sources.read(real).examples)
  checkers.find(test, (test,) if ":" in test else ())
  who = {"base": base, "check": test, "recipes": list(recipes), "teacher": list(teacher)}
  _claim(run_dir, plan, {**who, **{name: sources.identity(path) for name, path in _files(real, eval_data, data)}})
  steps = _Steps()
  model = [f"--base={base}"] if base else []
  recipe = [f"--gin_file={file}" for file in recipes or ("recipes/smollm2_lora.gin",)]
  tried = [*recipe, "--gin_file=decode/greedy.gin", "--gin_file=overlays/own_data.gin", *model]
  tried += [f"--gin.EVAL_DATA={eval_data!r}", f"--gin.CHECK={test!r}"]
  made = _synthesised(steps, plan, run_dir, data, teacher or model)
  kept, dropped = _made(run_dir, made, heldout)
  before = os.path.join(run_dir, "untouched")
  steps.evaluate(["eval", *tried, f"--data={real}", f"--run_dir={before}", "--name=heldout"], before)
  arms: dict[str, Any] = {}
  runs: dict[str, list[str]] = {"generated": [], "real": []}
  count = _tokens(base, plan.max_length)
  for seed in range(plan.seeds):
    pair = improve_arms.equal(kept, real_rows, count, plan.budget, plan.select, seed)
    arms[f"seed{seed}"] = improve_arms.told(pair)
    for arm, found in pair.items():
      runs[arm].append(_trained(steps, run_dir, arm, seed, found, [*tried, f"--steps={plan.steps}"]))
  page = os.path.join(run_dir, "compare.html")
  folders = [f"untouched={before}", *(f"{arm}={','.join(each)}" for arm, each in runs.items())]
  table = steps.told(["compare", *folders, f"--out={page}", "--format=json"])
  told = {
    "round": dataclasses.asdict(plan),
    "base": base or specs.Model().base,
    "parents": [sources.identity(path) for path in dict.fromkeys((real, eval_data))],
    "generators": {name: {key: one[key] for key in _OF_MANIFEST} for name, one in made.items()},
    "rows": {"made": sum(one["rows"] for one in made.values()), "kept": len(kept), "dropped": dict(dropped)},
    "arms": arms,
    "commands": steps.lines,
    "comparison": table,
    "page": page,
    "seconds": round(time.perf_counter() - started, 1),
  }
  files.write_json(os.path.join(run_dir, "improve.json"), told)
  _show(told)
  return {key: told[key] for key in ("rows", "arms", "comparison", "page", "seconds")}


def _files(real: str, eval_data: str, data: str) -> list[tuple[str, str]]:
  given = (("real", real), ("eval_data", eval_data), ("data", data))
  return [(name, path) for name, path in given if path]


def _claim(run_dir: str, plan: Improve, given: dict[str, Any]) -> None:
  """Keeps what the round is in its folder: of another round nothing that stands there may be taken for its own. More
  seeds are the same round. Raises InputError naming what differs."""
  path = os.path.join(run_dir, "round.json")
  own = {name: value for name, value in dataclasses.asdict(plan).items() if name != "seeds"}
  told = json.loads(json.dumps({**own, **given}))
  if files.exists(path):
    known = files.read_object(path)
    differs = [name for name in {**known, **told} if known.get(name) != told.get(name)]
    check.require(not differs, f"{run_dir} holds a round of another {', '.join(differs)}: give a new --run_dir")
  files.write_json(path, told)


def _synthesised(steps: "_Steps", plan: Improve, run_dir: str, data: str, given: Sequence[str]) -> dict[str, Any]:
  """The manifest of each generator, run; those that begin with nothing are given no data."""
  made = {}
  for part in plan.generators:
    name = os.path.basename(part).removesuffix(".gin")
    out = os.path.join(run_dir, "synth", name)
    how = [f"--gin_file={part}", f"--out={out}", f"--accept={plan.accept}", f"--candidates={plan.candidates}"]
    if "DATA" in recipes_lib.used(recipes_lib.find(part)):
      check.require(data, f"{part} begins with rows: give them (--data)")
      how.append(f"--data={data}")
    steps.run(["synth", *how, *given])
    made[name] = files.read_object(os.path.join(out, "manifest.json"))
  return made


_OF_MANIFEST = ("ended", "items", "candidates", "rows", "dropped", "tokens", "cost", "teacher", "rows_sha256", "spread")


def _made(
  run_dir: str, made: dict[str, Any], heldout: Sequence[example_lib.Example]
) -> tuple[list[example_lib.Example], Any]:
  paths = [os.path.join(run_dir, "synth", name, "rows.jsonl") for name in made]
  short = [name for name, one in made.items() if not one["rows"]]
  check.require(not short, f"{', '.join(short)}: no row was accepted; {run_dir}/synth says why (dropped.jsonl)")
  kept, dropped = improve_arms.generated(paths, heldout)
  why = ", ".join(f"{count} {reason}" for reason, count in dropped.most_common(3))
  check.require(kept, f"of the rows that were made none is left ({why}): ask what held-out rows do not ask")
  return kept, dropped


def _tokens(base: str, max_length: int) -> improve_arms.Tokens:
  """How many tokens a row has for the model, 0 where it cannot be rendered; counted once a row."""
  model = specs.Model(base=base) if base else specs.Model()
  renderer = rendering_lib.open_renderer(model, chat.Rendering(max_length=max_length))
  known: dict[str, int] = {}

  def count(example: example_lib.Example) -> int:
    if example.id not in known:
      try:
        known[example.id] = sum(len(row.ids) for row in renderer.render(example))
      except example_lib.BadRow:
        known[example.id] = 0
    return known[example.id]

  return count


def _trained(steps: "_Steps", run_dir: str, arm: str, seed: int, found: improve_arms.Arm, tried: list[str]) -> str:
  """Trains and evaluates an arm; returns its run directory."""
  folder = os.path.join(run_dir, f"{arm}{seed}")
  rows = os.path.join(run_dir, "arms", f"{arm}{seed}.jsonl")
  files.write_text(rows, improve_arms.lines(found.rows))
  own = [*tried, f"--data={rows}", f"--gin.SEED={seed}"]
  steps.run(["prepare", *[flag for flag in own if not flag.startswith("--steps")]])
  steps.run(["train", *own, f"--run_dir={folder}"])
  evaluated = [flag for flag in own if not flag.startswith("--steps")]
  steps.evaluate(["eval", *evaluated, f"--run_dir={folder}", f"--adapter={folder}", "--name=heldout"], folder)
  return folder


class _Steps:
  """Runs commands as one would type them, and keeps what was typed."""

  def __init__(self):
    self.lines: list[str] = []

  def run(self, argv: list[str]) -> str:
    """Runs one; returns its stdout. Raises RunError naming it; it has said why."""
    self.lines.append(f"itune {shlex.join(argv)}")
    log.info(f"\n{self.lines[-1]}", event="command")
    done = subprocess.run(
      [sys.executable, "-m", "itune_jax.run.cli", *argv], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
      raise errors.RunError(f"itune {argv[0]} failed: see what it says above")
    return done.stdout

  def told(self, argv: list[str]) -> Any:
    """Runs one whose stdout is JSON."""
    return json.loads(self.run(argv))

  def evaluate(self, argv: list[str], folder: str) -> None:
    """Runs an evaluation that does not stand there yet; its figures are the last that it writes. The command is kept
    either way: it made what stands there."""
    written = files.names(os.path.join(folder, "evals", "heldout"))
    if any(name.endswith(".json") for name in written):
      self.lines.append(f"itune {shlex.join(argv)}")
      log.info(f"{folder}: evaluated already")
    else:
      self.run([*argv, "--overwrite"] if written else argv)


def _show(told: dict[str, Any]) -> None:
  shown = rich.table.Table("arm", "rows", "tokens")
  for seed, arms in told["arms"].items():
    for arm, one in arms.items():
      shown.add_row(f"{arm}, {seed}", f"{one['rows']}", f"{one['tokens']}")
  console.show(shown)
  log.info(f"wrote {told['page']}")


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command; returns what was found."""
  teacher = [f"--responder={args.responder}", f"--responder_model={args.responder_model}"] if args.responder else []
  given = {"run_dir": args.run_dir, "real": args.real, "eval_data": args.eval_data, "test": args.check}
  return gin_setup.call(one_round, base=args.base, data=args.data, recipes=args.recipe, teacher=teacher, **given)
