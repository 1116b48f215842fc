"""`itune eval`: a recipe's evaluators on the base model or an adapter."""

from collections.abc import Sequence
import dataclasses
import functools
import os
import time
from typing import Any

import rich.table

from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.core import numerics
from itune_jax.data.render import chat
from itune_jax.evals import foreign_tasks
from itune_jax.evals import official
from itune_jax.evals import suite as suite_lib
from itune_jax.grading.sandbox import sandbox
from itune_jax.nn import quant as quant_lib
from itune_jax.parallel import mesh as mesh_lib
from itune_jax.run import adapters as adapters_lib
from itune_jax.run import beside_base
from itune_jax.run import command
from itune_jax.run import console
from itune_jax.run import contamination
from itune_jax.run import evaluators
from itune_jax.run import gin_setup
from itune_jax.run import lm_eval_out as lm_eval_out_lib
from itune_jax.run import results
from itune_jax.run import robustness
from itune_jax.run import run_dir as run_dir_lib
from itune_jax.run import session as session_lib
from itune_jax.run import specs
from itune_jax.run import suites
from itune_jax.run.commands import compare
from itune_jax.run.commands import compare_flags
from itune_jax.run.commands import evaluate_flags
from itune_jax.run.commands import judging
from itune_jax.run.comparison import comparing
from itune_jax.run.comparison import outcomes
from itune_jax.sampling import requests as requests_lib
from itune_jax.sampling.responders import http


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
  suite: suite_lib.Suite | None = None,
  out: str = "",
  lm_eval_out: str = "",
  robust: robustness.Robust | None = None,
  held_against: contamination.Data | None = None,
  with_base: bool = False,
) -> dict[str, Any]:
  """Runs every evaluator once; returns all figures, and writes them with their rows into the run directory.

  as_asked: uses model and rendering as given, where the adapter was trained with others.

  Raises InputError without evaluators, and where the model, the adapter or the data cannot be had.

  model: the base. rendering: how conversations become tokens. evals: the evaluators. mesh: how devices are laid out.
  precision: which dtype holds what. seed: of what is drawn. adapter: a run directory, checkpoint or PEFT folder, ""
  for none. run_dir: where figures and rows are written, "" for nowhere. name: of this evaluation in the run
  directory. dry_run: builds everything and evaluates nothing. overwrite: replaces an earlier evaluation of this name.
  suite: published benchmarks, in place of `evals`. out: where their figures and rows are written, in place of run_dir.
  lm_eval_out: where they are written as lm-eval writes its own. robust: how they are varied, None for not at all.
  held_against: training data that may hold their items. with_base: asks the base the same, and compares both.
  """
  if run_dir:
    run_dir_lib.check_place(run_dir)
  results.check_label(run_dir, name, overwrite or suite is not None)
  if not evals and suite is None:
    raise errors.InputError("this recipe has no evaluators: set EVALS, or include a file of gin_configs/evals")
  if suite is not None:
    suite.benchmarks()  # says what is missing before a model is loaded
  model, rendering = adapters_lib.as_trained(model, rendering, adapter, as_asked)
  how: dict[str, Any] = dict(mesh=mesh, precision=precision, seed=seed)
  if suite is not None:
    place = _Place(out or (os.path.join(run_dir, "evals", name) if run_dir else ""), lm_eval_out, overwrite, dry_run)
    asked_how = _How(robust, held_against)
    if with_base:
      both = beside_base.both(model, rendering, suite.decode, adapter, **how)
      return _beside(suite, both, place, asked_how, rendering, how, alone=bool(run_dir and not out))
    session = session_lib.open_session(model, **how, adapter=adapter)
    one = beside_base.one(session, rendering, suite.decode, adapter)
    return _suite(suite, one, place, asked_how, rendering, how)
  session = session_lib.open_session(model, **how, adapter=adapter)
  renderer = session.renderer(rendering)
  bound = evaluators.bound(evals, renderer, seed)
  if dry_run:
    return {}
  return _one_by_one(session, bound, run_dir, name)


def _one_by_one(session: session_lib.Session, bound: Sequence[Any], run_dir: str, name: str) -> dict[str, float]:
  """Runs evaluators, and writes each as it is done."""
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


