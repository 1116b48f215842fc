"""Pairs of answers: what their rows may look like, what is refused and counted, and what becomes of them."""

import json

import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.core import pack
from itune_jax.data import feed as feed_lib
from itune_jax.data import fields
from itune_jax.data import mixture
from itune_jax.data import tokenised
from itune_jax.data.readers import building
from itune_jax.data.readers import formats
from itune_jax.data.readers import preferences
from itune_jax.data.readers import readers
from itune_jax.data.render import chat
from itune_jax.data.render import pair_groups
from itune_jax.data.render import tokenizer as tokenizer_lib
from itune_jax.data.starter import build
from tests.data.render import stand_in
from tests.data.test_doors_fuzz import characters


def said(*turns):
  return [{"role": role, "content": text} for role, text in turns]


ASKED = said(("user", "q1"), ("assistant", "a1"), ("user", "q2"))
SAME = {
  "texts behind a prompt of messages": {"prompt": ASKED, "chosen": "yes", "rejected": "no"},
  "messages behind a prompt of messages": {
    "prompt": ASKED,
    "chosen": said(("assistant", "yes")),
    "rejected": said(("assistant", "no")),
  },
  "whole conversations": {
    "chosen": [*ASKED, *said(("assistant", "yes"))],
    "rejected": [*ASKED, *said(("assistant", "no"))],
  },
  "whole conversations beside the first question": {
    "prompt": "q1",
    "chosen": [*ASKED, *said(("assistant", "yes"))],
    "rejected": [*ASKED, *said(("assistant", "no"))],
    "messages": [*ASKED, *said(("assistant", "yes"))],
  },
  "turns in texts": {
    "chosen": "\n\nHuman: q1\n\nAssistant: a1\n\nHuman: q2\n\nAssistant: yes",
    "rejected": "\n\nHuman: q1\n\nAssistant: a1\n\nHuman: q2\n\nAssistant: no",
  },
  "shareGPT": {
    "conversations": [
      {"from": "human", "value": "q1"},
      {"from": "gpt", "value": "a1"},
      {"from": "human", "value": "q2"},
    ],
    "chosen": {"from": "gpt", "value": "yes"},
    "rejected": {"from": "gpt", "value": "no"},
  },
  "turns in the text of the prompt": {
    "prompt": "\n\nHuman: q1\n\nAssistant: a1\n\nHuman: q2\n\nAssistant:",
    "chosen": "yes",
    "rejected": "no",
  },
  "an answer beside both": {"prompt": ASKED, "completion": "other", "chosen": "yes", "rejected": "no"},
  "alpaca": {"instruction": "q2", "history": [["q1", "a1"]], "chosen": "yes", "rejected": "no"},
}


@pytest.mark.parametrize("name", SAME)
def test_every_way_to_write_a_pair_is_one(name):
  pair = readers.parse(SAME[name], "", "preference")
  text = lambda messages: [(m["role"], m["content"], m.get("weight")) for m in messages]
  prompt = [("user", "q1", None), ("assistant", "a1", 0), ("user", "q2", None)]
  assert text(pair.messages) == [*prompt, ("assistant", "yes", None)], name
  assert text(pair.rejected) == [*prompt, ("assistant", "no", None)]
  assert pair.margin is None and not set(pair.unread) - {"messages", "completion"}


@pytest.mark.parametrize("asks", formats.ASKS)
@pytest.mark.parametrize("answers", building.ANSWERS)
def test_an_answer_beside_both_sides_is_named_and_not_read(asks, answers):
  pair = readers.parse({asks: "q", answers: "other", "chosen": "yes", "rejected": "no"}, "", "preference")
  assert [m["content"] for m in pair.messages] == ["q", "yes"] and pair.unread == (answers,)


