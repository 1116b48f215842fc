"""The flags of `itune eval`."""

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.grading.sandbox import sandbox
from itune_jax.run import command
from itune_jax.run.commands import judging_flags

# What flags change of how every benchmark of --suite is asked (`evals.official.Settings`).
SETTINGS = {
  "shots": (int, "N", "examples in front of each question"),
  "limit_each": (int, "N", "the first N items of each subtask; --limit spreads N items over subtasks"),
  "variant": (str, "NAME", "which of a benchmark's variants"),
  "form": (str, "FORM", "how prompts are put: plain, chat (one user's turn), turns (shots are turns)"),
  "samples": (int, "N", "answers to each question"),
  "max_new_tokens": (int, "N", "tokens of an answer at most"),
  "temperature": (float, "X", "how answers are drawn; 0 is greedy"),
  "thinking_budget": (int, "N", "tokens after which thinking is ended and the answer follows; it implies --thinks"),
}
_OF_MODEL = ("data_dir", "out", "lm_eval_out", "responses", "responder", "responder_model", "thinks", "sandbox")
_HELD = ("contamination",)
_ROBUST = ("robust", "robust_variants", "robust_budget")
_OF_SUITE = (*_OF_MODEL, "with_base", *_ROBUST, *_HELD, *SETTINGS, *judging_flags.NAMES)


def flags(parser: command.Parser) -> None:
  """Adds them."""
  command.adapter_flag(parser)
  command.as_asked_flag(parser)
  parser.add_argument("--run_dir", default="", help="write results to this run's evals/NAME (default: print only)")
  parser.add_argument("--name", default="eval", help="name of this evaluation in the run directory, e.g. before")
  command.overwrite_flag(parser, "an earlier evaluation of this --name in the run directory")
  parser.add_argument("--dry_run", action="store_true", help="load model and items, evaluate nothing")
  suite = parser.add_argument_group("published benchmarks (without --gin_file: --base, --adapter or --responses)")
  suite.add_argument("--suite", default="", metavar="A,B", help="benchmarks by name, asked together; --list has them")
  suite.add_argument("--list", action="store_true", help="print the table of benchmarks")
  suite.add_argument("--data_dir", default="", metavar="DIR", help="the folder of their files (default: ITUNE_DATA)")
  suite.add_argument(
    "--out", default="", metavar="DIR", help="write figures and rows here; what is there is gone on with"
  )
  text = "ask the base the same in this run, and compare both: two evaluations and a page, in --out or --run_dir"
  suite.add_argument("--with_base", action="store_true", help=text)
  suite.add_argument(
    "--lm_eval_out",
    default="",
    metavar="DIR",
    help="write them as lm-eval's files too (results_*.json, samples_*.jsonl)",
  )
  text = "score the answers in this file (.jsonl, .json, .gz) without a model; for several benchmarks: NAME=FILE,…"
  suite.add_argument("--responses", default="", metavar="FILE", help=text)
  suite.add_argument("--responder", default="", metavar="URL", help="ask this OpenAI-compatible endpoint")
  suite.add_argument("--responder_model", default="", metavar="NAME", help="the model that the endpoint is asked for")
  suite.add_argument("--thinks", action="store_true", help="the model thinks before it answers, up to </think>")
  text = "the least tier of the sandbox in which programs that the model wrote are run (default: landlock)"
  suite.add_argument("--sandbox", default="", choices=sandbox.TIERS, metavar="TIER", help=text)
  for name, (kind, metavar, text) in SETTINGS.items():
    suite.add_argument(f"--{name}", type=kind, metavar=metavar, help=text)
  add = parser.add_argument_group("how far figures hang on the way of asking").add_argument
  kinds = (
    "format, perturb, options, shots, examples, system, temperature, seed, jailbreaks, quantised, confidence, or all"
  )
  add("--robust", default="", metavar="A,B", help=f"asks each benchmark in other ways too: {kinds}")
  add("--robust_variants", type=int, metavar="K", help="ways of each kind at most (default: 4)")
  text = "searches 64 formats by Thompson sampling, N items in all (default: every item of K formats)"
  add("--robust_budget", type=int, metavar="N", help=text)
  text = "training data, as `train --data=…` has it: says which items stand in it; figures with and without them"
  add("--contamination", default="", metavar="FILES", help=text)
  judging_flags.flags(parser)


def together(args: command.Args) -> None:
  """Takes --limit for the suite, and lets a suite do without a recipe. Raises InputError for what does not go
  together."""
  args.limit = 0
  if args.list:
    args.gin = ""
    return
  if args.suite:
    args.limit = command.items_limit(args)
    if not args.gin_file:
      args.gin = "suite"
    judging_flags.together(args)
    alone = args.responses or args.responder or args.annotations
    model = args.adapter or args.gin_file or args.macro_BASE
    check.require(alone or model, "--suite needs a model: --base, --adapter or --gin_file; or --responses, --responder")
    if args.with_base:
      check.require(not alone and args.adapter, "--with_base compares an adapter with its base: give --adapter")
      check.require(args.out or args.run_dir, "--with_base writes two evaluations and a page: give --out or --run_dir")
    if alone and not args.gin_file:
      args.gin = ""
    check.require(
      not (args.thinking_budget and alone), "--thinking_budget ends the thinking of a model on the mesh: it needs one"
    )
    check.require(not (args.robust and alone and not args.responder), "--robust asks in other ways: it needs a model")
    given = [name for name in _ROBUST[1:] if getattr(args, name) is not None]
    check.require(args.robust or not given, f"--{given[0] if given else ''} is of --robust, which is not given")
    check.require(not (args.responses and args.responder), "--responses and --responder exclude each other")
    check.require(bool(args.responder) == bool(args.responder_model), "--responder and --responder_model go together")
    return
  if args.responses:
    args.gin = "stored"
  given = [name for name in _OF_SUITE if getattr(args, name) not in ("", None, False) and name != "responses"]
  if given:
    raise errors.InputError(f"--{given[0]} is for published benchmarks: name them with --suite (--list has them)")
  check.require(
    args.gin_file, "nothing to evaluate: give --suite (--list has the benchmarks), or a recipe (--gin_file)"
  )


COMMAND = command.Command(
  name="eval",
  help="run a recipe's evaluators, or published benchmarks, on the base model or on an adapter",
  work="itune_jax.run.commands.evaluate:from_flags",
  reads_data=True,
  flags=flags,
  check=together,
  gin="eval",
  optional=True,
  starts="cluster",
  says_idle="an adapter brings its own method, and without one the base model is evaluated",
)
