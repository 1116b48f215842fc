"""What was typed behind a command's name, checked before argparse reads it, so that each slip is one line.

argparse prints the usage of all flags, takes the last of several values, and says nothing of what was meant.
"""

import argparse
from collections.abc import Iterator, Sequence
import os
import re
from typing import NoReturn

from itune_jax.core import errors
from itune_jax.core import nearest
from itune_jax.run import macros

# Texts of the user's own, which may be anything: empty, or in quotes.
_FREE = ("--prompt", "--stop")

# What other tools call it, for the line that refuses their flag.
_ELSEWHERE = {
  "--run_dir": ("output_dir",),
  "--base": ("model", "model_name", "model_name_or_path", "base_model", "pretrained_model_name_or_path"),
  "--data": ("dataset", "dataset_name", "dataset_path", "train_file", "data_path"),
  "--gin_file": ("recipe", "config", "config_file"),
  "--steps": ("max_steps", "num_steps", "train_steps"),
  "--epochs": ("num_epochs", "num_train_epochs"),
  "--gin.schedule.Schedule.rate": ("lr", "learning_rate"),
  "--gin.schedule.Schedule.warmup": ("warmup", "warmup_ratio", "warmup_steps"),
  "--gin.feed.Packing.rows": ("batch_size", "train_batch_size", "per_device_train_batch_size", "micro_batch_size"),
  "--gin.MICRO_BATCHES": ("gradient_accumulation_steps",),
  "--gin.chat.Rendering.max_length": ("max_length", "max_seq_length", "max_seq_len", "cutoff_len", "sequence_len"),
  "--gin.lora.Lora.rank": ("rank", "r", "lora_r", "lora_rank"),
  "--gin.lora.Lora.alpha": ("lora_alpha",),
  "--gin.checkpoint.Keep.every": ("save_steps",),
}


class Help(argparse.RawDescriptionHelpFormatter):
  """Says the default behind a flag's meaning, where it has one that the meaning does not tell."""

  def _get_help_string(self, action: argparse.Action) -> str | None:
    text = action.help
    silent = action.default in (None, "", [], False, argparse.SUPPRESS) or not action.option_strings
    return text if silent or text is None or "default" in text else f"{text} (default: %(default)s)"


class Parser(argparse.ArgumentParser):
  """Raises InputError in one line where argparse would print its usage and end the process."""

  def error(self, message: str) -> NoReturn:
    """Raises InputError with argparse's message in this project's words."""
    raise errors.InputError(_said(self.prog, message))


def check(parser: argparse.ArgumentParser, argv: Sequence[str], reads_gin: bool, hands_on: bool = False) -> None:
  """Raises InputError for a flag that the command does not have, or that is given twice though it has one value; for
  an empty value, as of a shell's variable that is not set (`--run_dir=""` would be the current folder, and
  `--adapter=""` the base model); and for a name in quotes of its own, which is no file's.

  argv: without values of gin. reads_gin: whether the command takes those. hands_on: whether flags that it does not know
  are another command's.
  """
  known = parser._option_string_actions
  seen: dict[str, str] = {}
  for flag, value in _pairs(argv):
    if flag not in known and hands_on:
      continue
    if flag not in known:
      raise errors.InputError(_unknown(parser.prog, flag, known, reads_gin))
    action = known[flag]
    if type(action) is argparse._StoreAction and flag in seen:
      raise errors.InputError(f"{flag} is given twice ({seen[flag]} and {value}): it has one value")
    seen[flag] = str(value)
    if value is not None and flag not in _FREE:
      if not value.strip():
        raise errors.InputError(f"{flag} is empty: give it a value, or leave it out")
      if value[0] == value[-1] and value[0] in "'\"" and len(value) > 1 and not os.path.exists(value):
        raise errors.InputError(f"{flag}={value}: the quotes are part of the value: write {flag}={value[1:-1]}")


def check_places(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
  """Raises InputError for an empty argument that stands without a flag, as of a shell's variable that is not set."""
  for action in parser._actions:
    if not action.option_strings and action.nargs != "?":
      found = getattr(args, action.dest, None)
      if any(value == "" for value in (found if isinstance(found, list) else [found])):
        raise errors.InputError(f"{action.metavar or action.dest} is empty: give it a value")


def check_once(given: Sequence[tuple[str, str]]) -> None:
  """Raises InputError for a value of gin that is given twice.

  given: (what was typed, the name that it sets); `schedule.Schedule.rate` and `Schedule.rate` are one name.
  """
  parts = [(typed, *name.rpartition("/")[::2]) for typed, name in given]
  for i, (typed, scope, name) in enumerate(parts):
    for earlier, other_scope, other in parts[:i]:
      if scope == other_scope and (f".{name}".endswith(f".{other}") or f".{other}".endswith(f".{name}")):
        raise errors.InputError(f"{earlier} and {typed} set the same value: give one of them")


def _pairs(argv: Sequence[str]) -> Iterator[tuple[str, str | None]]:
  """Flags as argparse tells them from other words, each with what stands behind it, or None where nothing does."""
  for i, word in enumerate(argv):
    if word == "--":
      return
    if not word.startswith("--") or " " in word.partition("=")[0]:
      continue
    flag, equals, value = word.partition("=")
    behind = argv[i + 1] if i + 1 < len(argv) and not argv[i + 1].startswith("--") else None
    yield flag, value if equals else behind


def _unknown(prog: str, flag: str, known: Sequence[str] | dict, reads_gin: bool) -> str:
  macro = flag.removeprefix("--").replace("-", "_").upper()
  ours = next((own for own, theirs in _ELSEWHERE.items() if macro.lower() in theirs), "")
  if ours in known or reads_gin and ours.startswith("--gin."):
    return f"{prog} has no {flag}; here it is {ours}=…"
  hint = f"; did you mean --gin.{macro}=…?" if reads_gin and macro in macros.MACROS else nearest.meant(flag, known)
  if not hint and reads_gin:
    hint = f"; other values are --gin.NAME=VALUE, and {prog} --help lists all flags"
  return f"{prog} has no {flag}{hint or f'; {prog} --help lists what there is'}"


def _said(prog: str, message: str) -> str:
  """A message of argparse, with what was given in front and without its grammar."""
  if found := re.fullmatch(r"the following arguments are required: (.*)", message):
    return f"{prog} needs {found[1].replace(', ', ' and ')}; {prog} --help tells more"
  if found := re.fullmatch(r"unrecognized arguments: (.*)", message):
    return f"{prog}: {found[1]} is no flag, and belongs to none; {prog} --help lists what there is"
  if found := re.fullmatch(r"argument (?P<flag>\S+): invalid (?P<kind>\w+) value: (?P<value>.*)", message):
    kind = {"int": "a whole number", "float": "a number"}.get(found["kind"], found["kind"])
    return f"{found['flag']} must be {kind}, not {found['value']}"
  if found := re.fullmatch(r"argument (\S+): invalid choice: (.*) \(choose from (.*)\)", message):
    known = [one.strip().strip("'") for one in found[3].split(",")]
    return (
      f"{found[1]} must be one of {', '.join(known)}, not {found[2]}{nearest.meant(found[2].strip(chr(39)), known)}"
    )
  if found := re.fullmatch(r"argument (\S+): expected (.*)", message):
    return f"{found[1]} stands without a value: write {found[1]}=…"
  return f"{prog}: {message}"
