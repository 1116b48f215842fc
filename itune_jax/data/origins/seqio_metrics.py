"""A task of SeqIO with its own `postprocess_fn` and `metric_fns`, in a process of its own that may import TensorFlow.

python -m itune_jax.data.origins.seqio_metrics

Lines of JSON come in, lines of JSON go out: the task is opened, then asked for figures as often as wanted; the process
ends when nothing comes any more. What happens to targets and predictions is what `seqio.Evaluator` does (SeqIO 0.0.20,
`metrics.LegacyMetric`): a target is `targets_pretokenized`, or what the vocabulary reads the ids as.
"""

from collections.abc import Callable, Mapping, Sequence
import inspect
import json
import os
import sys
from typing import Any, Literal

import numpy as np

from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.data import fields
from itune_jax.data.origins import origin
from itune_jax.data.origins import seqio_read

Form = Literal["predictions", "scores"]
_PROBED = 8  # examples by which metrics are asked what figures they give
_PREFERRED = ("validation", "test")  # splits that are evaluated where none is named


class Opened:
  """One split of a task: its examples, and its metrics by what they are of.

  Raises InputError for an unknown name, a mixture, a split that it does not have, and where no metric can be run.
  """

  def __init__(self, name: str, split: str):
    self._task = seqio_read.provider(name)
    if seqio_read.is_mixture(self._task):
      raise errors.InputError(f"seqio:{name} is a mixture: name one of its tasks")
    self.split = self._split(name, split)
    self._examples = self._read(name)
    self.left_out: list[str] = []
    self._metrics = self._forms(name)
    self.names = {form: self._figures_of(form) for form in self._metrics}

  def described(self) -> dict[str, Any]:
    """What a benchmark is made of."""
    decode = seqio_read.Decoder(self._task.output_features)
    items = []
    for number, example in enumerate(self._examples):
      try:
        texts = decode(example)
      except fields.BadRow as e:
        raise errors.InputError(f"seqio:{self._task.name}, example {number}: {e}") from None
      items.append({"inputs": self._text(texts, "inputs", number), "targets": self._target(example)})
    return {"split": self.split, "items": items, "names": self.names, "left_out": self.left_out}

  def figures(self, form: Form, numbers: Sequence[int], answers: Sequence[Any]) -> dict[str, float]:
    """What the metrics say of answers (texts, lists of texts, or log-likelihoods) to these examples."""
    examples = [self._examples[number] for number in numbers]
    targets = [self._processed(self._target(one), one, is_target=True) for one in examples]
    if form == "predictions":
      answers = [self._processed(text, one, is_target=False) for text, one in zip(answers, examples, strict=True)]
    else:
      answers = np.asarray(answers)  # pyright: ignore[reportAssignmentType]  # as the evaluator hands them on
    found: dict[str, float] = {}
    for metric in self._metrics[form]:
      given = self._called(metric, **{"targets": targets, form: answers})
      for name, value in given.items():
        number = _number(value)
        if name in found:
          raise errors.InputError(f"seqio:{self._task.name}: two of its metrics give {name!r}")
        if number is not None:
          found[name] = number
    return found

  def _split(self, name: str, split: str) -> str:
    there = list(self._task.splits)
    if split and split not in there:
      raise errors.InputError(f"seqio:{name} has no split {split!r}; it has {', '.join(there)}")
    return split or next((one for one in _PREFERRED if one in there), there[0])

  def _read(self, name: str) -> list[Mapping[str, Any]]:
    try:
      dataset = self._task.get_dataset(None, split=self.split, shuffle=False, num_epochs=1, seed=0)
      return list(dataset.as_numpy_iterator())
    except Exception as e:  # what a source or preprocessor of the user's raises, in TensorFlow's words
      first = next((line for line in str(e).splitlines() if line.strip()), type(e).__name__)
      raise errors.InputError(f"seqio:{name} cannot be read: {type(e).__name__}: {first[:300]}") from e

  def _forms(self, name: str) -> dict[Form, list[Callable[..., Mapping[str, Any]]]]:
    """The metric functions by what they are of. Raises InputError where there is none that can be run."""
    try:
      found: dict[Form, Any] = {
        "predictions": list(self._task.predict_metric_fns),
        "scores": list(self._task.score_metric_fns),
      }
      self.left_out += [f"{_called(fn)} (it wants aux_values)" for fn in self._task.predict_with_aux_metric_fns]
    except ValueError as e:  # SeqIO's word on a function of other arguments
      raise errors.InputError(f"seqio:{name}: {jsontext.said(e)}") from None
    own = len(self._task.metric_objs) - len(self._task.metric_fns)
    self.left_out += [f"{own} metric_objs, which read a model's arrays"] if own > 0 else []
    if not any(found.values()):
      told = f": {', '.join(self.left_out)}" if self.left_out else ""
      raise errors.InputError(f"seqio:{name} has no metric_fns of predictions or scores{told}")
    return {form: fns for form, fns in found.items() if fns}

  def _figures_of(self, form: Form) -> list[str]:
    """The names of the figures, which only the functions know: they are run on the first targets as answers."""
    numbers = list(range(min(_PROBED, len(self._examples))))
    texts = [self._target(self._examples[number]) for number in numbers]
    return list(self.figures(form, numbers, texts if form == "predictions" else [0.0] * len(numbers)))

  def _processed(self, value: Any, example: Mapping[str, Any], is_target: bool) -> Any:
    try:
      return self._task.postprocess_fn(value, example=example, is_target=is_target)
    except Exception as e:  # whatever the user's function raises
      raise errors.InputError(
        f"seqio:{self._task.name}: its postprocess_fn: {type(e).__name__}: {jsontext.said(e)}"
      ) from e

  def _called(self, metric: Callable[..., Any], **given: Any) -> Mapping[str, Any]:
    try:
      found = metric(**given)
    except Exception as e:  # whatever the user's function raises
      raise errors.InputError(
        f"seqio:{self._task.name}: its {_called(metric)}: {type(e).__name__}: {jsontext.said(e)}"
      ) from e
    if not isinstance(found, Mapping):
      raise errors.InputError(
        f"seqio:{self._task.name}: its {_called(metric)} gave {jsontext.name(found)}; it must give figures by name"
      )
    return found

  def _target(self, example: Mapping[str, Any]) -> str:
    target = example.get("targets_pretokenized")
    if target is None:
      target = self._task.output_features["targets"].vocabulary.decode([int(one) for one in example["targets"]])
    return target.decode("utf-8") if isinstance(target, bytes) else target

  def _text(self, texts: Mapping[str, Any], name: str, number: int) -> str:
    value = texts.get(name)
    if not isinstance(value, str):
      raise errors.InputError(f"seqio:{self._task.name}, example {number}: its {name!r} are no text that can be asked")
    return value


