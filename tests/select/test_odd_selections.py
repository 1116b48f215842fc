"""Selections that cannot be meant: each is one line, and what it began does not stand in the next one's way."""

import dataclasses
import json

import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.run.commands import select as command
from itune_jax.select import decontaminate
from itune_jax.select import select_protocol
from itune_jax.select import selecting
from itune_jax.select.duplicates import exact_copies
from itune_jax.select.duplicates import min_hash
from itune_jax.select.duplicates import novelty
from itune_jax.select.scores import length
from tests.select import made

CHAT = {"messages": [{"role": "user", "content": "ask it"}, {"role": "assistant", "content": "say it"}]}
ITEM = select_protocol.Held("1", "one two three four five six seven eight nine ten", "")


@pytest.mark.parametrize(
  "text", ["101%", "-1", "abc", "0", "0%", "1,5%", "12,34", "1e3", "1.5", "１0%", "1,000,00", "5%rows"]
)
def test_a_budget_that_is_none(text):
  with pytest.raises(errors.InputError, match="write a share"):
    command.budget(text)


@pytest.mark.parametrize(("text", "expected"), [("1,000", {"rows": 1000}), ("2_000_000tokens", {"tokens": 2_000_000})])
def test_thousands_may_be_parted(text, expected):
  assert command.budget(text) == select_protocol.Budget(**expected)


STEPS = [novelty.RougeNovelty(), exact_copies.Exact(field="instruction"), min_hash.MinHash(field="nothing")]


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_would_compare_nothing_is_refused(step, tmp_path):
  with pytest.raises(errors.InputError, match=f"field = '{step.field}': none of 2 rows has text there"):
    made.run(tmp_path, [CHAT, CHAT], step)
  assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"], "nothing is left"
  kept, _ = made.run(tmp_path, [CHAT, CHAT | {step.field: "ask"}], step)
  assert len(kept) == 2, "some rows may lack it"


def test_what_was_begun_with_refused_values_is_gone(tmp_path):
  step = decontaminate.Decontaminate(against=("b",), action="refuse", whole=5, size=5)
  with pytest.raises(errors.InputError, match=r"holds b/1"):
    made.run(tmp_path, [{"instruction": ITEM.prompt, "output": "x"}], step, world=made.World(b=[ITEM]))
  with pytest.raises(errors.RunError, match="no row is left"):
    made.run(tmp_path, ["{"])
  assert made.run(tmp_path, [CHAT])[0] == [CHAT]


def test_a_mark_that_is_somebody_elses_is_refused(tmp_path):
  step = decontaminate.Decontaminate(against=("b",), action="mark", whole=5, size=5)
  row = {"instruction": ITEM.prompt, "output": "x"}
  for known, marked in ((None, ["b/1"]), (["a/2"], ["a/2", "b/1"])):
    found, _ = made.run(tmp_path, [{**row, "contaminated": known}], step, world=made.World(b=[ITEM]), overwrite=True)
    assert found[0]["contaminated"] == marked
  with pytest.raises(errors.InputError, match="a column `contaminated` that is no list of names"):
    made.run(tmp_path, [{**row, "contaminated": "yes"}], step, world=made.World(b=[ITEM]), overwrite=True)


def test_the_input_is_never_the_output_nor_holds_it(tmp_path):
  for name in ("a.jsonl", "b.jsonl"):
    (tmp_path / name).write_text(json.dumps(CHAT) + "\n")
  how = {"begin": made.no_progress, "outside": made.World(), "overwrite": True}
  for source, output in ((tmp_path / "*.jsonl", "b.jsonl"), (tmp_path, "c.jsonl")):
    with pytest.raises(errors.InputError, match="input"):
      selecting.select(select_protocol.Selection(), str(source), str(tmp_path / output), **how)
  assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl"]
  with pytest.raises(errors.InputError, match="from 0 to"):
    select_protocol.Selection(seed=-1)


@dataclasses.dataclass(frozen=True)
class Odd(select_protocol.Score):
  """Numbers that no file of JSON holds."""

  name: str = "odd"

  def score(self, rows, ask):
    return np.array([1.0, np.inf, -np.inf, np.nan, 2.0])[: len(rows)]


@pytest.mark.parametrize("combine", ["sum", "ranks", "product"])
def test_a_number_that_is_not_finite_is_none_and_counted(tmp_path, combine):
  rows = [CHAT | {"id": i} for i in range(5)]
  found, manifest = made.run(tmp_path, rows, scores=(Odd(), length.Length()), combine=combine)
  assert [row["id"] for row in found] == [0, 4] and made.dropped(manifest) == {("choose", "no odd"): 3}
  text = (tmp_path / "out.jsonl").read_text()
  assert "Infinity" not in text and "NaN" not in text


def test_scores_that_are_null_are_none(tmp_path):
  found, _ = made.run(tmp_path, [CHAT | {"scores": None}], scores=(length.Length(),))
  assert found == [CHAT | {"scores": {"length": 6.0}}]
