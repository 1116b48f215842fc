"""Sources and mixtures as SeqIO tasks and mixtures, for programs that read those; no command needs them.

tasks.register(mixture, renderer)
dataset = seqio.get_mixture_or_task("itune_NAME").get_dataset({"inputs": 512, "targets": 512}, split="train")

An example is an answer that trains: `inputs` is what stands in front of it, `targets` the answer through the end of its
turn, `targets_loss_weights` the weight of each target. With a renderer the texts are those of the model's chat
template, and ids those of its tokenizer; inputs and targets behind each other are then what `itune train` trains on.
Without one, a question is its text and ids are bytes. Importing this module imports TensorFlow, which the extra `prep`
installs.
"""

import collections
from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import functools
import re
from typing import Any, NamedTuple

import numpy as np
import seqio
import tensorflow as tf

from itune_jax.data import example as example_lib
from itune_jax.data import mixture as mixture_lib
from itune_jax.data.readers import readers
from itune_jax.data.render import chat

PREFIX = "itune_"
WEIGHTS = "targets_loss_weights"
_TEXT, _SOME_IDS = tf.TensorSpec((), tf.string), tf.TensorSpec((None,), tf.int32)
_WEIGHT = {"weight": tf.TensorSpec((), tf.float32)}
_TEXTS = {"inputs": _TEXT, "targets": _TEXT, **_WEIGHT}
_IDS = {
  "inputs": _SOME_IDS,
  "targets": _SOME_IDS,
  "inputs_pretokenized": _TEXT,
  "targets_pretokenized": _TEXT,
  **_WEIGHT,
}


class Answer(NamedTuple):
  """An answer that trains, with what stands in front of it; ids where a model's template rendered them."""

  asked: str
  answer: str
  weight: float
  asked_ids: Any = None
  answer_ids: Any = None


class Vocabulary(seqio.Vocabulary):
  """A model's own tokenizer as SeqIO wants one; special tokens are read where the text spells them."""

  def __init__(self, tokenizer: Any):
    super().__init__(extra_ids=0)
    self._tokenizer = tokenizer

  @property
  def _base_vocab_size(self) -> int:
    return len(self._tokenizer)

  @property
  def bos_id(self) -> int | None:
    """The id of the token in front of a text, None where there is none."""
    return self._tokenizer.bos_token_id

  @property
  def eos_id(self) -> int | None:
    """The id of the end of a text."""
    return self._tokenizer.eos_token_id

  @property
  def unk_id(self) -> int | None:
    """The id of what the tokenizer has no token for."""
    return self._tokenizer.unk_token_id

  def _encode(self, s: str) -> Sequence[int]:
    return self._tokenizer(s, add_special_tokens=False)["input_ids"]

  def _decode(self, ids: Sequence[int]) -> str:
    return self._tokenizer.decode(list(ids), skip_special_tokens=False)

  def _encode_tf(self, s: tf.Tensor) -> tf.Tensor:
    ids = tf.py_function(lambda text: tf.constant(self._encode(text.numpy().decode()), tf.int32), [s], tf.int32)
    ids.set_shape([None])
    return ids

  def _decode_tf(self, ids: tf.Tensor) -> tf.Tensor:
    text = tf.py_function(lambda given: tf.constant(self._decode(given.numpy().tolist())), [ids], tf.string)
    text.set_shape([])
    return text

  def __eq__(self, other: Any) -> bool:
    return isinstance(other, Vocabulary) and other._tokenizer is self._tokenizer


def register(
  mixture: mixture_lib.Mixture, renderer: chat.Renderer | None = None, *, held_out: float = 0.0, prefix: str = PREFIX
) -> seqio.Mixture:
  """Registers a task for every source, and the mixture, anew; returns the mixture, which is called prefix + its name.

  renderer: of the model that is trained; without one texts are plain and ids are bytes. held_out: a share of the rows
  of every source that are the split `validation`, chosen by their text; all are `train` without.

  Raises InputError for a source of which no row is an example, with the reasons.
  """
  counts = {source.name: _counts(source, renderer, held_out) for source in mixture.sources}
  return _registered(mixture, counts, renderer, held_out, prefix)


def raw_rates(mixture: mixture_lib.Mixture, counts: Mapping[str, int]) -> dict[str, float]:
  """What SeqIO says of the rates of sources with so many examples, before it divides by their sum: `Mixture.shares`
  are these, divided."""
  registered = _registered(mixture, {name: {"train": count} for name, count in counts.items()}, None, 0.0, PREFIX)
  task = lambda source: seqio.TaskRegistry.get(task_name(mixture, source, PREFIX))
  return {source.name: float(registered.get_rate(task(source))) for source in mixture.sources}


def task_name(mixture: mixture_lib.Mixture, source: mixture_lib.Source, prefix: str = PREFIX) -> str:
  """What the task of a source is called: SeqIO takes letters, digits, `_`, `:` and `.` alone."""
  return _legal(f"{prefix}{mixture.name}_{source.name}")


def _legal(name: str) -> str:
  return re.sub(r"[^\w:.]", "_", name)


def _split(source: mixture_lib.Source, split: str, held_out: float) -> mixture_lib.Source:
  if not held_out:
    return source
  return dataclasses.replace(source, held_out=held_out, take="rest" if split == "train" else "held_out")


