"""Every published benchmark as a SeqIO task, for programs that evaluate by those (T5X, SeqIO's own `Evaluator`).

import itune_jax.evals.seqio_tasks
task = seqio.get_mixture_or_task("itune_ifeval")

Importing this module registers them and reads no data; it imports TensorFlow (the extra `prep` installs it). Files are
looked for when a task is loaded: in the folders that `register` was given, else in that of the environment variable
ITUNE_DATA. Texts are bytes (`seqio.ByteVocabulary`), which needs no file; a program with another vocabulary registers
them anew: `seqio_tasks.register(vocabulary=mine, prefix="mine_")`.

Prompts are plain text, shots in front. Where choices are scored, each of them is an example of its own; otherwise an
item is one example. `metric_fns` give the figures of our own suite, over all items.
"""

from collections.abc import Callable, Iterator, Sequence
import functools
import json
import os
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from itune_jax.core import conversation as conversation_lib
from itune_jax.core import errors
from itune_jax.evals import ask as ask_lib
from itune_jax.evals import folders
from itune_jax.evals import protocol
from itune_jax.evals import official
from itune_jax.evals import suite
from itune_jax.evals.benchmarks import registry
from itune_jax.sampling import requests as requests_lib

PREFIX = "itune_"
_TEXT = tf.TensorSpec((), tf.string)
_PLAIN = official.Settings(form="plain")
_ASKS = (ask_lib.Generate, ask_lib.Choose, ask_lib.Score, ask_lib.Rolling)  # those of one text, or of its choices


def register(
  names: Sequence[str] = (),
  *,
  vocabulary: seqio.Vocabulary | None = None,
  data: Sequence[str] = (),
  prefix: str = PREFIX,
  settings: official.Settings = _PLAIN,
) -> list[str]:
  """Registers benchmarks as tasks, anew where they are there; returns the tasks' names.

  names: of benchmarks; all that can be asked at once, and whose judge the settings know, where it is empty. vocabulary:
  of inputs and targets. data: folders to look for files in. settings: how they are asked. Raises InputError for a
  benchmark that is not, or that asks again what hangs on an answer: SeqIO asks a task once.
  """
  found = []
  for name in names or registry.ROWS:
    one = registry.find(name)
    if one.judged and settings.judge is None and not names:
      continue
    ask = one.make(folders.Folder(""), one.checked(settings)).ask
    if isinstance(ask, _ASKS):
      found.append(_add(_Task(one, settings, tuple(data)), ask, vocabulary or seqio.ByteVocabulary(), prefix))
    elif names:
      raise errors.InputError(f"{name}: its questions hang on answers or are several, and SeqIO asks a task once")
  return found


def _add(task: "_Task", ask: protocol.Pooled, vocabulary: seqio.Vocabulary, prefix: str) -> str:
  name = f"{prefix}{task.official.name}"
  seqio.TaskRegistry.remove(name)
  source: Any = seqio.FunctionDataSource(task.dataset, splits=["test"])
  feature = functools.partial(seqio.Feature, vocabulary=vocabulary, required=False)
  seqio.TaskRegistry.add(
    name,
    source=source,
    preprocessors=[seqio.preprocessors.tokenize, seqio.preprocessors.append_eos],
    output_features={"inputs": feature(add_eos=False), "targets": feature(add_eos=ask.kind == "answer")},
    postprocess_fn=_postprocess,
    metric_fns=[task.of_predictions if ask.kind == "answer" else task.of_scores],
  )
  return name


def _postprocess(text: Any, *, example: Any, is_target: bool = False) -> Any:
  """(item, number of the choice) of a target, which metrics find the item by; the text of a prediction."""
  if not is_target:
    return text
  number = int(example["choice"])
  return bytes(np.asarray(example["item"]).item()).decode(), number


class _Task:
  """A benchmark as SeqIO wants it: examples, and figures of what was predicted or scored."""

  def __init__(self, one: official.Published, settings: official.Settings, data: tuple[str, ...]):
    self.official, self._settings, self._data = one, settings, data

  def _benchmark(self) -> protocol.Benchmark:
    roots = official.roots(*(self._data or (os.environ.get("ITUNE_DATA", ""),)))
    return self.official.benchmark(roots, self._settings)

  def dataset(self, split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
    """The examples: `inputs`, `targets`, `item` (its id) and `choice` (a number, 0 without choices)."""
    del split, shuffle_files, seed  # one split, in the order of the files
    signature = {"inputs": _TEXT, "targets": _TEXT, "item": _TEXT, "choice": tf.TensorSpec((), tf.int32)}
    return tf.data.Dataset.from_generator(self._examples, output_signature=signature)

  def _examples(self) -> Iterator[dict[str, Any]]:
    benchmark = self._benchmark()
    for item in benchmark.items():
      for number, (prompt, target) in enumerate(_texts(benchmark.ask, item)):
        yield {"inputs": prompt, "targets": target, "item": item.id, "choice": number}

  def of_predictions(self, targets: Sequence[Any], predictions: Sequence[Any]) -> dict[str, float]:
    """The figures of generated texts, one an item; a list of texts where several were drawn."""
    said = {
      name: requests_lib.Response(name, tuple(requests_lib.Sample(text, "stop") for text in _listed(texts)))
      for (name, _), texts in zip(targets, predictions, strict=True)
    }
    return self._figures(said, lambda name: [said[name]])

  def of_scores(self, targets: Sequence[Any], scores: Sequence[Any]) -> dict[str, float]:
    """The figures of log-likelihoods, one an example."""
    given: dict[str, list[tuple[int, float]]] = {}
    for (name, number), score in zip(targets, scores, strict=True):
      given.setdefault(name, []).append((number, float(score)))
    return self._figures(given, lambda name: [requests_lib.Score(score, False, 0) for _, score in sorted(given[name])])

  def _figures(self, given: Any, results: Callable[[str], list[Any]]) -> dict[str, float]:
    """The figures over all items that results are given for, as the suite makes them."""
    benchmark = self._benchmark()
    ask = benchmark.ask
    assert isinstance(ask, protocol.Pooled)
    items = [item for item in benchmark.items() if item.id in given]
    rows = suite.graded(benchmark, items, [ask.answer(item, results(item.id)) for item in items])
    return {one.metric: one.value for one in suite.figures(benchmark, rows) if not one.tag}


def _texts(ask: protocol.Ask, item: protocol.Item) -> Iterator[tuple[str, str]]:
  """(prompt, target) of an item's examples. Raises InputError for a conversation of several turns."""
  if isinstance(ask, ask_lib.Rolling):
    yield "", _plain(item.question, item)
    return
  prompt = _plain(item.prompt("plain"), item)
  if isinstance(ask, ask_lib.Choose):
    yield from ((prompt, choice) for choice in item.choices)
  else:
    yield prompt, item.answer if isinstance(item.answer, str) else json.dumps(item.answer, ensure_ascii=False)


def _plain(prompt: conversation_lib.Conversation | str, item: protocol.Item) -> str:
  if isinstance(prompt, str):
    return prompt
  first, *more = prompt.messages
  if more or not isinstance(first.get("content"), str):
    raise errors.InputError(f"{item.called}: a task's prompt is one text, and this is a conversation")
  return first["content"]


def _listed(texts: Any) -> list[str]:
  return [texts] if isinstance(texts, str) else list(texts)


register()
