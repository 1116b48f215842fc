"""Tasks and mixtures of SeqIO as rows. Importing this module imports TensorFlow: only `itune prepare` comes here, and a
process that runs a task's own metrics (`seqio_metrics`)."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import seqio

from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.core import nearest
from itune_jax.data import fields
from itune_jax.data.origins import origin


def parts(task: origin.Asked) -> Iterator[origin.Part]:
  """The tasks behind a name and their rates, as SeqIO itself gives them: nested mixtures and rates that are functions
  included. A task without the split is left out, as SeqIO does, and said.

  Raises InputError for an unknown name or split, and for rates that SeqIO cannot give.
  """
  if task.folder:
    seqio.set_global_cache_dirs([task.folder])
  found = provider(task.name)
  tasks = found.tasks if isinstance(found, seqio.Mixture) else [found]
  having = [one for one in tasks if task.split in one.splits]
  if not having:
    splits = sorted({split for one in tasks for split in one.splits})
    raise errors.InputError(f"{task.called} has no split {task.split!r}; it has {', '.join(splits)}")
  for one in tasks:
    if one not in having:
      log.info(f"{task.called}: task {one.name} has no split {task.split!r}, and is left out")
  rates = {one.name: _rate(found, one, task) for one in having}
  for one in having:
    if rates[one.name] > 0:
      yield origin.Part(one.name, rates[one.name], _rows(one, task))
    else:
      log.info(f"{task.called}: task {one.name} has the rate 0, and is left out")


def provider(name: str) -> Any:
  """The task or mixture of a name. Raises InputError with names that are near."""
  known = [*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()]
  if name not in known:
    raise errors.InputError(
      f"SeqIO has no task or mixture {name!r}{nearest.meant(name, known)}; --import=MODULE names the module that "
      f"registers it ({len(known)} are registered)"
    )
  return seqio.get_mixture_or_task(name)


def is_mixture(found: Any) -> bool:
  """Whether what a name stands for is a mixture, not a task."""
  return isinstance(found, seqio.Mixture)


def _rate(found: Any, one: Any, task: origin.Asked) -> float:
  if not isinstance(found, seqio.Mixture):
    return 1.0
  try:
    return float(found.get_rate(one))
  except Exception as e:  # whatever a rate that is a function of the user's raises
    raise errors.InputError(f"{task.called}: the rate of {one.name}: {type(e).__name__}: {e}") from e


def _rows(one: Any, task: origin.Asked) -> Iterator[origin.Row]:
  """The examples of a task in the order of its source, each mapped."""
  how, decoded = origin.mapping(task.chat), Decoder(one.output_features)
  if task.folder and not one.cache_dir:
    raise errors.InputError(f"{task.called}: {one.name} is not cached in {task.folder}")
  given: dict[str, Any] = dict(split=task.split, shuffle=False, seed=task.seed, use_cached=bool(task.folder))
  try:
    for example in one.get_dataset(dict(task.lengths) or None, **given).as_numpy_iterator():
      yield origin.mapped(lambda each: how(decoded(each)), example)
  except errors.InputError:
    raise
  except Exception as e:  # what a source or preprocessor of the user's raises, in TensorFlow's words
    first = next((line for line in str(e).splitlines() if line.strip()), type(e).__name__)
    raise errors.InputError(f"{task.called}: {one.name} cannot be read: {type(e).__name__}: {first[:300]}") from e


class Decoder:
  """The features of an example in plain values: those of ids as texts, and under `NAME_ids` as they are."""

  def __init__(self, features: Mapping[str, Any]):
    self._features = features

  def __call__(self, example: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in example.items():
      feature = self._features.get(name)
      is_ids = feature is not None and isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.integer)
      passed = feature is None or isinstance(feature.vocabulary, seqio.PassThroughVocabulary)
      found[name] = origin.plain(value)
      if is_ids and value.ndim == 1:
        found[f"{name}_ids"] = found[name]
        if not passed:
          found[name] = self._text(feature, found[name], example.get(f"{name}_pretokenized"))
    return found

  def _text(self, feature: Any, ids: list[int], before: Any) -> str:
    """The text of ids: what they were made of, where it makes these ids again, else what the vocabulary reads them as.
    Raises BadRow for ids that the vocabulary has no text for."""
    vocabulary = feature.vocabulary
    ids = ids[:-1] if feature.add_eos and ids and ids[-1] == vocabulary.eos_id else ids
    text = origin.plain(before) if isinstance(before, bytes) else None
    if text is not None and list(vocabulary.encode(text)) == ids:
      return text
    if vocabulary.unk_id is not None and vocabulary.unk_id in ids:
      raise fields.BadRow("it holds ids for which its vocabulary has no text; chat = 'ids' keeps them")
    return vocabulary.decode(ids)
