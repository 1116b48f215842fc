"""Every published benchmark as a SeqIO task, for programs that evaluate by those (T5X, SeqIO's own `Evaluator`).

import itune_jax.evals.seqio_tasks
task = seqio.get_mixture_or_task("itune_ifeval")

Importing this module registers them and reads no data; it imports TensorFlow (the extra `prep` installs it). Files are
looked for when a task is loaded: in the folders that `register` was given, else in that of the environment variable
ITUNE_DATA. Texts are bytes (`seqio.ByteVocabulary`), which needs no file; a program with another vocabulary registers
them anew: `seqio_tasks.register(vocabulary=mine, prefix="mine_")`.

Prompts are plain text, shots and a system's text in front. Whatever is asked once is an example: a question, or each of
its choices, which are scored. `metric_fns` give the figures of our own suite, over the items of which all examples are
there. A judged benchmark needs a judge (`settings`), and one whose second question hangs on the first answer is no
task.
"""

from collections.abc import Iterator, Sequence
import json
import os
from typing import Any

import seqio
import tensorflow as tf

from itune_jax.core import conversation as conversation_lib
from itune_jax.core import errors
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.evals import suite
from itune_jax.evals.benchmarks import registry
from itune_jax.sampling import requests as requests_lib

PREFIX = "itune_"
_TEXT = tf.TensorSpec((), tf.string)
_PLAIN = official.Settings(form="plain")


def register(
  names: Sequence[str] = (),
  *,
  vocabulary: seqio.Vocabulary | None = None,
  data: Sequence[str] = (),
  prefix: str = PREFIX,
  settings: official.Settings = _PLAIN,
) -> list[str]:
  """Registers benchmarks as tasks, anew where they are there; returns the tasks' names.

  names: of benchmarks, or paths of one's own; all of the registry where it is empty. vocabulary: of inputs and targets.
  data: folders to look for files in. settings: how they are asked.
  """
  found = []
  for name in names or registry.ROWS:
    task = f"{prefix}{name if name in registry.ROWS else registry.find(name).name}"
    seqio.TaskRegistry.remove(task)
    seqio.TaskRegistry.add_provider(task, Task(task, Examples(name, settings, data), vocabulary))
    found.append(task)
  return found