def _kernels(model: specs.Model) -> tuple[str, ...]:
  """The kinds of kernels that a model could have in place of its own."""
  own = "whole" if model.quant is None else model.quant.kind
  return () if model.config is not None else tuple(kind for kind in ("whole", "int8", "nf4") if kind != own)


def _quantised(asked: beside_base.Asked, rendering, suite, how, kind) -> requests_lib.Responder:
  """The same model and adapter with other kernels."""
  model = dataclasses.replace(asked.session.model, quant=None if kind == "whole" else quant_lib.Quant(kind=kind))
  other = session_lib.open_session(model, **how, adapter=asked.adapter, tokenizer=asked.session.tokenizer)
  return other.responder(other.renderer(rendering), suite.decode)


@dataclasses.dataclass(frozen=True)
class _How:
  """How a suite is asked beyond itself: varied, held against training data, with other kernels; None for not at all."""

  robust: robustness.Robust | None
  held_against: contamination.Data | None
  quantised: robustness.Quantised | None = None


@dataclasses.dataclass(frozen=True)
class _Place:
  """Where figures and rows are written, as ours and as lm-eval's, "" for nowhere; whether they replace what is there,
  and whether nothing is to be asked at all."""

  folder: str
  lm_eval_out: str
  overwrite: bool
  dry_run: bool


def _suite(suite, asked: beside_base.Asked, place: _Place, how: _How, rendering, opened) -> dict[str, Any]:
  """The figures of published benchmarks, asked of a model on the mesh. opened: how its session was."""
  model = asked.session.model
  renderer = asked.session.renderer(rendering)
  after = lm_eval_out_lib.after(place.lm_eval_out, asked.adapter or model.base, asked.session, renderer)
  if place.dry_run:
    return {}
  other = functools.partial(_quantised, asked, rendering, suite, opened)
  kernels = robustness.Quantised(_kernels(model), other, "its weights are random (Model.config)")
  how, started = dataclasses.replace(how, quantised=kernels), time.perf_counter()
  with console.Bars("answers") as bars:
    bar = bars.add("eval " + ", ".join(suite.names))
    figures = _run(how, suite, asked.responder, asked.who, place.folder, bar.advance, place.overwrite, after)
    bar.finish()
  return figures | {"eval_s": time.perf_counter() - started}


def _beside(suite, both, place: _Place, how: _How, rendering, opened, alone: bool) -> dict[str, Any]:
  """The figures of the base and of the adapter, each under its name, and the page that compares them.

  alone: whether the adapter's stand in the folder itself and the base's beside it, as a run directory has evaluations.
  """
  figures: dict[str, Any] = {}
  folders: dict[str, str] = {}
  for asked in both:
    log.info(f"--with_base: the {asked.name} is asked")
    own = os.path.join(place.folder, asked.name)
    if alone:
      own = place.folder if asked.adapter else f"{place.folder}_{asked.name}"
    samples = os.path.join(place.lm_eval_out, asked.name) if place.lm_eval_out else ""
    there = dataclasses.replace(place, folder=own, lm_eval_out=samples)
    found = _suite(suite, asked, there, how, rendering, opened)
    figures |= {f"{asked.name}/{name}": value for name, value in found.items()}
    folders[asked.name] = own
  if place.dry_run or not log.is_lead():
    return figures
  page = os.path.join(place.folder, "compare.html")
  runs = compare.runs_of([f"{name}={folder}" for name, folder in folders.items()])
  compared = comparing.compare(runs, (), outcomes.Asked())
  compare.write(compared, page, compare_flags.ITEMS)
  compare.show(compared)
  return figures | {"page": page}


def stored(
  *,
  evals: Sequence[Any],
  responses: str,
  lm_eval_out: str = "",
  out: str = "",
  held_against: contamination.Data | None = None,
) -> dict[str, float]:
  """Scores stored answers to the suite among evaluators. Raises InputError where there is none, or several.

  evals: the evaluators. responses: the file of answers. lm_eval_out: where figures and rows are written as lm-eval's.
  out: where they are written as `itune compare` reads them, "" for nowhere. held_against: training data that may hold
  items.
  """
  found = [one for one in evals if isinstance(one, suite_lib.Suite)]
  if len(found) != 1:
    raise errors.InputError("--responses scores one suite (suite.Suite in EVALS, or --suite), which is not there")
  after = lm_eval_out_lib.after(lm_eval_out, os.path.basename(responses).partition(".")[0])
  held = contamination.Holding(held_against, out)
  figures = suites.stored(suites.completed(found)[0], responses, after, held.mark, out)
  held.tell()
  return figures


