"""Pairs over prompts: what is preferred follows its prompt, what is not breaks it, by the checkers themselves."""

import json

from itune_jax.data.readers import readers
from itune_jax.data.starter import build
from itune_jax.synth import prompt_pairs


def follows(row, texts):
  """Whether a side's answer follows all that its prompt asks of it."""
  asked, answer = row[-2]["content"], row[-1]["content"]
  return all(one.holds(answer) for text, one in texts.items() if text in asked)


def test_every_pair_is_right_by_the_checkers_and_drawn_from_its_seed():
  examples = [readers.parse(row, "") for _, row in zip(range(60), build.split("train"), strict=False)]
  texts = {one.text: one for one in prompt_pairs.constraints()}
  counts = {}
  rows = list(prompt_pairs.Pairs().rows(examples, counts))
  assert set(prompt_pairs.KINDS) <= set(counts) and sum(counts.values()) >= 120
  for row in rows:
    kind = row["id"].rpartition("/")[2]
    assert follows(row["chosen"], texts) and not follows(row["rejected"], texts), row
    same_answer = row["chosen"][-1] == row["rejected"][-1]
    assert same_answer == (kind != "across") and (row["chosen"][:-1] == row["rejected"][:-1]) == (kind == "across")
    pair = readers.parse(json.dumps(row), "", "prompt_preference")
    assert pair.values == ({"side": 1.0}, {"side": -1.0})
  assert list(prompt_pairs.Pairs().rows(examples)) == rows
  assert list(prompt_pairs.Pairs(seed=1).rows(examples)) != rows
  assert {r["id"].rpartition("/")[2] for r in prompt_pairs.Pairs(kinds=("removed",)).rows(examples)} == {"removed"}