class Examples:
  """A benchmark as SeqIO wants it: examples, and figures of what was predicted or scored."""

  def __init__(self, name: str, settings: official.Settings = _PLAIN, data: Sequence[str] = ()):
    self._name, self._settings, self._data = name, settings, tuple(data)

  def benchmark(self) -> protocol.Benchmark:
    """The benchmark with its files. Raises InputError where they are not found, or it is no task."""
    roots = official.roots(*(self._data or (os.environ.get("ITUNE_DATA", ""),)))
    found = registry.find(self._name).benchmark(roots, self._settings)
    self._ask(found)
    return found

  def is_scored(self) -> bool:
    """Whether it is texts that are scored, and not answers that are written. Most benchmarks tell without files."""
    one = registry.find(self._name)
    try:
      return self._ask(one.make(folders.Folder(""), one.checked(self._settings))).kind != "answer"
    except errors.InputError:
      return self._ask(self.benchmark()).kind != "answer"

  def _ask(self, benchmark: protocol.Benchmark) -> protocol.Pooled:
    if not isinstance(benchmark.ask, protocol.Pooled):
      raise errors.InputError(f"{self._name}: its questions hang on answers, and a task of SeqIO is asked once")
    return benchmark.ask

  def dataset(self, split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
    """The examples: `inputs`, `targets`, `item` (its id) and `number` (which of the item's)."""
    del split, shuffle_files, seed  # one split, in the order of the files
    benchmark = self.benchmark()  # here, since what is wrong with its files would be TensorFlow's error below
    signature = {"inputs": _TEXT, "targets": _TEXT, "item": _TEXT, "number": tf.TensorSpec((), tf.int32)}
    return tf.data.Dataset.from_generator(lambda: self._examples(benchmark), output_signature=signature)

  def _examples(self, benchmark: protocol.Benchmark) -> Iterator[dict[str, Any]]:
    for item in benchmark.items():
      for number, asked in enumerate(self._ask(benchmark).asked(item, _NOBODY)):
        inputs, targets = _texts(asked, item)
        yield {"inputs": inputs, "targets": targets, "item": item.id, "number": number}

  def of_predictions(self, targets: Sequence[Any], predictions: Sequence[Any]) -> dict[str, float]:
    """The figures of generated texts; a prediction is a list of texts where several were drawn."""
    return self._figures(targets, [_response(texts) for texts in predictions])

  def of_scores(self, targets: Sequence[Any], scores: Sequence[Any]) -> dict[str, float]:
    """The figures of log-likelihoods in nats. A suite counts tokens as well: SeqIO does not tell how many there were,
    so figures by token are not a number."""
    return self._figures(targets, [requests_lib.Score(float(score), False, 0) for score in scores])

  def _figures(self, targets: Sequence[Any], results: Sequence[Any]) -> dict[str, float]:
    given = dict(zip(targets, results, strict=True))
    benchmark = self.benchmark()
    ask, items, answers = self._ask(benchmark), [], []
    for item in benchmark.items():
      places = [(item.id, number) for number, _ in enumerate(ask.asked(item, _NOBODY))]
      if all(place in given for place in places):
        items.append(item)
        answers.append(ask.answer(item, [given[place] for place in places]))
    rows = suite.graded(benchmark, items, answers)
    return {one.metric: one.value for one in suite.figures(benchmark, rows) if not one.tag}


class Task(seqio.Task):
  """A benchmark as a task, which says by the way of asking whether its metrics are of predictions or of scores."""

  def __init__(self, name: str, examples: Examples, vocabulary: seqio.Vocabulary | None = None):
    feature = seqio.Feature(vocabulary or seqio.ByteVocabulary(), add_eos=False, required=False)
    source: Any = seqio.FunctionDataSource(examples.dataset, splits=["test"])
    self._examples = examples
    super().__init__(
      name,
      source,
      output_features={"inputs": feature, "targets": feature},
      preprocessors=[seqio.preprocessors.tokenize],
      postprocess_fn=_postprocess,
    )

  @property
  def metric_fns(self) -> Sequence[Any]:
    """The one metric function, which gives all figures."""
    return [self._examples.of_scores if self._examples.is_scored() else self._examples.of_predictions]

  @property
  def predict_metric_fns(self) -> Sequence[Any]:
    """That function, where it is of predictions."""
    return [] if self._examples.is_scored() else self.metric_fns

  @property
  def score_metric_fns(self) -> Sequence[Any]:
    """That function, where it is of scores."""
    return self.metric_fns if self._examples.is_scored() else []


class _Nobody(requests_lib.Responder):
  """Has room for any prompt, and is asked nothing."""

  def answer(
    self, requests: Sequence[requests_lib.Request], progress: requests_lib.Progress = lambda n: None
  ) -> list[requests_lib.Response]:
    """Nothing: the model is elsewhere."""
    raise NotImplementedError


_NOBODY = _Nobody()


def _postprocess(text: Any, *, example: Any, is_target: bool = False) -> Any:
  """(item, number of the example) of a target, by which metrics find the item; a prediction as it is."""
  return (bytes(example["item"]).decode(), int(example["number"])) if is_target else text


def _texts(asked: protocol.Asked, item: protocol.Item) -> tuple[str, str]:
  """Inputs and targets of what is asked. Raises InputError for a conversation of several turns."""
  if isinstance(asked, str):
    return "", asked
  if isinstance(asked, requests_lib.Pair):
    return _plain(asked.context, item), asked.continuation
  answer = item.answer if isinstance(item.answer, str) else json.dumps(item.answer, ensure_ascii=False, default=str)
  return _plain(asked.conversation, item), answer


def _plain(prompt: conversation_lib.Conversation | str, item: protocol.Item) -> str:
  if isinstance(prompt, str):
    return prompt
  *before, last = prompt.messages
  texts = [message.get("content") for message in prompt.messages]
  is_one = last["role"] == "user" and all(message["role"] == "system" for message in before)
  if not is_one or not all(isinstance(text, str) for text in texts):
    raise errors.InputError(f"{item.called}: a task's prompt is one text, and this is a conversation of several turns")
  return "\n\n".join(map(str, texts))


def _response(texts: Any) -> requests_lib.Response:
  listed = [texts] if isinstance(texts, str) else list(texts)
  return requests_lib.Response("", tuple(requests_lib.Sample(text, "stop") for text in listed))


register()
