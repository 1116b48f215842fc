"""Tasks and mixtures as a user registers them: a function, lines of text, weights, rates that are functions."""

import functools
import os

import seqio
import tensorflow as tf

HERE = os.path.dirname(__file__)
FEATURES = {
  "inputs": seqio.Feature(seqio.ByteVocabulary(), add_eos=False),
  "targets": seqio.Feature(seqio.ByteVocabulary(), add_eos=True),
}
WEIGHTS = seqio.Feature(seqio.PassThroughVocabulary(2), add_eos=False, dtype=tf.float32)
COUNTS = {"train": 40, "test": 5}


def rows(split, shuffle_files, seed=None):
  """Questions and answers of a split."""
  del shuffle_files, seed
  numbers = [str(n) for n in range(COUNTS[split])]
  asked, said = [f"{split} question {n} é" for n in numbers], [f"answer {n}" for n in numbers]
  return tf.data.Dataset.from_tensor_slices({"q": asked, "a": said})


@seqio.map_over_dataset
def named(x):
  """A preprocessor that renames."""
  return {"inputs": tf.strings.join(["Q: ", x["q"]]), "targets": x["a"]}


@seqio.map_over_dataset(num_seeds=1)
def noisy(x, seed):
  """A preprocessor that draws."""
  n = tf.random.stateless_uniform([], seed, 0, 1000, dtype=tf.int32)
  return {**x, "inputs": tf.strings.join([x["inputs"], " ", tf.strings.as_string(n)])}


@seqio.map_over_dataset
def columns(line):
  """A line of two columns."""
  asked, said = tf.unstack(tf.strings.split(line, "\t"), 2)
  return {"inputs": asked, "targets": said}


@seqio.map_over_dataset
def weighted(x):
  """Every second target is trained."""
  return {**x, "targets_loss_weights": tf.cast(tf.range(tf.size(x["targets"])) % 2, tf.float32)}


def to_messages(x):
  """A mapping of the user's own."""
  turns = [("system", "Be kind."), ("user", x["inputs"]), ("assistant", x["targets"])]
  return {"messages": [{"role": role, "content": text} for role, text in turns]}


def register(folder):
  """Registers everything anew; lines are read in this folder."""
  for name in list(seqio.MixtureRegistry.names()):
    if name.startswith("my_"):
      seqio.MixtureRegistry.remove(name)
  for name in list(seqio.TaskRegistry.names()):
    if name.startswith("my_"):
      seqio.TaskRegistry.remove(name)
  asked = seqio.FunctionDataSource(rows, splits=list(COUNTS), num_input_examples=COUNTS)
  lines = seqio.TextLineDataSource({"train": os.path.join(folder, "lines.tsv")}, num_input_examples={"train": 3})
  tokenize, end = seqio.preprocessors.tokenize, seqio.preprocessors.append_eos
  add = functools.partial(seqio.TaskRegistry.add, output_features=FEATURES)
  add("my_function", asked, preprocessors=[named, noisy, tokenize, end])
  add("my_lines", lines, preprocessors=[columns, tokenize])
  features = {**FEATURES, "targets_loss_weights": WEIGHTS}
  how = [named, tokenize, weighted]
  seqio.TaskRegistry.add("my_weighted", asked, output_features=features, preprocessors=how)
  cap = functools.partial(seqio.mixing_rate_num_examples, maximum=30, temperature=2.0)
  seqio.MixtureRegistry.add("my_inner", [("my_function", cap), ("my_lines", 1.5)])
  outer = [("my_inner", 3.0), ("my_lines", lambda task: 0.25 * task.num_input_examples("train"))]
  seqio.MixtureRegistry.add("my_mixture", outer)


register(os.environ.get("MY_LINES", HERE))
