"""The command line: a table of commands, their flags, and errors as one line.

`--help` imports neither JAX nor TensorFlow: a command's module is imported when it runs.
"""

import argparse
import importlib
import os
import sys
import traceback

from itune_jax.core import errors
from itune_jax.run import memory

COMMANDS = {
  "prepare": ("prepare", "render, tokenise and cache the training data of a recipe"),
  "train": ("train", "train as a recipe says; resumes a run directory that is there"),
  "eval": ("evaluate", "run a recipe's evaluators on the base model or on an adapter"),
  "generate": ("generate", "answer prompts, from a file, the command line, or interactively"),
  "export": ("export", "write a Hugging Face model folder or a PEFT adapter folder"),
  "import": ("import_", "bring a base model or a PEFT adapter into a folder of its own, with a manifest"),
  "merge": ("merge", "merge an adapter into its base and write a Hugging Face folder"),
  "plan": (
    "plan",
    "compile a recipe's training step for a TPU slice, without one: does it fit, how long does it take?",
  ),
  "inspect": ("inspect", "look at data (tokens coloured by loss weight) or at one training batch"),
  "report": ("report", "write report.html of a run directory"),
}


_HOSTS = "itune_jax.parallel.hosts"


def main(argv: list[str] | None = None) -> int:
  """Runs a command, that of the process without `argv`; returns the exit code: 0, 1 for a failed run, 2 for bad input.

  One of several processes does not return from a failure: it ends at once, so that no other waits for it.
  """
  try:
    code = _run(argv)
  except BaseException:
    if not _among_others():
      raise
    traceback.print_exc()
    code = 1
  if code and _among_others():
    sys.modules[_HOSTS].leave(code)
  return code


def _among_others() -> bool:
  """Whether a command joined other processes. The module is looked up, not imported: that would cost `--help` JAX."""
  return _HOSTS in sys.modules and sys.modules[_HOSTS].several()


def _run(argv: list[str] | None) -> int:
  own = argv is None
  argv = list(sys.argv[1:] if argv is None else argv)
  parser = _parser()
  if not argv or argv[0] in ("-h", "--help"):
    parser.print_help()
    return 0 if argv else 2
  if argv[0] not in COMMANDS:
    print(f"itune: unknown command {argv[0]!r}; commands are {', '.join(COMMANDS)}", file=sys.stderr)
    return 2
  debug = "--debug" in argv
  try:
    args = _parse(argv)
    if own and argv[0] == "train":  # what runs for seconds only gains less than it pays for clearing large pages
      memory.in_huge_pages()
    # Nothing on the way to here needs JAX; `itune COMMAND --help` stays quick.
    module = importlib.import_module(f"itune_jax.run.commands.{COMMANDS[argv[0]][0]}")
    module.main(args)
    return 0
  except errors.InputError as e:
    return _fail(e, 2, debug)
  except errors.RunError as e:
    return _fail(e, 1, debug)
  except KeyboardInterrupt as e:
    return _fail(
      errors.RunError("stopped by Ctrl-C; what was committed is whole, and the same command resumes"), 1, debug, e
    )
  except OSError as e:
    return _fail(errors.RunError(f"{e.filename or 'the system'}: {e.strerror or e}"), 1, debug, e)
  except BrokenPipeError:
    os._exit(1)


def _fail(error, code, debug, cause=None) -> int:
  if debug:
    raise (cause or error)
  print(f"itune: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
  return code


def _parse(argv: list[str]) -> argparse.Namespace:
  overrides = []
  rest = []
  for arg in argv:
    if arg.startswith("--gin."):
      name, equals, value = arg.removeprefix("--gin.").partition("=")
      if not equals or not name:
        raise errors.InputError(f"{arg}: write it as --gin.NAME=VALUE")
      overrides.append(f"{name} = {value}")
    else:
      rest.append(arg)
  args = _parser().parse_args(rest)
  args.overrides, args.argv = overrides, argv
  return args


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="itune",
    description="Instruction tuning of language models in JAX: prepare, train, evaluate, export.",
    epilog="Recipes are in gin_configs/recipes; --gin.NAME=VALUE changes any value. `itune COMMAND --help` tells more.",
  )
  commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
  for name, (_, text) in COMMANDS.items():
    sub = commands.add_parser(
      name, help=text, description=text[0].upper() + text[1:] + ("" if text.endswith("?") else ".")
    )
    _FLAGS[name](sub)
    sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
  return parser


def _gin(parser, required=True):
  parser.add_argument(
    "--gin_file",
    action="append",
    default=[],
    required=required,
    metavar="FILE",
    help="a recipe or overlay; repeat to append (gin_configs/ may be left out)",
  )
  parser.add_argument("--gin.NAME", dest="_", metavar="VALUE", help="override one value, e.g. --gin.STEPS=100")


def _adapter(parser):
  parser.add_argument("--adapter", default="", metavar="PATH", help="a run directory, a checkpoint, or a PEFT folder")


def _cluster(parser):
  parser.add_argument(
    "--cluster",
    default="",
    metavar="WHERE",
    help="join the other processes of this run: auto (TPU pod, GKE, Slurm, Open MPI) or HOST:PORT,PROCESSES,INDEX",
  )


