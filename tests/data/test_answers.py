"""Answers that somebody has judged, other than pairs: what is read, what is refused and counted, what becomes of it."""

import json

import numpy as np
import pytest

from itune_jax.data import feed as feed_lib
from itune_jax.data import made
from itune_jax.data import mixture
from itune_jax.data import tokenised
from itune_jax.data.readers import readers
from itune_jax.data.render import chat
from itune_jax.data.render import tokenizer as tokenizer_lib
from tests.data.render import stand_in
from tests.data.test_doors_fuzz import characters

ASKED = [{"role": "user", "content": "q1"}, {"role": "assistant", "content": "a1"}, {"role": "user", "content": "q2"}]
ONE = {"prompt": "q", "completion": "a"}
LIST = {"prompt": "q", "responses": ["a", "b", "c"], "scores": [1, 3, 2]}
STEPS = {"prompt": "q", "completions": ["one.", "two.", "three."], "labels": [True, True, False]}
WHOLE = {
  "chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "y"}],
  "rejected": [{"role": "user", "content": "q, and more"}, {"role": "assistant", "content": "y"}],
}
READ = {
  "unpaired": ({**ONE, "label": False}, [{"label": -1.0}]),
  "unpaired ": ({"messages": [*ASKED, {"role": "assistant", "content": "a"}], "kto_tag": True}, [{"label": 1.0}]),
  "scored": ({**ONE, "score": 2.5}, [{"score": 2.5}]),
  "ranked": (LIST, [{"score": 1.0}, {"score": 3.0}, {"score": 2.0}]),
  "ranked ": (
    {"instruction": "q", "completions": [{"response": "a", "overall_score": 4}, {"response": "b", "overall_score": 7}]},
    [{"score": 4.0}, {"score": 7.0}],
  ),
  "stepwise": (STEPS, [{"end": 4.0, "label": 1.0}, {"end": 10.0, "label": 1.0}, {"end": 18.0, "label": -1.0}]),
  "prompt_preference": (WHOLE, [{"side": 1.0}, {"side": -1.0}]),
}


@pytest.mark.parametrize("name", READ)
def test_what_is_said_of_answers_is_read(name):
  raw, values = READ[name]
  example = readers.parse(raw, "", name.strip())
  assert list(example.values) == values and len(example.others) == (0 if "end" in values[0] else len(values) - 1)
  weights = [m.get("weight", 1.0) for m in example.messages if m["role"] == "assistant"]
  assert weights[:-1] == [0] * (len(weights) - 1)


