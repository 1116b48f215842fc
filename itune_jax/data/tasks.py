"""Sources and mixtures as SeqIO tasks and mixtures: what the data is, and at which rates it is drawn.

Importing this module imports TensorFlow; only `prepare` does.
"""

import collections
import dataclasses
import functools
import json
from collections.abc import Iterator
from typing import Any

import seqio
import tensorflow as tf

from itune_jax.data import example as example_lib
from itune_jax.data import mixture as mixture_lib
from itune_jax.data.readers import readers


def register(mixture: mixture_lib.Mixture) -> seqio.Mixture:
  """Registers a task for every source, and the mixture, anew; returns the mixture. Raises InputError for a source of
  which no row is an example, with the reasons."""
  tasks = []
  for source in mixture.sources:
    task = f"{mixture.name}_{source.name}"
    seqio.TaskRegistry.remove(task)
    count = _count(source)
    data: Any = seqio.FunctionDataSource(_dataset_fn(source), splits=["train"], num_input_examples={"train": count})
    seqio.TaskRegistry.add(task, output_features={}, preprocessors=[], source=data)
    rate = (
      source.rate
      if mixture.rates == "given"
      else functools.partial(
        seqio.mixing_rate_num_examples, maximum=mixture.cap or None, temperature=mixture.temperature
      )
    )
    tasks.append((task, rate))
  seqio.MixtureRegistry.remove(mixture.name)
  return seqio.MixtureRegistry.add(mixture.name, tasks)


def rates(mixture: mixture_lib.Mixture, registered: seqio.Mixture) -> dict[str, float]:
  """Share of each source, summing to 1."""
  raw = {
    source.name: float(registered.get_rate(seqio.TaskRegistry.get(f"{mixture.name}_{source.name}")))
    for source in mixture.sources
  }
  total = sum(raw.values())
  return {name: rate / total for name, rate in raw.items()}


def rows(mixture: mixture_lib.Mixture, source: mixture_lib.Source) -> Iterator[readers.Row]:
  """The rows of one source, through its SeqIO task."""
  dataset = seqio.TaskRegistry.get(f"{mixture.name}_{source.name}").get_dataset(None, "train", shuffle=False)
  for item in dataset.as_numpy_iterator():
    raw = json.loads(item["row"])
    example = example_lib.from_json(raw["example"]) if raw["example"] else None
    if example is not None:
      example = dataclasses.replace(example, unread=tuple(raw["unread"]))
    yield readers.Row(raw["file"], raw["line"], example, raw["problem"])


def _count(source: mixture_lib.Source) -> int:
  reasons: collections.Counter[str] = collections.Counter()
  count = 0
  for row in source.rows():
    count += row.example is not None
    reasons[row.problem] += row.example is None
  if not count:
    raise readers.no_row(source.name, source.path, +reasons)
  return count


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
