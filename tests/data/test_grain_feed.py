"""A dataset of Grain as what a run trains on: the same rows for any number of processes, and again after a kill."""

import itertools
import json

import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.data import feed as feed_lib
from itune_jax.data import grain_feed
from itune_jax.data import opening
from itune_jax.data import mixture as mixture_lib
from itune_jax.data.render import chat
from tests.data import my_grain_data

HERE = "tests.data.my_grain_data:"


@pytest.fixture(scope="module")
def renderer(smollm2_tokenizer):
  """Short rows."""
  return chat.Renderer(smollm2_tokenizer, chat.Rendering(max_length=96))


def make(renderer, name, rows=None, **how):
  packing = feed_lib.Packing(row_length=128, rows=4, window=24)
  return grain_feed.GrainFeed("g", HERE + name, renderer, packing, seed=1, rows=rows, **how)


def tokens(batches):
  return [(b.tokens_BT.copy(), b.weights_BT.copy(), b.segments_BT.copy()) for b in batches]


def same(a, b):
  assert len(a) == len(b)
  for one, other in zip(a, b, strict=True):
    for x, y in zip(one, other, strict=True):
      np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(
  "name", ["indexed", *(pytest.param(name, marks=pytest.mark.heavy) for name in ("streamed", "ends"))]
)
def test_any_batch_can_be_gone_on_from_and_any_number_of_processes_reads_the_same(renderer, name):
  whole = make(renderer, name)
  states, batches = [], []
  for batch in itertools.islice(whole.iterate(0), 10):
    batches.append(batch)
    states.append(json.loads(json.dumps(whole.state())))
  seen = tokens(batches)
  assert len({one[0].tobytes() for one in seen}) == 10
  for k in (0, 3, 6):  # in the middle of a window, at its end, in a later epoch
    later = make(renderer, name)
    later.restore(states[k])
    same(tokens(itertools.islice(later.iterate(k + 1), 3)), seen[k + 1 : k + 4])
  parts = [tokens(itertools.islice(make(renderer, name, [p]).iterate(0), 3)) for p in range(4)]
  joined = [tuple(np.concatenate(each) for each in zip(*batch, strict=True)) for batch in zip(*parts, strict=True)]
  same(joined, seen[:3])
  again = make(renderer, name)
  same(tokens([again.batch(2), again.batch(0)]), [seen[2], seen[0]])
  assert whole.reasons and all("no known format" in reason for reason in whole.reasons)
  with pytest.raises(errors.InputError, match="forwards only"):
    whole.batch(3)


def test_every_element_comes_once_a_pass(renderer):
  feed = make(renderer, "ends")
  seen, k, steps = [], 0, feed.steps_per_epoch()
  while len(seen) < 59:
    seen += [number for row in feed.segments(k) for _, number in row]
    k += 1
  first = sorted(seen[:59])
  assert first == [n for n in range(60) if n != 17] and abs(k - steps) <= 2 and 0 < feed.padding_share() < 0.5
  assert make(renderer, "indexed").steps_per_epoch() == float("inf")


def test_what_is_no_dataset_or_holds_no_example_is_one_line(renderer):
  for name, reason in (("number", "returns int"), ("none", "has no function none")):
    with pytest.raises(errors.InputError, match=reason):
      make(renderer, name)
  with pytest.raises(errors.InputError, match="leaves no row to train on: 5 ×"):
    make(renderer, "nothing").batch(0)
  with pytest.raises(errors.InputError, match="element 17: no known format"):
    make(renderer, "ends", refuses=True).batch(0)
  with pytest.raises(errors.InputError, match="was not trained on a dataset of Grain"):
    make(renderer, "ends").restore({"rates": []})


def test_a_dataset_that_ends_is_read_once_as_a_source(tmp_path):
  source = lambda name: mixture_lib.Mixture(name="m", sources=(mixture_lib.Source(name="s", grain=HERE + name),))
  (read,) = opening.read(source("ends"), str(tmp_path), {}).sources
  rows = list(read.rows())
  assert [row.example.answer for row in rows if row.example] == [
    r["answer"] for r in my_grain_data.ROWS if "answer" in r
  ]
  assert [row.line for row in rows if row.example is None] == [18]
  with pytest.raises(errors.InputError, match="repeats without end"):
    opening.read(source("indexed"), str(tmp_path), {})
