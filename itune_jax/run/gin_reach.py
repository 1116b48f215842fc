"""Which statements of gin files a run's own bindings reach: so that a light command imports only what it uses."""

from collections.abc import Iterator, Sequence

from gin import config_parser

from itune_jax.core import errors
from itune_jax.run import gin_files
from itune_jax.run import gin_values


def reachable(files: Sequence[gin_files.File], without: set[str]) -> set[int]:
  """The identities of the statements that the first file, the run, reaches through macros and references.

  Bindings of modules that are not reached are not looked at, but an override must name a module of some file. without:
  bindings, "module.Class.field", that count as not there.
  """
  everything = [(file, one) for file, one in gin_files.flat(files)]
  modules = {module for file, _ in everything for module in file.imports().values()}
  wanted: set[str] = set()
  todo = [name for file, one in everything if file is files[0] for name in _names(file, one)]
  bindings = [(file, one) for file, one in everything if isinstance(one, gin_files.Binding)]
  kept: dict[int, tuple[gin_files.File, gin_files.Binding]] = {id(o): (f, o) for f, o in bindings if f is files[0]}
  while todo:
    name = todo.pop()
    if name in wanted:
      continue
    wanted.add(name)
    for file, one in bindings:
      if name == _target(file, one, wanted) and f"{name}.{one.parameter}" not in without:
        kept[id(one)] = (file, one)
        todo += _references(file, one)
  _check_overrides(files, modules)
  used = {(file.path, _first(name)) for file, one in kept.values() for name in _spoken(one)}
  spoken = {_first(name) for _, one in bindings for name in _spoken(one)}
  keep = set(kept)
  for file, one in everything:
    if isinstance(one, config_parser.ImportStatement):
      # A module that nothing speaks of is imported for what it does: it registers something.
      own = not one.module.startswith("itune_jax") and one.bound_name() not in spoken
      if own or one.module.startswith("__gin__.") or (file.path, one.bound_name()) in used:
        keep.add(id(one))
  return keep


def _names(file: gin_files.File, one: object) -> list[str]:
  return [_target(file, one, ()), *_references(file, one)] if isinstance(one, gin_files.Binding) else []


def _target(file: gin_files.File, one: gin_files.Binding, wanted) -> str:
  """What a binding is of: a macro's name, or "module.Class"."""
  if not one.parameter:
    return f"%{one.selector}"
  return _full(file, one.selector, wanted)


def _references(file: gin_files.File, one: gin_files.Binding) -> Iterator[str]:
  for each in gin_files.within(one.value):
    if isinstance(each, gin_files.Use):
      yield f"%{each.name}"
    else:
      yield _full(file, each.selector.rsplit("/", 1)[-1], ())


def _full(file: gin_files.File, selector: str, wanted) -> str:
  """A selector with its module. The command line imports nothing: its names are the ends of others'."""
  first, _, rest = selector.partition(".")
  known = file.imports()
  if first in known:
    return f"{known[first]}.{rest}"
  return next((name for name in wanted if name == selector or name.endswith(f".{selector}")), selector)


def _spoken(one: gin_files.Binding) -> Iterator[str]:
  """The names by which a binding calls modules."""
  if one.parameter:
    yield one.selector
  for each in gin_files.within(one.value):
    if isinstance(each, gin_files.Reference):
      yield each.selector.rsplit("/", 1)[-1]


def _first(selector: str) -> str:
  return selector.partition(".")[0]


def _check_overrides(files: Sequence[gin_files.File], modules: set[str]) -> None:
  """Raises InputError for an override of a module that no file imports: it is a slip, not a part that is not used."""
  ends = {module.rsplit(".", 1)[-1] for module in modules} | {module.split(".")[0] for module in modules}
  for file in files:
    if file.path != gin_values.COMMAND_LINE:
      continue
    for one in file.statements:
      first = _first(one.selector)
      if one.parameter and "." in one.selector and first not in ends:
        raise errors.InputError(f"--gin.{one.selector}.{one.parameter}: no file of this run imports {first}")