def from_flags(args: command.Args) -> dict[str, Any] | None:
  """Runs the command; returns all figures."""
  if args.list:
    suites.table()
    return None
  if args.annotations:
    roots = official.roots(args.data_dir, os.environ.get("ITUNE_DATA", ""))
    return judging.annotations(args, args.responses, roots)
  suite = _asked(args) if args.suite else None
  held_against = contamination.of(suite, args.contamination) if suite is not None and args.contamination else None
  if args.responses:
    if suite is not None:
      given = {name: getattr(args, name) for name in ("responses", "lm_eval_out", "out")}
      return stored(evals=(suite,), held_against=held_against, **given)
    return gin_setup.call(stored, responses=args.responses)
  if args.responder and suite is not None:
    key = os.environ.get("OPENAI_API_KEY", "")
    asked = http.HttpResponder(url=args.responder, model=args.responder_model, key=key)
    who = {"responder": args.responder, "model": args.responder_model}
    with console.Bars("answers") as bars:
      bar = bars.add("eval " + ", ".join(suite.names))
      after = lm_eval_out_lib.after(args.lm_eval_out, args.responder_model)
      how = _How(_robust(args), held_against)
      return _run(how, suite, asked, who, args.out, bar.advance, args.overwrite, after)
  if suite is not None:
    names = ("adapter", "run_dir", "name", "dry_run", "as_asked", "overwrite", "out", "lm_eval_out", "with_base")
    more = {"robust": _robust(args), "held_against": held_against}
    given = {name: getattr(args, name) for name in names}
    return gin_setup.call(evaluate, suite=suite, evals=(), **more, **given)
  names = ("adapter", "run_dir", "name", "dry_run", "as_asked", "overwrite")
  figures = gin_setup.call(evaluate, **{name: getattr(args, name) for name in names})
  if args.dry_run:
    log.info("--dry_run: model and items are there; nothing was asked")
    return figures
  who = args.adapter or "base model"
  table = rich.table.Table("figure", "value", "95 % interval", title=f"{args.name}: {who}" if args.name else who)
  for name, value, ends in console.bounds(figures):
    table.add_row(name, f"{value:.4f}", f"[{ends[0]:.4f}, {ends[1]:.4f}]" if ends else "")
  console.show(table)
  return figures


def _run(how: _How, suite, responder, who, out, *given) -> dict[str, Any]:
  """The figures of a suite, and of its variations where there are some."""
  held = contamination.Holding(how.held_against, out)
  if how.robust is None:
    figures = suites.run(suite, responder, who, out, *given, mark=held.mark)
  else:
    more = {"mark": held.mark, "quantised": how.quantised}
    figures = robustness.run(suite, how.robust, responder, who, out, *given, **more)
  held.tell()
  return figures


def _robust(args: command.Args) -> robustness.Robust | None:
  """How the flags vary a suite; None where they do not."""
  if not args.robust:
    return None
  counts = {"variants": args.robust_variants, "budget": args.robust_budget}
  given = {name: value for name, value in counts.items() if value is not None}
  return robustness.Robust(kinds=robustness.named(args.robust), **given)


def _asked(args: command.Args) -> suite_lib.Suite:
  """The suite that flags ask for."""
  given = {name: getattr(args, name) for name in evaluate_flags.SETTINGS if getattr(args, name) is not None}
  if args.sandbox:
    given["sandbox"] = sandbox.Sandbox(require=args.sandbox)
  judged = {"judge": judging.judge(args), "baseline": args.baseline}
  common = official.Settings(limit=args.limit, thinks=args.thinks, **judged, **given)
  names = foreign_tasks.named(suites.named(args.suite), args.imports)
  suite = suite_lib.Suite(names=names, common=common, data=args.data_dir)
  return suites.completed([suite])[0]