WRONG = {
  "no label": ("unpaired", ONE, "it has no `label`"),
  "two labels": ("unpaired", {**ONE, "label": True, "kto_tag": True}, "`label` and `kto_tag`"),
  "a text": ("unpaired", {**ONE, "label": "true"}, "`label` is 'true'; it must be true or false"),
  "empty": ("unpaired", {"prompt": "q", "completion": " ", "label": True}, "is empty"),
  "no score": ("scored", ONE, "it has no `score`"),
  "infinite": ("scored", {**ONE, "score": float("inf")}, "must be a finite number"),
  "lengths": ("ranked", {**LIST, "scores": [1, 2]}, "3 responses and 2 scores"),
  "one": ("ranked", {**LIST, "responses": ["a"], "scores": [1]}, "nothing to rank"),
  "a tie": ("ranked", {**LIST, "scores": [2, 2, 2]}, "a tie"),
  "twice": ("ranked", {**LIST, "responses": ["a", "a", "b"]}, "twice with different scores"),
  "no prompt": ("ranked", {"responses": ["a", "b"], "scores": [1, 2]}, "no prompt"),
  "no steps": ("stepwise", {**STEPS, "labels": [True]}, "3 steps and 1 labels"),
  "an empty step": ("stepwise", {**STEPS, "completions": ["a", " ", "b"]}, "a step is empty"),
  "alike": ("prompt_preference", {**WHOLE, "rejected": WHOLE["chosen"]}, "`chosen` equals `rejected`"),
  "no prompts": ("prompt_preference", {"chosen": "a", "rejected": "b"}, "no whole conversation"),
  "another prompt": (
    "preference",
    {"prompt": "q", "chosen": "a", "rejected": "b", "reference": [*ASKED, {"role": "assistant", "content": "c"}]},
    "answers another prompt",
  ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused_by_name(name):
  kind, raw, reason = WRONG[name]
  with pytest.raises(ValueError, match=reason):
    readers.parse(raw, "", kind)


@pytest.fixture(scope="module")
def renderer():
  return chat.Renderer(stand_in.With(characters(), tokenizer_lib.named("chatml")), chat.Rendering(max_length=96))


def prepared(tmp_path, kind, rows, renderer):
  path = tmp_path / f"{kind}.jsonl"
  path.write_text("\n".join(map(json.dumps, rows)))
  source = mixture.Source(name=kind, path=str(path), format=kind)
  mixed = mixture.Mixture(name="m", sources=(source,))
  manifest = tokenised.write_source(str(tmp_path), mixed, source, renderer, source.rows())
  return manifest, tokenised.CachedSource(tokenised.source_folder(str(tmp_path), manifest["key"]))


def told(batch, renderer):
  """(text, columns) of the trained tokens of each answer."""
  found = []
  for b in range(len(batch.tokens_BT)):
    for s in range(1, batch.segments_BT[b].max() + 1):
      here = (batch.segments_BT[b] == s) & (batch.weights_BT[b] != 0)
      if here.any():
        columns = {name: float(value[b, here][0]) for name, value in batch.columns.items()}
        found.append((renderer.tokenizer.decode(batch.targets_BT[b, here]).split("<")[0], columns))
  return found


def test_answers_to_other_prompts_hang_on_the_seed_alone(tmp_path, renderer):
  """Whatever the order and the batch: the same answers are beside the same prompts, each of them once."""
  rows = [{"prompt": f"{i} asks", "completion": f"{i}{'x' * i}", "label": i % 2 == 0} for i in range(7)]
  manifest, cached = prepared(tmp_path, "unpaired", rows, renderer)
  assert manifest["labels"] == {"wanted": 4, "unwanted": 3}
  columns = [made.MISMATCH, *cached.schema.columns]
  seen = {}
  for shuffle, count, once in ((True, 1, True), (False, 2, False), (True, 3, True)):
    packing = feed_lib.Packing(row_length=256, rows=count, shuffle=shuffle, window=7, repeat_prompts=not once)
    feed = feed_lib.Feed({"unpaired": cached}, {"unpaired": 1.0}, packing, seed=4, columns=columns)
    pairs = set()
    for k in range(8):
      batch = feed.batch(k)
      found = told(batch, renderer)
      assert [c["mismatch"] for _, c in found] == [0.0, 1.0] * (len(found) // 2)
      assert all(c["label"] == (0 if c["mismatch"] else 1 if int(text[0]) % 2 == 0 else -1) for text, c in found)
      pairs |= {(own[0], other[0]) for (own, _), (other, _) in zip(found[::2], found[1::2], strict=True)}
      assert int((batch.segments_BT != 0).sum()) == sum(
        int(feed._sources[0].lengths[i] if once else feed._sources[0].repeated_lengths[i])
        for row in feed.members(k)
        for _, i in row
      )
    seen[shuffle, count] = pairs
  first, *others = seen.values()
  assert all(other == first for other in others)
  assert len(first) == 7 and {b for _, b in first} == set("0123456") and all(a != b for a, b in first)


def test_labels_that_are_all_the_same_are_refused(tmp_path, renderer):
  _, cached = prepared(tmp_path, "unpaired", [{**ONE, "label": True}, {**ONE, "prompt": "p", "label": True}], renderer)
  with pytest.raises(ValueError, match=r"all labels are equal \(2 wanted, 0 unwanted\)"):
    feed_lib.Feed({"s": cached}, {"s": 1.0}, feed_lib.Packing(row_length=128), columns=cached.schema.columns)


def test_the_place_of_a_reward_is_behind_the_answer(tmp_path, renderer):
  _, cached = prepared(tmp_path, "ranked", [LIST, {**LIST, "responses": ["d", "e", "f"]}], renderer)
  columns = [made.END, *cached.schema.columns]
  feed = feed_lib.Feed({"s": cached}, {"s": 1.0}, feed_lib.Packing(row_length=256, window=2), columns=columns)
  batch = feed.batch(0)
  at = np.argwhere(batch.weights_BT != 0)
  assert len(at) == 6 and all(batch.columns["end"][b, t] == 1 for b, t in at)
  ends = {renderer.tokenizer.decode([batch.tokens_BT[b, t]]) for b, t in at}
  whole = renderer.render(readers.parse({**ONE}, ""))[0]
  assert ends == {renderer.tokenizer.decode([whole.ids[np.flatnonzero(whole.weights)[-1]]])}


def test_steps_are_judged_where_they_end(tmp_path, renderer):
  _, cached = prepared(tmp_path, "stepwise", [STEPS], renderer)
  (item,) = cached[0].items
  at = np.flatnonzero(item.weights)
  first = int(np.flatnonzero(renderer.render(readers.parse(ONE, ""))[0].weights)[0])
  steps = ["one.", "one.\n\ntwo.", "one.\n\ntwo.\n\nthree."]
  assert [item.ids[first:i].tolist() for i in at] == [renderer.encode(step) for step in steps]
  assert item.columns["label"][at].tolist() == [1.0, 1.0, -1.0]


def test_triples_have_a_third_answer_in_all_rows_or_in_none(tmp_path, renderer):
  rows = [
    {"prompt": "q", "chosen": "a", "rejected": "b", "reference": "c"},
    {"prompt": "q", "chosen": "a", "rejected": "b"},
  ]
  manifest, cached = prepared(tmp_path, "preference", rows, renderer)
  assert manifest["dropped_by_reason"] == {"it has no `reference`, and the first pair has one": 1}
  assert [(float(i.columns["side"][0]), float(i.columns["gold"][0])) for i in cached[0].items] == [
    (1.0, 0.0),
    (-1.0, 0.0),
    (0.0, 1.0),
  ]
