"""Whether values have an effect: one that a command would never read is refused, and named by who reads it.

A recipe is the description of a training run, and its values may be given to every command of that run alike. So on
the command line stands what the command reads, what the recipe's own files set or refer to, and what `itune train`
reads of it. A value that stands in a file may be for any command.
"""

from collections.abc import Iterator, Sequence
import functools
import os
import re

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import nearest
from itune_jax.run import gin_files
from itune_jax.run import gin_reach
from itune_jax.run import gin_values
from itune_jax.run import macros
from itune_jax.run import recipes

_RECIPE_RUNS = ("train", "prepare", "inspect", "eval")  # what reads a recipe; the others name a model


class Effect:
  """What of the files of a command is read.

  files: the run of the command, the user's files, and the command line. root: the folder gin_configs. command: the
  name of the command, for messages. imports: the modules that the command line imports.
  """

  def __init__(self, files: Sequence[gin_files.File], root: str, command: str, imports: Sequence[str] = ()):
    self._files, self._root, self._command, self._imports = files, root, command, imports
    self._given = [file for file in files if file.path == gin_values.COMMAND_LINE]
    self._own = [file for file in files[1:] if file.path != gin_values.COMMAND_LINE]
    self._reached = gin_reach.names(files)

  def check(self) -> None:
    """Raises InputError for a macro, or a value of a class, that would have no effect."""
    anywhere = gin_files.used(self._files) | set(self._runs_of())
    for name in sorted(gin_files.defined(self._own) - anywhere):
      raise errors.InputError(self._unread(name))
    for file in self._given:
      for one in file.statements:
        if one.parameter:
          self._check_parameter(one)
        elif not self._is_read(one.selector):
          raise errors.InputError(self._unread(one.selector))

  def idle(self, given: Sequence[str]) -> list[str]:
    """Those of the user's files of which the command reads nothing: none of their macros, none of their classes."""
    own = {recipes.find(name): name for name in given}
    asked = [(file, list(self._targets_read(file))) for file in self._own if file.path in own]
    return [own[file.path] for file, reads in asked if reads and not any(reads)]

  def _targets_read(self, file: gin_files.File) -> Iterator[bool]:
    for at, one in gin_files.flat([file]):
      if isinstance(one, gin_files.Binding):
        yield gin_reach.target(at, one, self._reached) in self._reached

  def _is_read(self, name: str) -> bool:
    if f"%{name}" in self._reached or name in gin_files.used(self._own) | gin_files.defined(self._own):
      return True
    return f"%{name}" in self._elsewhere.get("train", ())

  def _check_parameter(self, one: gin_files.Binding) -> None:
    """Raises InputError for a value of a class that no file imports, or that nothing of this recipe makes."""
    module, _, _ = one.selector.rpartition(".")
    if not module:
      return  # gin knows classes by their bare names, and says which it does not
    first = module.partition(".")[0]
    ends = {end for name in self._modules for end in (name.rsplit(".", 1)[-1], name.split(".")[0])}
    name = f"--gin.{one.selector}.{one.parameter}"
    check.require(first in ends, f"{name}: no file of this run imports {first}{nearest.meant(first, ends)}")
    known = any(each.startswith("itune_jax.") and each.endswith(f".{module}") for each in self._modules)
    if known and not self._mine(one) and not any(_holds(each, one) for each in self._elsewhere.values()):
      raise errors.InputError(f"{name}: nothing that is used here is a {one.selector}: it would have no effect")

  def mine(self, one: gin_files.Binding) -> bool:
    """Whether a statement of the command line is this command's, and not another's of the same recipe."""
    return not one.parameter or self._mine(one) or not any(_holds(each, one) for each in self._elsewhere.values())

  def _mine(self, one: gin_files.Binding) -> bool:
    return _holds(self._reached, one)

  @functools.cached_property
  def _modules(self) -> set[str]:
    """What the files import, those of the recipe's other commands too, and what the command line does."""
    files = [*self._files, *(self._runs.values() if self._own else ())]
    return {module for file, _ in gin_files.flat(files) for module in file.imports().values()} | set(self._imports)

  @functools.cached_property
  def _elsewhere(self) -> dict[str, set[str]]:
    """What each command that takes a recipe reads of these files."""
    return {run: gin_reach.names([file, *self._files[1:]]) for run, file in self._runs.items()} if self._own else {}

  @functools.cached_property
  def _runs(self) -> dict[str, gin_files.File]:
    paths = {run: os.path.join(self._root, "runs", f"{run}.gin") for run in _RECIPE_RUNS}
    return {run: gin_files.read(path) for run, path in paths.items() if os.path.exists(path)}

  def _unread(self, name: str) -> str:
    """The message of a macro that would have no effect."""
    known = gin_files.used(self._files)
    fields, runs = self._fields(name), [run for run in self._runs_of().get(name, ()) if run != self._command]
    if not fields and not runs:
      hint = nearest.meant(name, known | set(self._runs_of()))
      return f"{name} is set, but nothing refers to it: it would have no effect{hint or f'; known are {_join(known)}'}"
    flag = macros.MACROS[name].flag if name in macros.MACROS else ""
    said = f"{name} (--{flag})" if flag else name
    text = f"{said} is set, but itune {self._command} does not read it here: it would have no effect"
    if name == "DATA":
      return f"{text}; this recipe brings its own data: add --gin_file=data/jsonl.gin"
    reached = [field for _, field in fields if "/" not in field and self._is_reached(field.rpartition(".")[0])]
    if reached:
      return f"{text}; here its value is --gin.{reached[0]}=…"
    commands = f"itune {_join(set(runs))}" if runs else ""
    parts = f"the part {' or '.join(sorted({part for part, _ in fields}))}" if fields else ""
    return f"{text}; what reads it is {' or '.join(filter(None, (commands, parts)))}"

  def _is_reached(self, selector: str) -> bool:
    return any(name.endswith(f".{selector}") for name in self._reached)

  def _runs_of(self) -> dict[str, list[str]]:
    """The runs that refer to each macro, by themselves or in a file that they include."""
    texts: dict[str, str] = {}
    for file in sorted(os.listdir(os.path.join(self._root, "runs"))):
      with open(os.path.join(self._root, "runs", file), encoding="utf-8") as f:
        texts[file.removesuffix(".gin")] = f.read()
    includes = {run: re.findall(r'^include "runs/(\w+)\.gin"', text, re.M) for run, text in texts.items()}
    inner = {name for names_ in includes.values() for name in names_}
    found: dict[str, list[str]] = {}
    for run in sorted(texts.keys() - inner):
      whole = "\n".join(texts[each] for each in (run, *includes[run]) if each in texts)
      for name in set(re.findall(r"%([A-Z][A-Z0-9_]*)", whole)):
        found.setdefault(name, []).append(run)
    return found

  def _fields(self, name: str) -> list[tuple[str, str]]:
    """Where parts of gin_configs use a macro: (the part, "module.Class.field")."""
    found = []
    for folder in sorted(os.listdir(self._root)):
      at = os.path.join(self._root, folder)
      if folder == "runs" or not os.path.isdir(at):
        continue
      for file in sorted(each for each in os.listdir(at) if each.endswith(".gin")):
        with open(os.path.join(at, file), encoding="utf-8") as f:
          found += [(f"{folder}/{file}", field) for field in re.findall(rf"^(\S+) = %{name}\s*$", f.read(), re.M)]
    return found


def _holds(reached: set[str], one: gin_files.Binding) -> bool:
  return any(name == one.selector or name.endswith(f".{one.selector}") for name in reached)


def _join(found: set[str]) -> str:
  return ", ".join(sorted(found))
