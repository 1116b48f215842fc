"""Tasks of SeqIO and data sets of TFDS against SeqIO and TFDS themselves: texts, order, rates; and the way back."""

import collections
import os

import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.data import mixture as mixture_lib
from itune_jax.data import opening
from itune_jax.data import tokenised
from itune_jax.data.render import chat

seqio = pytest.importorskip("seqio", reason="SeqIO is not installed: the extra prep installs it")
pytestmark = [pytest.mark.heavy, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
  """The user's module, with its lines."""
  folder = tmp_path_factory.mktemp("tasks")
  (folder / "lines.tsv").write_text("a\tb\nc d\te é\nx\ty\n")
  from tests.data import my_seqio_tasks

  my_seqio_tasks.register(str(folder))
  return my_seqio_tasks


def opened(tmp_path, **how):
  mix = mixture_lib.Mixture(
    name="m", **({"sources": (mixture_lib.Source(name="s", **how),)} if how else {"seqio": "my_mixture"})
  )
  return opening.read(mix, str(tmp_path), {})


def texts(dataset, task):
  """(inputs, targets) of SeqIO's own dataset, by the task's own vocabulary."""
  read = lambda name, ids: task.output_features[name].vocabulary.decode([int(i) for i in ids])
  return [(read("inputs", e["inputs"]), read("targets", e["targets"])) for e in dataset.as_numpy_iterator()]


def test_a_mixture_is_trained_on_as_seqio_has_it(mine, tmp_path):
  """Nested, with rates that are functions, and a preprocessor that draws."""
  whole, found = seqio.get_mixture_or_task("my_mixture"), opened(tmp_path)
  assert [source.name for source in found.sources] == ["my_function", "my_lines"] and found.rates == "given"
  total = sum(whole.get_rate(task) for task in whole.tasks)
  assert found.shares({}) == pytest.approx({task.name: whole.get_rate(task) / total for task in whole.tasks}, rel=1e-12)
  for source in found.sources:
    task = seqio.get_mixture_or_task(source.name)
    theirs = texts(task.get_dataset(None, split="train", shuffle=False, seed=0), task)
    ours = [tuple(m["content"] for m in row.example.messages) for row in source.rows()]
    assert ours == theirs and len(ours) == len(set(ours))
  # What SeqIO draws of its own mixture comes at the rates that we draw at.
  drawn = whole.get_dataset(None, split="train", shuffle=False, seed=1, num_epochs=None).take(1000)
  asked = collections.Counter(
    bytes(np.asarray(e["inputs"][:1] - 3, np.uint8)) == b"Q" for e in drawn.as_numpy_iterator()
  )
  assert asked[True] / 1000 == pytest.approx(found.shares({})["my_function"], abs=0.05)


def test_splits_weights_mappings_and_what_is_not_there(mine, tmp_path):
  (ids,) = opened(tmp_path, task="my_weighted", chat="ids", split="test").sources
  rows = list(ids.rows())
  task = seqio.get_mixture_or_task("my_weighted")
  for row, theirs in zip(rows, task.get_dataset(None, split="test", shuffle=False).as_numpy_iterator(), strict=True):
    given = row.example.given
    assert list(given.ids) == [*theirs["inputs"], *theirs["targets"]]
    assert list(given.weights) == [0.0] * len(theirs["inputs"]) + list(theirs["targets_loss_weights"])
  (own,) = opened(tmp_path, task="my_function", chat="tests.data.my_seqio_tasks:to_messages").sources
  assert [m["role"] for m in next(own.rows()).example.messages] == ["system", "user", "assistant"]
  (text,) = opened(tmp_path, task="my_weighted").sources
  assert {row.problem for row in text.rows()} == {
    "its loss weights differ within the targets, which only chat = 'ids' keeps"
  }
  for wrong, reason in (
    ({"task": "my_functoin"}, "did you mean my_function"),
    ({"task": "my_lines", "split": "dev"}, "it has train"),
  ):
    with pytest.raises(errors.InputError, match=reason):
      opened(tmp_path, **wrong)


def test_a_cached_task_is_read_from_its_cache(mine, tmp_path):
  with pytest.raises(errors.InputError, match="is not cached in"):
    opened(tmp_path, task="my_lines", data_dir=str(tmp_path / "none"))
  seqio.set_global_cache_dirs([])


def test_the_starter_set_is_built_and_read_as_a_data_set(tmp_path):
  from itune_jax.data.origins import tfds_write

  where = str(tmp_path / "data")
  tfds_write.starter(where)
  rows = lambda **how: [
    row.example for row in opened(tmp_path, tfds="itune_starter:1.0.0", data_dir=where, **how).sources[0].rows()
  ]
  expected = [row.example for row in mixture_lib.Source(name="s", path="starter:train").rows()]
  whole = rows(chat="json")
  assert [(e.id, e.messages, e.check, e.domain) for e in whole] == [
    (e.id, e.messages, e.check, e.domain) for e in expected
  ]
  part = rows(split="train[:90%]")
  assert [e.messages for e in part] == [e.messages for e in expected[: round(0.9 * len(expected))]]
  for wrong, reason in (
    ({"tfds": "itune_starter", "split": "dev"}, "splits are"),
    ({"tfds": "no_such_set"}, "TFDS has no"),
  ):
    with pytest.raises(errors.InputError, match=reason):
      opened(tmp_path, **{"data_dir": where, **wrong})


@pytest.mark.full
def test_a_prepared_mixture_is_written_as_a_data_set_and_trains_the_same(tmp_path, smollm2_tokenizer):
  from itune_jax.data.origins import tfds_write

  renderer = chat.Renderer(smollm2_tokenizer)
  source = mixture_lib.Source(name="first", path="starter:train", limit=30)
  mix = mixture_lib.Mixture(name="mine", sources=(source,))
  root, where = str(tmp_path / "c"), str(tmp_path / "data")
  manifest = tokenised.write_source(root, mix, source, renderer, source.rows())
  stored = tokenised.CachedSource(tokenised.source_folder(root, manifest["key"]))
  assert tfds_write.prepared({"first": stored}, {"first": 1.0}, "mine", where) == os.path.join(where, "mine")
  again = opened(tmp_path, tfds="mine/first:1.0.0", data_dir=where, chat="ids").sources[0]
  manifest = tokenised.write_source(root, mix, again, renderer, again.rows())
  back = tokenised.CachedSource(tokenised.source_folder(root, manifest["key"]))
  assert len(back) == len(stored) == 30
  for i in range(30):
    np.testing.assert_array_equal(back[i].ids, stored[i].ids)
    np.testing.assert_array_equal(back[i].weights, stored[i].weights)
  with pytest.raises(errors.InputError, match="is there already"):
    tfds_write.prepared({"first": stored}, {"first": 1.0}, "mine", where)


def test_a_source_of_ours_is_a_task_that_gives_what_we_train_on(tmp_path, smollm2_tokenizer):
  """Inputs and targets behind each other, and the weights, are the ids and weights of the renderer."""
  from itune_jax.data import tasks

  renderer = chat.Renderer(smollm2_tokenizer)
  source = mixture_lib.Source(name="first", path="starter:train", stride=20)
  mix = mixture_lib.Mixture(name="starter", sources=(source,))
  tasks.register(mix, renderer, held_out=0.2)
  task = seqio.get_mixture_or_task("itune_starter_first")
  assert set(task.output_features) == {"inputs", "targets", "targets_loss_weights"} and set(task.splits) == {
    "train",
    "validation",
  }
  seen = []
  for split in task.splits:
    examples = list(task.get_dataset(None, split=split, shuffle=False).as_numpy_iterator())
    assert len(examples) == task.num_input_examples(split)
    seen += [(tuple(e["inputs"]) + tuple(e["targets"]), tuple(e["targets_loss_weights"])) for e in examples]
  expected = []
  for row in source.rows():
    for _, one in renderer.rows(row.example):
      for _, first, last in one.stretches:
        assert one.weights[first:last].all() and not one.weights[last:].any() or len(one.stretches) > 1
        expected.append((tuple(one.ids[:last]), tuple(one.weights[first:last])))
  assert sorted(seen) == sorted(expected) and len(expected) > 50
  batch = seqio.get_mixture_or_task("itune_starter").get_dataset({"inputs": 64, "targets": 32}, split="train", seed=0)
  converted = seqio.PassThroughFeatureConverter()(batch, {"inputs": 64, "targets": 32})
  assert set(next(converted.as_numpy_iterator())) >= {"inputs", "targets"}
  tasks.register(mix)
  plain = seqio.get_mixture_or_task("itune_starter_first").get_dataset(None, split="train", shuffle=False)
  first = next(plain.as_numpy_iterator())
  assert first["inputs_pretokenized"].decode() == next(source.rows()).example.messages[0]["content"]
  assert len(first["targets_loss_weights"]) == len(first["targets"])