PAIR = {"prompt": "q", "chosen": "a", "rejected": "b"}
WRONG = {
  "equal": ({**PAIR, "rejected": "a"}, "`chosen` equals `rejected`"),
  "empty": ({**PAIR, "rejected": "  "}, "`rejected` is empty"),
  "empty prompt": ({**PAIR, "prompt": " \n"}, "`prompt` is empty"),
  "nothing asked": (
    {key: [{"role": "user", "content": ""}, {"role": "assistant", "content": key}] for key in ("chosen", "rejected")},
    "its prompt is empty",
  ),
  "missing": ({"prompt": "q", "chosen": "a"}, "it has no `rejected`"),
  "null": ({**PAIR, "chosen": None}, "it has no `chosen`"),
  "a number": ({**PAIR, "chosen": 3}, "`chosen` is a number"),
  "no messages": ({**PAIR, "chosen": []}, "has no messages"),
  "no prompt": ({"chosen": "a", "rejected": "b"}, "it has no prompt"),
  "prompts differ": (
    {"chosen": said(("user", "q"), ("assistant", "a")), "rejected": said(("user", "p"), ("assistant", "b"))},
    r"the prompts of both sides differ in message 0 \(user\)",
  ),
  "another prompt": (
    {**PAIR, "chosen": said(("user", "x"), ("assistant", "a")), "rejected": said(("user", "x"), ("assistant", "b"))},
    "the prompts differ",
  ),
  "one whole": ({**PAIR, "chosen": said(("user", "q"), ("assistant", "a"))}, "one side is a whole conversation"),
  "no answer": (
    {**PAIR, "rejected": said(("assistant", "b"), ("user", "?"))},
    "`rejected` does not end with an answer",
  ),
  "a tie": ({**PAIR, "score_chosen": 3, "score_rejected": 3}, "a tie"),
  "the wrong sign": ({**PAIR, "margin": -0.5}, "its margin is negative"),
  "a wrong sign by ratings": ({**PAIR, "chosen_rating": 1, "rejected_rating": 3}, "its margin is negative"),
  "half a score": ({**PAIR, "score_chosen": 3}, "the score of one side alone"),
  "two margins": ({**PAIR, "margin": 1, "score_chosen": 3, "score_rejected": 1}, "not the difference of its scores"),
  "images": ({**PAIR, "images": ["x.png"]}, "images is not read yet"),
  "a weight": (
    {**PAIR, "prompt": [ASKED[0], {**ASKED[1], "weight": 1}, ASKED[2]]},
    "message 1 of the prompt has weight 1",
  ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_pair_is_refused_by_name(name):
  raw, reason = WRONG[name]
  with pytest.raises(ValueError, match=reason):
    preferences.parse(raw)


def test_margins_are_of_scores():
  for one, other in (("score_chosen", "score_rejected"), ("chosen_score", "rejected_score")):
    assert preferences.parse({**PAIR, one: 7.5, other: 3}).margin == 4.5


def test_keys_that_nothing_reads_are_named():
  assert preferences.parse({**PAIR, "annotator": "x"}).unread == ("annotator",)


@pytest.fixture(scope="module")
def renderer():
  return chat.Renderer(stand_in.With(characters(), tokenizer_lib.named("chatml")), chat.Rendering(max_length=64))


def prepared(tmp_path, rows, renderer, **how):
  path = tmp_path / "pairs.jsonl"
  path.write_text("\n".join(map(json.dumps, rows)))
  source = mixture.Source(name="pairs", path=str(path), format="preference")
  mixed = mixture.Mixture(name="m", sources=(source,), **how)
  return tokenised.write_source(str(tmp_path), mixed, source, renderer, source.rows())


def test_a_pair_becomes_a_group_whose_prompt_stands_once(tmp_path, renderer):
  manifest = prepared(tmp_path, [{**PAIR, "prompt": "quite long"}, PAIR, {**PAIR, "rejected": "a"}], renderer)
  assert (manifest["stored"], manifest["dropped"]) == (2, 1)
  assert manifest["dropped_by_reason"] == {"`chosen` equals `rejected`: there is nothing to prefer": 1}
  cached = tokenised.CachedSource(tokenised.source_folder(str(tmp_path), manifest["key"]))
  group = cached[0]
  assert isinstance(group, pack.Group) and group.trunk > 10 and group.positions < group.repeated().positions
  feed = feed_lib.Feed({"pairs": cached}, {"pairs": 1.0}, feed_lib.Packing(row_length=128), columns=[pair_groups.SIDE])
  batch = feed.batch(0)
  for side, text in ((1, "a"), (-1, "b")):
    trained = batch.targets_BT[(batch.columns["side"] == side) & (batch.weights_BT != 0)]
    assert renderer.tokenizer.decode(trained[:1]) == text
  assert not batch.weights_BT[batch.groups_BT > 0].any()


def test_what_truncation_does_to_a_pair_is_counted(tmp_path, renderer):
  far = {"prompt": "q", "chosen": "x" * 80 + "a", "rejected": "x" * 80 + "b"}
  manifest = prepared(tmp_path, [PAIR, far, {**PAIR, "chosen": "y" * 90}, {**PAIR, "prompt": "z" * 90}], renderer)
  assert manifest["dropped_by_reason"] == {
    "truncation to 64 tokens removes what tells `chosen` from `rejected`": 1,
    "truncation leaves no trained token": 1,
  }
  assert manifest["truncated"] == 1


def test_margins_are_a_column_of_all_pairs_or_of_none(tmp_path, renderer):
  manifest = prepared(tmp_path, [{**PAIR, "margin": 2.5}, PAIR], renderer)
  assert manifest["dropped_by_reason"] == {"it has no margin, and the first pair has one": 1}
  group = tokenised.CachedSource(tokenised.source_folder(str(tmp_path), manifest["key"]))[0]
  np.testing.assert_array_equal(group.items[1].columns["margin"], 2.5)


def test_policies(tmp_path, renderer):
  with pytest.raises(ValueError, match=r"pairs.jsonl:2: `chosen` equals `rejected`"):
    prepared(tmp_path, [PAIR, {**PAIR, "rejected": "a"}], renderer, bad_rows="refuse")
  end = chat.Renderer(renderer.tokenizer, chat.Rendering(truncation="keep_end"))
  with pytest.raises(ValueError, match="would cut the prompt of a pair at two places"):
    prepared(tmp_path, [PAIR], end)
  with pytest.raises(ValueError, match="set Source.format = 'preference'"):
    mixture.Source(name="x", path="starter:pairs")


def test_an_objective_that_reads_no_side_is_refused(tmp_path, renderer):
  """It would learn both answers."""
  cached = tokenised.CachedSource(tokenised.source_folder(str(tmp_path), prepared(tmp_path, [PAIR], renderer)["key"]))
  with pytest.raises(errors.InputError, match="told apart by side, and the objective reads none of it"):
    feed_lib.Feed({"pairs": cached}, {"pairs": 1.0}, feed_lib.Packing(row_length=128))


def test_the_starter_set_has_pairs_that_differ():
  rows = [preferences.parse(row) for row in build.pairs("heldout")]
  assert len(rows) > 200 and all(row.answer != row.rejected[-1]["content"] for row in rows)


def test_a_system_text_beside_whole_conversations_is_their_system_turn():
  said = lambda text: [{"role": "user", "content": "hi"}, {"role": "assistant", "content": text}]
  row = {"system": "Be brief", "chosen": said("a"), "rejected": said("b")}
  found = preferences.parse(row)
  first = {"role": "system", "content": "Be brief"}
  assert found.messages[0] == first and found.rejected[0] == first and not found.unread
  assert [m["content"] for m in found.rejected] == ["Be brief", "hi", "b"]
  whole = {**row, "chosen": [first, *row["chosen"]], "rejected": [first, *row["rejected"]]}
  assert preferences.parse(whole).messages == found.messages
  with pytest.raises(fields.BadRow, match="its `system` is not the system message"):
    preferences.parse({**whole, "system": "Be long"})


def test_differences_that_float32_does_not_hold_are_ties():
  row = {"prompt": "q", "chosen": "a", "rejected": "b"}
  with pytest.raises(fields.BadRow, match="a tie"):
    preferences.parse({**row, "margin": 1e-50})
  assert preferences.parse({**row, "margin": 0.1}).margin == pytest.approx(0.1)
