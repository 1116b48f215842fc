"""Which items two evaluations share, and what must be said before their figures are compared."""

from collections.abc import Mapping
import dataclasses

from itune_jax.core import errors
from itune_jax.run.comparison import evaluated

_NAMED = 5  # items that a message names


@dataclasses.dataclass(frozen=True, kw_only=True)
class Match:
  """Two evaluations of one benchmark. pairs: the items that both have, by id. notes: what a reader must know."""

  first: evaluated.Evaluation
  second: evaluated.Evaluation
  pairs: Mapping[str, tuple[evaluated.Item, evaluated.Item]]
  only_first: tuple[str, ...] = ()
  only_second: tuple[str, ...] = ()
  notes: tuple[str, ...] = ()


def match(names: tuple[str, str], first: evaluated.Evaluation, second: evaluated.Evaluation) -> Match:
  """Pairs items by id. names: of the two runs, for what is said.

  Raises InputError where both have rows and none in common.
  """
  ones, twos = _same_keys(first.items, second.items)
  pairs = {id: (item, twos[id]) for id, item in ones.items() if id in twos}
  only_first = tuple(id for id in ones if id not in twos)
  only_second = tuple(id for id in twos if id not in ones)
  if ones and twos and not pairs:
    raise errors.InputError(
      f"{first.benchmark}: no item of {first.where} is in {second.where} ({_some(only_first)} / {_some(only_second)}): "
      "these are other items, or another version of the benchmark"
    )
  notes = [*first.notes, *second.notes, *_settings(names, first, second), *_differences(pairs)]
  for name, only in zip(names, (only_first, only_second), strict=True):
    if only and pairs:
      notes.append(f"{len(only):,} of the items {'is' if len(only) == 1 else 'are'} only in {name}: {_some(only)}")
  return Match(
    first=first, second=second, pairs=pairs, only_first=only_first, only_second=only_second, notes=tuple(notes)
  )


def _same_keys(
  first: Mapping[str, evaluated.Item], second: Mapping[str, evaluated.Item]
) -> tuple[Mapping[str, evaluated.Item], Mapping[str, evaluated.Item]]:
  """By number where one side's files have hashes of documents and the other's have none."""
  hashed = [any(item.document for item in items.values()) for items in (first, second)]
  numbered = all("doc_id" in item.more for items in (first, second) for item in items.values())
  if hashed[0] != hashed[1] and numbered:
    first, second = ({item.more["doc_id"]: item for item in items.values()} for items in (first, second))
  return first, second


def _settings(names: tuple[str, str], first: evaluated.Evaluation, second: evaluated.Evaluation) -> list[str]:
  """Settings that differ. One that only one side's files tell is not known to be equal, which is said too."""
  if bool(first.settings) != bool(second.settings):
    unknown = names[0] if second.settings else names[1]
    return [
      f"the settings of {unknown} are not told (version, prompts, decoding, judge): whether they are equal is not known"
    ]
  notes = []
  for key in dict.fromkeys((*first.settings, *second.settings)):
    a, b = first.settings.get(key), second.settings.get(key)
    if a != b:
      told = lambda value: "not told" if value is None else value
      notes.append(f"{key} differs: {told(a)} ({names[0]}), {told(b)} ({names[1]})")
  return notes


def _differences(pairs: Mapping[str, tuple[evaluated.Item, evaluated.Item]]) -> list[str]:
  total, notes = len(pairs), []
  for what, of in (("prompts", "prompt"), ("right answers", "expected"), ("clusters", "cluster")):
    changed = sum(vars(a)[of] != vars(b)[of] for a, b in pairs.values() if vars(a)[of] and vars(b)[of])
    if changed:
      notes.append(f"{what} differ in {changed:,} of {total:,} shared items")
  return notes


def _some(ids: tuple[str, ...]) -> str:
  shown = ", ".join(ids[:_NAMED])
  return f"{shown} and {len(ids) - _NAMED:,} more" if len(ids) > _NAMED else shown
