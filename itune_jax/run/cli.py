"""The command line: a table of commands, and the driver that all of them run through.

`itune --help` and `itune COMMAND --help` import no JAX: a command's flags are a module of their own, and its work is
imported when it runs.
"""

import argparse
import importlib
import json
import os
import sys
import traceback
from typing import Any

from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.core import nearest
from itune_jax.run import command
from itune_jax.run import exits
from itune_jax.run import memory
from itune_jax.run import quiet

# The module of `run/commands` that holds each command's COMMAND.
COMMANDS = {
  "prepare": "prepare_flags",
  "train": "train_flags",
  "eval": "evaluate_flags",
  "reference": "reference_flags",
  "teacher": "teacher_flags",
  "reward": "reward_flags",
  "compare": "compare_flags",
  "sweep": "sweep_flags",
  "dashboard": "dashboard_flags",
  "monitor": "monitor_flags",
  "convert": "convert_flags",
  "lm_eval": "lm_eval_flags",
  "generate": "generate_flags",
  "export": "export_flags",
  "push": "push_flags",
  "import": "import_flags",
  "merge": "merge_flags",
  "synth": "synth_flags",
  "improve": "improve_flags",
  "plan": "plan_flags",
  "constraint_pairs": "constraint_pairs_flags",
  "inspect": "inspect_flags",
  "select": "select_flags",
  "label": "label_flags",
  "templates": "templates_flags",
  "report": "report_flags",
  "demo": "demo_flags",
  "recipes": "recipes_flags",
  "init": "init_flags",
  "config": "explain_flags",
  "doctor": "doctor_flags",
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


def find(name: str) -> command.Command:
  """The command of this name. Raises KeyError when the table has none."""
  return importlib.import_module(f"itune_jax.run.commands.{COMMANDS[name]}").COMMAND


def _among_others() -> bool:
  """Whether a command joined other processes. The module is looked up, not imported: that would cost `--help` JAX."""
  return _HOSTS in sys.modules and sys.modules[_HOSTS].several()


def _run(given: list[str] | None) -> int:
  argv = list(sys.argv[1:] if given is None else given)
  if given is None:
    exits.raise_on_sigterm()
  try:
    try:
      return _dispatch(argv, own=given is None)
    finally:
      sys.stdout.flush()  # here a closed pipe is no accident; as the interpreter ends it would be one
  except exits.ERRORS as e:
    if isinstance(e, BrokenPipeError) and exits.nobody_reads():
      return exits.CLOSED_PIPE
    if "--debug" in argv:
      raise
    code, line = exits.explained(e)
    line = json.dumps({"event": "error", "text": line, "code": code}) if "--log_json" in argv else f"itune: {line}"
    print(line, file=sys.stderr, flush=True)
    return code


def _dispatch(argv: list[str], own: bool) -> int:
  if not argv or argv[0] in ("-h", "--help"):
    _overview().print_help()
    return 0 if argv else 2
  if argv[0] not in COMMANDS:
    hint = nearest.meant(argv[0], COMMANDS)
    raise errors.InputError(f"unknown command {argv[0]!r}{hint}; commands are {', '.join(COMMANDS)}")
  chosen = find(argv[0])
  args = chosen.parse(argv[1:])
  if own and chosen.large_pages:
    memory.in_huge_pages()
  quiet.settle(own and not args.debug)
  if args.log_json:
    _function("itune_jax.core.log:in_json")()
  _drive(chosen, args)
  return 0


def _drive(chosen: command.Command, args: command.Args) -> None:
  """The life of every command: start of the process, gin, work, and its result as the last line of stdout."""
  work = _function(chosen.work)
  if chosen.starts != "none":
    _function("itune_jax.run.process:start")(args.cluster)
  if args.gin:
    how = {
      "imports": args.imports,
      "light": chosen.light,
      "without": chosen.without,
      "placeholders": chosen.placeholders,
      "reads_data": chosen.reads_data,
      "command": chosen.name,
    }
    idle = _function("itune_jax.run.gin_setup:parse")(args.gin, args.gin_file, args.overrides, **how)
    for file in idle if chosen.says_idle else ():
      text = f"--gin_file={file}: itune {chosen.name} reads nothing of it; {chosen.says_idle}"
      _function("itune_jax.core.log:info")(text)
  for name in () if args.gin else args.imports:  # of SeqIO nothing is run here: its tasks have a process of their own
    _function("itune_jax.run.user_code:load")(name, [os.getcwd()], reads_data=False)
  result = work(args)
  if result is not None and (not args.cluster or _function("itune_jax.core.log:is_lead")()):
    print(json.dumps(jsontext.finite(result)), flush=True)  # JSON knows no NaN: other programs read this line


def _function(where: str) -> Any:
  module, _, name = where.partition(":")
  return getattr(importlib.import_module(module), name)


def _overview() -> argparse.ArgumentParser:
  """What `itune --help` shows."""
  parser = argparse.ArgumentParser(
    prog="itune",
    description="Instruction tuning of language models in JAX: prepare, train, evaluate, export.",
    epilog="`itune recipes` lists recipes, `itune init` copies them; --gin.NAME=VALUE changes any value, and "
    "`itune config` explains it. `itune COMMAND --help` tells more.",
  )
  commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
  for name in COMMANDS:
    commands.add_parser(name, help=find(name).help)
  return parser


if __name__ == "__main__":
  sys.exit(main())