def _counts(source: mixture_lib.Source, renderer: chat.Renderer | None, held_out: float) -> dict[str, int]:
  found = {}
  for split in ("train", "validation") if held_out else ("train",):
    reasons: collections.Counter[str] = collections.Counter()
    rows = _split(source, split, held_out).rows()
    found[split] = sum(1 for _ in _answers(rows, renderer, reasons))
    if not found["train"]:
      raise readers.no_row(source.name, source.path, reasons)
  return found


def _registered(
  mixture: mixture_lib.Mixture,
  counts: Mapping[str, Mapping[str, int]],
  renderer: chat.Renderer | None,
  held_out: float,
  prefix: str,
) -> seqio.Mixture:
  tasks = []
  vocabulary = Vocabulary(renderer.tokenizer) if renderer else seqio.ByteVocabulary()
  text = seqio.Feature(vocabulary, add_eos=False, required=True)
  weights = seqio.Feature(seqio.PassThroughVocabulary(2), add_eos=False, dtype=tf.float32)
  for source in mixture.sources:
    name, count = task_name(mixture, source, prefix), dict(counts[source.name])
    seqio.TaskRegistry.remove(name)
    data: Any = seqio.FunctionDataSource(
      functools.partial(_dataset, source, renderer, held_out), splits=list(count), num_input_examples=count
    )
    how = [*([] if renderer else [seqio.preprocessors.tokenize]), _of_each_target]
    features = {"inputs": text, "targets": text, WEIGHTS: weights}
    seqio.TaskRegistry.add(name, source=data, preprocessors=how, output_features=features)
    tasks.append((name, source.rate if mixture.rates == "given" else _proportional(mixture)))
  whole = _legal(f"{prefix}{mixture.name}")
  seqio.MixtureRegistry.remove(whole)
  return seqio.MixtureRegistry.add(whole, tasks)


def _proportional(mixture: mixture_lib.Mixture) -> Any:
  """SeqIO's own rate of a task by its number of examples."""
  how: Any = dict(maximum=mixture.cap or None, temperature=mixture.temperature)
  return functools.partial(seqio.mixing_rate_num_examples, **how)


def _of_each_target(dataset: tf.data.Dataset) -> tf.data.Dataset:
  """The weight of an answer on each of its targets."""
  spread = lambda one: {**one, WEIGHTS: tf.fill([tf.size(one["targets"])], one["weight"])}
  return dataset.map(spread, num_parallel_calls=tf.data.AUTOTUNE)


def _dataset(
  source: mixture_lib.Source,
  renderer: chat.Renderer | None,
  held_out: float,
  split: str,
  shuffle_files: bool,
  seed: int | None = None,
) -> tf.data.Dataset:
  del shuffle_files, seed  # the order of the file: a mixture shuffles
  chosen = _split(source, split, held_out)

  def generate():
    for one in _answers(chosen.rows(), renderer, collections.Counter()):
      texts, weight = {"inputs": one.asked, "targets": one.answer}, {"weight": np.float32(one.weight)}
      if renderer is None:
        yield {**texts, **weight}
      else:
        before = {f"{name}_pretokenized": text for name, text in texts.items()}
        yield {"inputs": one.asked_ids, "targets": one.answer_ids, **before, **weight}

  return tf.data.Dataset.from_generator(generate, output_signature=_TEXTS if renderer is None else _IDS)


def _answers(
  rows: Iterator[readers.Row], renderer: chat.Renderer | None, reasons: "collections.Counter[str]"
) -> Iterator[Answer]:
  """Every answer that trains; rows that are none are counted."""
  for row in rows:
    try:
      if row.example is None:
        raise example_lib.BadRow(row.problem)
      found = list(_rendered(row.example, renderer) if renderer else _plain(row.example))
      if not found:
        raise example_lib.BadRow("no token carries weight")
    except example_lib.BadRow as e:
      reasons[str(e)] += 1
      continue
    yield from found


def _rendered(example: example_lib.Example, renderer: chat.Renderer) -> Iterator[Answer]:
  """As training renders it. Raises BadRow where no row of it fits the rendering's longest."""
  if example.given is not None or example.rejected:
    raise example_lib.BadRow("ids and pairs are no questions with answers")
  for _, row in renderer.rows(example):
    if len(row.ids) > renderer.config.max_length:
      raise example_lib.BadRow(f"longer than {renderer.config.max_length} tokens")
    for _, first, last in row.stretches:
      asked, answer = row.ids[:first], row.ids[first:last]
      texts = (renderer.tokenizer.decode(ids, skip_special_tokens=False) for ids in (asked, answer))
      yield Answer(*texts, float(row.weights[first]), asked, answer)


def _plain(example: example_lib.Example) -> Iterator[Answer]:
  """Without a template: the one question in text, a system's text in front. Raises BadRow for more turns."""
  *before, last = example.messages
  roles = [m["role"] for m in before]
  if last["role"] != "assistant" or [role for role in roles if role != "system"] != ["user"]:
    raise example_lib.BadRow(
      "it is no question with one answer, and without a renderer a task has no template for more"
    )
  weight = float(last.get("weight", 1.0))
  if weight:
    asked = "\n\n".join(example_lib.text(m["content"]) for m in before)
    yield Answer(asked, example_lib.text(last["content"]), weight)
