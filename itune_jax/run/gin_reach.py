"""Which statements of gin files a run's own bindings reach: so that a light command imports only what it uses."""

from collections.abc import Iterator, Sequence

from gin import config_parser

from itune_jax.run import gin_files


def reachable(files: Sequence[gin_files.File], without: set[str]) -> set[int]:
  """The identities of the statements that the first file, the run, reaches through macros and references.

  Bindings of modules that are not reached are not looked at. without: bindings, "module.Class.field", that count as not
  there.
  """
  everything = [(file, one) for file, one in gin_files.flat(files)]
  bindings = [(file, one) for file, one in everything if isinstance(one, gin_files.Binding)]
  _, kept = _walked(files[0], bindings, without)
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


def names(files: Sequence[gin_files.File]) -> set[str]:
  """What the first file, the run, reaches: macros as "%NAME", classes as "module.Class". Of a macro that is set more
  than once only the last value counts, as in gin."""
  last: dict[str, gin_files.Binding] = {}
  bindings = [(file, one) for file, one in gin_files.flat(files) if isinstance(one, gin_files.Binding)]
  for _, one in bindings:
    if not one.parameter:
      last[one.selector] = one
  lasting = [(file, one) for file, one in bindings if one.parameter or last[one.selector] is one]
  return _walked(files[0], lasting, set())[0]


def _walked(
  run: gin_files.File, bindings: Sequence[tuple[gin_files.File, gin_files.Binding]], without: set[str]
) -> tuple[set[str], dict[int, tuple[gin_files.File, gin_files.Binding]]]:
  """The names that the run reaches, and the bindings of them, by their identity."""
  wanted: set[str] = set()
  todo = [name for file, one in bindings if file is run for name in _names(file, one)]
  kept: dict[int, tuple[gin_files.File, gin_files.Binding]] = {id(o): (f, o) for f, o in bindings if f is run}
  while todo:
    name = todo.pop()
    if name in wanted:
      continue
    wanted.add(name)
    for file, one in bindings:
      if name == target(file, one, wanted) and f"{name}.{one.parameter}" not in without:
        kept[id(one)] = (file, one)
        todo += _references(file, one)
  return wanted, kept


def _names(file: gin_files.File, one: object) -> list[str]:
  return [target(file, one, ()), *_references(file, one)] if isinstance(one, gin_files.Binding) else []


def target(file: gin_files.File, one: gin_files.Binding, wanted) -> str:
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
