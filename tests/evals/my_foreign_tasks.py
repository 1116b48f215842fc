"""Tasks with metrics of their own, as a user of T5X registers them: of predictions, of scores, of both."""

import numpy as np
import seqio
import tensorflow as tf

print("what a user's module prints is no answer")
VOCABULARY = seqio.ByteVocabulary()
FEATURES = {"inputs": seqio.Feature(VOCABULARY, add_eos=False), "targets": seqio.Feature(VOCABULARY, add_eos=True)}
COUNTS = {"train": 4, "validation": 12, "test": 3}


def rows(split, shuffle_files, seed=None):
  """Sums, of which the answer is a number."""
  del shuffle_files, seed
  numbers = range(COUNTS[split])
  asked, said = [f"{n} + {n} = " for n in numbers], [str(2 * n) for n in numbers]
  return tf.data.Dataset.from_tensor_slices({"inputs": asked, "targets": said})


def number(text, example=None, is_target=False):
  """The number that a text ends with; of a target also what was asked."""
  found = text.split()[-1] if text.split() else ""
  value = int(found) if found.isdecimal() else -1
  return (value, bytes(example["inputs_pretokenized"]).decode()) if is_target else value


def right(targets, predictions):
  """The share of right ones, and a figure of another kind."""
  same = [value == said for (value, _), said in zip(targets, predictions, strict=True)]
  length = seqio.metrics.Scalar(float(np.mean([len(asked) for _, asked in targets])))
  return {"right": np.mean(same), "asked": length, "note": seqio.metrics.Text("no number")}


def likelihood(targets, scores):
  """Of the scores as an array."""
  assert isinstance(scores, np.ndarray) and len(targets) == len(scores)
  return {"mean_score": scores.mean()}


def with_aux(targets, predictions, aux_values):
  """What no responder gives."""
  return {"aux": 0.0}


def broken(targets, predictions):
  """Raises."""
  return {"x": 1 / 0}


HOW = [seqio.preprocessors.tokenize, seqio.preprocessors.append_eos]
SOURCE = seqio.FunctionDataSource(rows, splits=list(COUNTS), num_input_examples=COUNTS)
for name, metrics in {
  "sums_predicted": [right],
  "sums_scored": [likelihood],
  "sums_both": [right, likelihood, with_aux],
  "sums_aux": [with_aux],
  "sums_broken": [broken],
}.items():
  seqio.TaskRegistry.remove(name)
  seqio.TaskRegistry.add(
    name, SOURCE, preprocessors=HOW, output_features=FEATURES, postprocess_fn=number, metric_fns=metrics
  )
seqio.MixtureRegistry.remove("sums_mixture")
seqio.MixtureRegistry.add("sums_mixture", [("sums_predicted", 1.0), ("sums_scored", 1.0)])
