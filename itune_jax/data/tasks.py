"""Sources and mixtures as SeqIO tasks and mixtures, for programs that read those; nothing of this project needs them.

Importing this module imports TensorFlow, which the extra `prep` installs.
"""

import collections
from collections.abc import Mapping
import functools
import json
from typing import Any

import seqio
import tensorflow as tf

from itune_jax.data import mixture as mixture_lib
from itune_jax.data.readers import readers


def register(mixture: mixture_lib.Mixture) -> seqio.Mixture:
  """Registers a task for every source, and the mixture, anew; returns the mixture.

  Raises InputError for a source of which no row is an example, with the reasons.
  """
  return _registered(mixture, {source.name: _count(source) for source in mixture.sources})


def _count(source: mixture_lib.Source) -> int:
  count, reasons = 0, collections.Counter()
  for row in source.rows():
    count += row.example is not None
    reasons[row.problem] += row.example is None
  if not count:
    raise readers.no_row(source.name, source.path, +reasons)
  return count


def raw_rates(mixture: mixture_lib.Mixture, counts: Mapping[str, int]) -> dict[str, float]:
  """What SeqIO says of the rates of sources with so many examples, before it divides by their sum: `Mixture.shares`
  are these, divided."""
  registered = _registered(mixture, counts)
  task = lambda source: seqio.TaskRegistry.get(f"{mixture.name}_{source.name}")
  return {source.name: float(registered.get_rate(task(source))) for source in mixture.sources}


def _registered(mixture: mixture_lib.Mixture, counts: Mapping[str, int]) -> seqio.Mixture:
  tasks = []
  for source in mixture.sources:
    task, count = f"{mixture.name}_{source.name}", {"train": counts[source.name]}
    seqio.TaskRegistry.remove(task)
    data: Any = seqio.FunctionDataSource(_dataset_fn(source), splits=["train"], num_input_examples=count)
    seqio.TaskRegistry.add(task, output_features={}, preprocessors=[], source=data)
    tasks.append((task, source.rate if mixture.rates == "given" else _proportional(mixture)))
  seqio.MixtureRegistry.remove(mixture.name)
  return seqio.MixtureRegistry.add(mixture.name, tasks)


def _proportional(mixture: mixture_lib.Mixture) -> Any:
  """SeqIO's own rate of a task by its number of examples."""
  how: Any = dict(maximum=mixture.cap or None, temperature=mixture.temperature)
  return functools.partial(seqio.mixing_rate_num_examples, **how)


def _dataset_fn(source):
  def generator():
    for row in source.rows():
      example = row.example.to_json() if row.example else None
      unread = row.example.unread if row.example else ()
      found = {"file": row.file, "line": row.line, "example": example, "problem": row.problem, "unread": unread}
      yield {"row": json.dumps(found)}

  def dataset_fn(split, shuffle_files, seed=None):
    del split, shuffle_files, seed  # one split, and the order of the file: the feed shuffles
    return tf.data.Dataset.from_generator(generator, output_signature={"row": tf.TensorSpec((), tf.string)})

  return dataset_fn
