"""Readers, packing, the cache and the feed."""

import gzip
import json

import numpy as np
import pytest

from itune_jax.core import pack
from itune_jax.data import example as example_lib
from itune_jax.data import feed as feed_lib
from itune_jax.data import mixture
from itune_jax.data import tokenised
from itune_jax.data.readers import readers
from itune_jax.data.render import chat
from itune_jax.data.starter import build
from itune_jax.data.starter import families
from itune_jax.grading import checkers

ROWS = {
  "messages": {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
  "sharegpt": {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
  "alpaca": {"instruction": "q", "input": "", "output": "a"},
  "prompt_completion": {"prompt": "q", "completion": "a"},
  "question_answer": {"question": "q", "answer": "a"},
  "natural_instructions": {"Definition": ["q"], "input": "", "output": ["a", "b"]},
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "json"])
def test_formats_are_told_by_their_keys(tmp_path, name, ending):
  path = tmp_path / f"rows.{ending}"
  text = json.dumps([ROWS[name]]) if ending == "json" else json.dumps(ROWS[name]) + "\n"
  path.write_bytes(gzip.compress(text.encode()) if ending.endswith("gz") else text.encode())
  (row,) = readers.read(str(path))
  assert [(m["role"], m["content"].strip()) for m in row.example.messages] == [("user", "q"), ("assistant", "a")]
  assert row.example.source["dataset"] == path.name and row.line == 1


@pytest.mark.parametrize(
  "raw,reason",
  [
    ("{", "not JSON"),
    ('{"messages": []}', "no messages"),
    ('{"messages": [{"role": "robot", "content": "x"}]}', "unknown role 'robot'"),
    ('{"foo": 1}', "no known format"),
    ('{"messages": [{"role": "user", "content": "x", "weight": 1}]}', "only assistant turns"),
    ('{"conversations": [{"from": "martian", "value": "x"}]}', "from 'martian'"),
    ("[1]", "a row is an object"),
  ],
)
def test_bad_rows_say_why(tmp_path, raw, reason):
  path = tmp_path / "bad.jsonl"
  path.write_text(json.dumps(ROWS["messages"]) + "\n\n" + raw + "\n")
  good, bad = readers.read(str(path))
  assert good.example and bad.example is None and reason in bad.problem and bad.line == 3


def test_missing_and_corrupt_files(tmp_path):
  with pytest.raises(ValueError, match="no such file"):
    list(readers.read(str(tmp_path / "none.jsonl")))
  (tmp_path / "x.json.gz").write_bytes(b"nonsense")
  with pytest.raises(ValueError, match=r"x\.json\.gz: cannot be read"):
    list(readers.read(str(tmp_path)))


def test_best_fit_decreasing_wastes_little_and_loses_nothing():
  lengths = np.random.RandomState(0).randint(1, 513, 4096)
  rows = pack.best_fit_decreasing(lengths, 2048)
  assert sorted(i for row in rows for i in row) == list(range(4096))
  assert all(lengths[row].sum() <= 2048 for row in rows)
  assert 1 - lengths.sum() / (len(rows) * 2048) < 0.01


def test_fill_shifts_targets_inside_the_segment():
  batch = pack.fill([[(np.array([1, 2, 3]), np.array([0.0, 0, 1])), (np.array([4, 5]), np.array([0.0, 2]))]], 4)
  assert batch.tokens_BT.tolist() == [[1, 2, 4, 0]] and batch.targets_BT.tolist() == [[2, 3, 5, 0]]
  assert (
    batch.weights_BT.tolist() == [[0, 1, 2, 0]]
    and batch.segments_BT.tolist() == [[1, 1, 2, 0]]
    and batch.positions_BT.tolist() == [[0, 1, 0, 0]]
  )


class FakeSource(tokenised.Examples):
  """Examples whose tokens tell which they are."""

  def __init__(self, count, seed):
    self._lengths = np.random.RandomState(seed).randint(3, 30, count)
    self._seed = seed

  @property
  def lengths(self):
    return self._lengths

  def __getitem__(self, i):
    n = int(self.lengths[i]) + 1
    return pack.Item(np.full(n, self._seed * 1000 + i, np.int32), np.ones(n, np.float32))


def make_feed(rows=None, seed=0, **packing):
  sources = {"a": FakeSource(50, 1), "b": FakeSource(200, 2)}
  return feed_lib.Feed(
    sources,
    {"a": 0.25, "b": 0.75},
    feed_lib.Packing(**{"row_length": 64, "rows": 4, "window": 128, **packing}),
    seed=seed,
    rows=rows,
  )


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_any_number_of_processes_reads_the_same_batches(processes):
  whole = make_feed()
  parts = [make_feed(range(p * 4 // processes, (p + 1) * 4 // processes)) for p in range(processes)]
  for k in (0, 3, 40):
    expected = whole.batch(k)
    for name in ("tokens_BT", "weights_BT", "segments_BT"):
      np.testing.assert_array_equal(np.concatenate([getattr(p.batch(k), name) for p in parts]), getattr(expected, name))


def test_a_batch_is_a_function_of_its_number_alone():
  forwards, jumping = make_feed(), make_feed()
  later = jumping.batch(37).tokens_BT
  seen = [forwards.batch(k).tokens_BT for k in range(38)]
  np.testing.assert_array_equal(seen[37], later)
  for k, batch in zip((5, 6, 7), make_feed().iterate(5), strict=False):
    np.testing.assert_array_equal(batch.tokens_BT, seen[k])
  assert (make_feed(seed=1).batch(0).tokens_BT != seen[0]).any()


def test_every_example_comes_once_an_epoch_and_rates_hold():
  feed = make_feed()
  drawn = [member for k in range(200) for row in feed.members(k) for member in row][:1200]
  share = sum(source == "a" for source, _ in drawn) / len(drawn)
  assert abs(share - 0.25) < 0.05
  for name, size in (("a", 50), ("b", 200)):  # whole windows hold the first draws of each source: once an epoch
    windows = 8 if name == "a" else 6
    rows = sum(feed._draws.rows_in_window(w) for w in range(windows))
    drawn = [i for number in range(rows) for s, i in feed._draws.row(number) if feed._names[s] == name]
    counts = np.bincount(drawn, minlength=size)
    assert counts.max() - counts.min() <= 1 and counts.min() >= len(drawn) // size, name


def changed(feed, log):
  for step, rates in log:
    feed.change_rates(step, rates)
  return feed


LOG = [(7, {"a": 0.9, "b": 0.1}), (8, {"a": 1.0, "b": 1.0}), (30, {"a": 0.25, "b": 0.75})]


def test_rates_change_at_numbered_steps_and_nothing_before_them_or_is_lost():
  plain, feed = make_feed(), changed(make_feed(), LOG)
  for k in range(7):
    np.testing.assert_array_equal(feed.batch(k).tokens_BT, plain.batch(k).tokens_BT)
  share = lambda steps: np.mean([s == "a" for k in steps for row in feed.members(k) for s, _ in row])
  assert share(range(9, 30)) > 0.42 and share(range(60, 120)) < 0.35
  # Every example comes as often as any other of its source, but for the windows that are under way.
  drawn = [member for k in range(400) for row in feed.members(k) for member in row]
  for name, size in (("a", 50), ("b", 200)):
    counts = np.bincount([i for s, i in drawn if s == name], minlength=size)
    assert counts.max() - counts.min() <= 2


def test_a_batch_is_a_function_of_its_number_and_the_log():
  late = make_feed()  # changes come while it is read, as in a run
  seen = {}
  for k in range(40):
    for step, rates in LOG:
      if step == k + 1:
        late.change_rates(step, rates)
    seen[k] = late.batch(k).tokens_BT
  resumed = make_feed(range(2, 4))
  resumed.restore(json.loads(json.dumps(late.state())))
  for k in (6, 7, 8, 29, 30, 39):
    np.testing.assert_array_equal(resumed.batch(k).tokens_BT, seen[k][2:])
  assert resumed.changes == 3 and (seen[31] != make_feed().batch(31).tokens_BT).any()


def test_rates_of_what_is_trained_cannot_change():
  feed = make_feed()
  batches = feed.iterate(0)
  for _ in range(5):
    next(batches)
  with pytest.raises(ValueError, match="5 steps are trained"):
    feed.change_rates(4, {"a": 1.0, "b": 1.0})
  for bad in ({"a": 1.0}, {"a": 1.0, "b": float("nan")}, {"a": 1.0, "b": -1.0}):
    with pytest.raises(ValueError, match="a positive one for each of a, b"):
      feed.change_rates(9, bad)
  feed.change_rates(9, {"a": 1.0, "b": 1.0})
  with pytest.raises(ValueError, match="rates changed at step 9"):
    feed.change_rates(8, {"a": 1.0, "b": 1.0})


def test_bad_geometry_is_refused():
  with pytest.raises(ValueError, match="does not fit"):
    make_feed(row_length=8)


def test_cache_is_addressed_by_content_counts_problems_and_is_written_whole(tmp_path, smollm2_tokenizer):
  path = tmp_path / "rows.jsonl"
  lines = [
    json.dumps(ROWS["alpaca"]),
    "{",
    json.dumps({"prompt": "only"}),
    json.dumps({"messages": [{"role": "user", "content": "no answer"}]}),
  ]
  path.write_text("\n".join(lines) + "\n")
  renderer = chat.Renderer(smollm2_tokenizer)
  source = mixture.Source(name="s", path=str(path))
  mix = mixture.Mixture(name="m", sources=(source,))
  manifest = tokenised.write_source(str(tmp_path / "c"), mix, source, renderer, source.rows())
  assert (manifest["rows"], manifest["kept"], manifest["dropped"]) == (4, 1, 3)
  assert [row["line"] for row in manifest["dropped_rows"]] == [2, 3, 4] and "no assistant turn" in manifest[
    "dropped_by_reason"
  ]
  stored = tokenised.CachedSource(tokenised.source_folder(str(tmp_path / "c"), manifest["key"]))
  ids, weights, *_ = stored[0]
  assert smollm2_tokenizer.decode(ids[weights != 0]) == "a<|im_end|>" and stored.lengths.tolist() == [len(ids) - 1]
  keys = {
    tokenised.source_key(source, renderer),
    tokenised.source_key(source, chat.Renderer(smollm2_tokenizer, chat.Rendering(max_length=9))),
  }
  path.write_text(lines[0] + "\n")
  keys.add(tokenised.source_key(source, renderer))
  assert len(keys) == 3
  refusing = mixture.Mixture(name="m", sources=(source,), bad_rows="refuse")
  path.write_text("\n".join(lines) + "\n")
  with pytest.raises(ValueError, match=r"rows\.jsonl:2: not JSON"):
    tokenised.write_source(str(tmp_path / "d"), refusing, source, renderer, source.rows())
  assert not list((tmp_path / "d" / "tokenised").iterdir())


def test_starter_set_is_what_it_promises(smollm2_tokenizer):
  train, heldout = list(build.split("train")), list(build.split("heldout"))
  assert len(families.FAMILIES) >= 12 and len(heldout) >= 240
  assert sum(row["source"]["dataset"] == "itune-starter-open" for row in train) >= 150
  templates = lambda rows: {row["source"].get("template") for row in rows} - {None}
  assert not templates(train) & templates(heldout)
  for family in families.FAMILIES.values():
    assert not set(family.train) & set(family.heldout)
  assert len({row["id"] for row in train + heldout}) == len(train + heldout)
  for row in train + heldout:
    one = example_lib.from_json(row)
    assert one.source["licence"] == "CC0-1.0" and one.source["kind"] == "annotated"
    if one.check:
      assert checkers.judge(one.answer, one.check), row
      assert not checkers.judge(one.answer + " nonsense", one.check)
  assert list(build.split("heldout")) == heldout
  questions = {row["messages"][-2]["content"] for row in train}
  assert not questions & {row["messages"][-2]["content"] for row in heldout}
