"""Sources and mixtures as SeqIO tasks and mixtures, for programs that read those; nothing of this project needs them.

Importing this module imports TensorFlow, which the extra `prep` installs.
"""

import functools
import json
from typing import Any

import seqio
import tensorflow as tf

from itune_jax.data import mixture as mixture_lib


def register(mixture: mixture_lib.Mixture) -> seqio.Mixture:
  """Registers a task for every source, and the mixture, anew; returns the mixture.

  The rates of the mixture are those of `Mixture.shares`, as SeqIO has them: not divided by their sum.
  """
  tasks = []
  for source in mixture.sources:
    task = f"{mixture.name}_{source.name}"
    seqio.TaskRegistry.remove(task)
    count = sum(row.example is not None for row in source.rows())
    data: Any = seqio.FunctionDataSource(_dataset_fn(source), splits=["train"], num_input_examples={"train": count})
    seqio.TaskRegistry.add(task, output_features={}, preprocessors=[], source=data)
    tasks.append((task, source.rate if mixture.rates == "given" else proportional(mixture)))
  seqio.MixtureRegistry.remove(mixture.name)
  return seqio.MixtureRegistry.add(mixture.name, tasks)


def proportional(mixture: mixture_lib.Mixture) -> Any:
  """SeqIO's own rate of a task by its number of examples."""
  how: Any = dict(maximum=mixture.cap or None, temperature=mixture.temperature)
  return functools.partial(seqio.mixing_rate_num_examples, **how)


def _dataset_fn(source):
  def generator():
    for row in source.rows():
      example = row.example.to_json() if row.example else None
      yield {"row": json.dumps({"file": row.file, "line": row.line, "example": example, "problem": row.problem})}

  def dataset_fn(split, shuffle_files, seed=None):
    del split, shuffle_files, seed  # one split, and the order of the file: the feed shuffles
    return tf.data.Dataset.from_generator(generator, output_signature={"row": tf.TensorSpec((), tf.string)})

  return dataset_fn