def _train(p):
  _gin(p)
  _cluster(p)
  p.add_argument("--run_dir", required=True, help="where checkpoints, metrics and the report go")
  p.add_argument("--dry_run", action="store_true", help="build everything, print what would run, train nothing")


def _prepare(p):
  _gin(p)
  p.add_argument("--dry_run", action="store_true", help="count rows and print rates, write nothing")


def _eval(p):
  _gin(p)
  _cluster(p)
  _adapter(p)
  p.add_argument("--run_dir", default="", help="write results to this run's evals/NAME (default: print only)")
  p.add_argument("--name", default="eval", help="name of this evaluation in the run directory, e.g. before")
  p.add_argument("--dry_run", action="store_true", help="load model and items, evaluate nothing")


def _generate(p):
  _gin(p, required=False)
  _adapter(p)
  p.add_argument("--prompt", action="append", default=[], help="a prompt; repeat for more")
  p.add_argument("--image", action="append", default=[], metavar="FILE", help="an image for every --prompt; repeat")
  p.add_argument("--prompts", default="", metavar="FILE", help="JSON lines with `prompt` or `messages`")
  p.add_argument("--interactive", action="store_true", help="chat in the terminal (empty line or Ctrl-D ends)")
  p.add_argument("--output", default="", metavar="FILE", help="write JSON lines here instead of printing")


def _export(p):
  _gin(p, required=False)
  _adapter(p)
  p.add_argument(
    "--format",
    choices=("hf", "peft"),
    default="hf",
    help="hf: a whole model, adapter merged in; peft: the adapter alone",
  )
  p.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the weights of --format hf")
  p.add_argument("--dequantise", action="store_true", help="allow merging into the full weights of a quantised base")
  p.add_argument("--out", required=True, help="the folder to write")


def _import(p):
  _gin(p, required=False)
  p.add_argument(
    "--source", required=True, help="a known name, .gguf file, Hugging Face folder or hub id, or a PEFT folder"
  )
  p.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the written weights")
  p.add_argument("--out", required=True, help="the folder to write")


def _merge(p):
  _gin(p, required=False)
  p.add_argument(
    "--adapter",
    required=True,
    action="append",
    metavar="PATH",
    help="a run directory, a checkpoint, or a PEFT folder; repeat to combine several",
  )
  p.add_argument(
    "--weight", action="append", type=float, default=[], help="of each adapter, in their order (default: 1)"
  )
  p.add_argument(
    "--how",
    choices=("linear", "soup", "ties", "dare", "dare_ties", "slerp", "magnitude_prune"),
    default="linear",
    help="how what several do to the weights is combined (default: linear, the weighted sum)",
  )
  p.add_argument(
    "--factors",
    action="store_true",
    help="combine A with A and B with B, as peft's add_weighted_adapter (linear, ties, magnitude_prune)",
  )
  p.add_argument(
    "--density",
    type=float,
    default=0.2,
    help="ties, dare, magnitude_prune: share of the values that stays (default: 0.2)",
  )
  p.add_argument("--scale", type=float, default=1.0, help="factor of the result (default: 1)")
  p.add_argument("--seed", type=int, default=0, help="of what dare drops (default: 0)")
  p.add_argument(
    "--format",
    choices=("hf", "lora"),
    default="hf",
    help="hf: a whole model; lora: a PEFT folder of --rank, with what is lost (of one adapter of any linear kind too)",
  )
  p.add_argument("--rank", type=int, default=0, help="of --format lora")
  p.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the weights of --format hf")
  p.add_argument("--dequantise", action="store_true", help="allow merging into the full weights of a quantised base")
  p.add_argument("--out", required=True, help="the folder to write")


def _inspect(p):
  p.add_argument("what", choices=("data", "batch"), help="data: rendered examples; batch: the packed rows of one step")
  _gin(p)
  p.add_argument("--step", type=int, default=0, help="batch: which step's batch")
  p.add_argument("--examples", type=int, default=3, help="data: how many examples a source")
  p.add_argument("--html", default="", metavar="FILE", help="write a page instead of terminal colours")


def _plan(p):
  _gin(p)
  p.add_argument(
    "--topology",
    required=True,
    metavar="SLICE",
    help="a slice, e.g. v5e:4x4, v5p:4x4x4; or GPUs (an estimate): h100:64",
  )
  p.add_argument("--slices", type=int, default=1, help="how many such slices, joined by the network (default: 1)")
  p.add_argument(
    "--program",
    choices=("train", "score", "choices", "prefill", "prefill_next", "decode"),
    default="train",
    help="an optimizer step, or a program of the evaluators on as many rows as PACKING has (default: train)",
  )
  p.add_argument(
    "--choose_remat",
    action="store_true",
    help="compile the step with more and more activations kept, and say which choice that fits is fastest",
  )
  p.add_argument("--dry_run", action="store_true", help="build and trace the program, compile nothing")
  p.add_argument("--html", default="", metavar="FILE", help="write the table as a page too")


def _report(p):
  p.add_argument("--run_dir", required=True, help="the run to report on")


_FLAGS = {
  "prepare": _prepare,
  "train": _train,
  "eval": _eval,
  "generate": _generate,
  "export": _export,
  "import": _import,
  "merge": _merge,
  "plan": _plan,
  "inspect": _inspect,
  "report": _report,
}


if __name__ == "__main__":
  sys.exit(main())