def _called(metric: Callable[..., Any]) -> str:
  return metric.__name__ if inspect.isfunction(metric) else repr(metric)[:60]


def _number(value: Any) -> float | None:
  """A figure as a number: itself, or the value of SeqIO's Scalar; None for an image, a text, an array."""
  value = vars(value).get("value", value) if type(value).__name__ == "Scalar" else value
  try:
    return float(value)
  except (TypeError, ValueError):
    return None


def serve(lines: Any, write: Callable[[str], None]) -> None:
  """Answers requests, each a line of JSON: {"open": …} first, then {"figures": …}. What is the user's fault is answered
  as {"error": one line}."""
  opened: Opened | None = None
  for line in lines:
    request = json.loads(line)
    try:
      if "open" in request:
        how = request["open"]
        sys.path += [folder for folder in how["path"] if folder not in sys.path]
        origin.register(how["modules"])
        opened = Opened(how["name"], how["split"])
        reply = opened.described()
      else:
        assert opened is not None
        reply = opened.figures(**request["figures"])
      write(json.dumps({"reply": reply}) + "\n")
    except errors.InputError as e:
      write(json.dumps({"error": str(e)}) + "\n")


def main() -> None:
  """Serves standard input; what the user's modules print goes to stderr."""
  out = os.fdopen(os.dup(1), "w", encoding="utf-8")
  os.dup2(2, 1)

  def write(text: str) -> None:
    out.write(text)
    out.flush()

  serve(sys.stdin, write)


if __name__ == "__main__":
  main()
