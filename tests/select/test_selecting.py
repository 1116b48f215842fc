"""A selection as a whole: what is counted, what is chosen, and that a killed one ends with the same bytes."""

from collections.abc import Iterator
import dataclasses
import datetime
import decimal
import json
import pathlib

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pyarrow as pa
from pyarrow import parquet
import pytest

from itune_jax.core import errors
from itune_jax.data.readers import readers
from itune_jax.run import cli
from itune_jax.select import scored
from itune_jax.select import select_protocol
from itune_jax.select import selecting
from itune_jax.select.duplicates import exact_copies
from itune_jax.select.duplicates import min_hash
from itune_jax.select.scores import length
from itune_jax.select.standard import imputing
from itune_jax.select.standard import ruled_tagging
from itune_jax.select.standard import tagging
from tests.select import made


@dataclasses.dataclass(frozen=True)
class Number(select_protocol.Score):
  """The row's own number."""

  name: str = "number"

  def score(self, rows, ask):
    return np.asarray([float(row["n"]) if row["n"] is not None else np.nan for row in rows])


@dataclasses.dataclass(frozen=True)
class Killed(select_protocol.RowStep):
  """Ends the process, as it seems, at one row."""

  at: int

  def row(self, row):
    if row["n"] == self.at and not Killed.over:
      raise KeyboardInterrupt
    return select_protocol.Outcome(row)

  over = False


def test_rows_that_are_none_are_counted_or_refused(tmp_path):
  rows = [{"n": 1}, "{broken", '["a"]', {"n": 2}, '{"n": NaN}']
  found, manifest = made.run(tmp_path, rows)
  assert found == [{"n": 1}, {"n": 2}, {"n": None}] and manifest["rows"] == 5
  assert made.dropped(manifest) == {("read", "not JSON"): 1, ("read", "a row is an object, this one is a list"): 1}
  read = manifest["passes"][0]
  assert read["marked"] == {"no number in 'n': null": 1}
  assert [one["told"].partition("in.jsonl:")[2] for one in read["dropped_rows"]] == [
    "2: not JSON (Expecting property name enclosed in double quotes at column 2)",
    "3: a row is an object, this one is a list",
  ]
  with pytest.raises(errors.InputError, match=r"in\.jsonl:2: not JSON"):
    made.run(tmp_path, rows, bad_rows="refuse", overwrite=True)


@pytest.mark.parametrize(
  ("budget", "kept"),
  [({"rows": 3}, [9, 8, 7]), ({"share": 0.2}, [9, 8]), ({}, [9, 0, 8, 1, 7, 2, 6, 3, 5]), ({"rows": 99}, None)],
)
def test_a_budget_takes_the_best_in_the_order_of_the_input(tmp_path, budget, kept):
  numbers = [9, 0, 8, 1, 7, 2, 6, 3, None, 5]
  rows = [{"n": n} for n in numbers]
  found, manifest = made.run(tmp_path, rows, scores=(Number(),), budget=select_protocol.Budget(**budget))
  kept = [n for n in numbers if n is not None] if kept is None else kept
  assert found == [{"n": n, "scores": {"number": n}} for n in kept]
  assert made.dropped(manifest)["choose", "no number"] == 1


def test_ranks_share_among_equals_as_scipy_ranks():
  stats = pytest.importorskip("scipy.stats")
  values = np.asarray([3.0, 1.0, 3.0, np.nan, 2.0, 3.0])
  fine = ~np.isnan(values)
  np.testing.assert_allclose(scored.ranks(values)[fine], (stats.rankdata(values[fine]) - 1) / 4)


def test_a_killed_selection_goes_on_and_ends_with_the_same_bytes(tmp_path, monkeypatch):
  rows = [{"n": n % 40, "text": str(n % 40)} for n in range(60)]
  steps = (exact_copies.Exact(field="text"), Killed(30), exact_copies.Exact(field="text", by="words"))
  monkeypatch.setattr(Killed, "over", True)
  (tmp_path / "a").mkdir()
  made.run(tmp_path / "a", rows, *steps, scores=(Number(),), budget=select_protocol.Budget(rows=7))
  (tmp_path / "b").mkdir()
  monkeypatch.setattr(Killed, "over", False)
  how = {"scores": (Number(),), "budget": select_protocol.Budget(rows=7)}
  with pytest.raises(KeyboardInterrupt):
    made.run(tmp_path / "b", rows, *steps, **how)
  work = tmp_path / "b" / "out.jsonl.work"
  assert (work / "1.json").exists() and not (tmp_path / "b" / "out.jsonl").exists()
  with pytest.raises(errors.InputError, match="unfinished work of other rows or values"):
    made.run(tmp_path / "b", rows, *steps)
  monkeypatch.setattr(Killed, "over", True)
  monkeypatch.setattr(exact_copies.Exact, "apply", once_more(exact_copies.Exact.apply))
  made.run(tmp_path / "b", rows, *steps, **how)
  assert (tmp_path / "a" / "out.jsonl").read_bytes() == (tmp_path / "b" / "out.jsonl").read_bytes()
  a, b = ((tmp_path / x / "out.manifest.json").read_text().replace(f"/{x}/", "/") for x in "ab")
  assert a == b and not work.exists()


def once_more(apply):
  """What was finished before the kill is not done again."""

  def checked(self, rows, notes) -> Iterator[select_protocol.Outcome]:
    assert self.by == "words", "the first pass was finished"
    return apply(self, rows, notes)

  return checked


def test_what_is_there_is_not_made_again_and_not_overwritten(tmp_path):
  rows = [{"n": 1}, {"n": 2}]
  _, manifest = made.run(tmp_path, rows)
  made_at = pathlib.Path(tmp_path / "out.jsonl").stat().st_mtime_ns
  assert made.run(tmp_path, rows)[1] == manifest
  assert pathlib.Path(tmp_path / "out.jsonl").stat().st_mtime_ns == made_at
  with pytest.raises(errors.InputError, match="--overwrite"):
    made.run(tmp_path, rows, seed=1)
  with pytest.raises(errors.RunError, match=r"no row is left \(1 × not JSON\)"):
    made.run(tmp_path, ["x"], overwrite=True)


def test_values_that_json_cannot_hold_lose_no_row(tmp_path):
  """Columns of tables that have nothing to do with the text: times are text, empty cells null, bytes left out."""
  day = datetime.datetime(2024, 3, 9, 12)
  columns = {"instruction": ["a", "b"], "output": ["c", "d"], "when": [day, None]}
  columns |= {"price": [decimal.Decimal("1.50")] * 2}
  columns |= {"raw": [b"\xff", None], "much": [float("nan"), 2.5], "inner": [{"at": day.date()}, None]}
  parquet.write_table(pa.table(columns), tmp_path / "in.parquet")
  selection, output = select_protocol.Selection(steps=(exact_copies.Exact(),)), tmp_path / "out.jsonl"
  how = {"begin": made.no_progress, "outside": made.World(), "ask": None}
  manifest = selecting.select(selection, str(tmp_path / "in.parquet"), str(output), **how)
  found = [json.loads(line) for line in output.read_text().splitlines()]
  assert found[0] == {
    "instruction": "a",
    "output": "c",
    "when": "2024-03-09T12:00:00",
    "price": "1.50",
    "much": None,
    "inner": {"at": "2024-03-09"},
  }
  assert found[1]["much"] == 2.5 and found[1]["raw"] is None and manifest["kept"] == 2
  marks = manifest["passes"][0]["marked"]
  assert marks["bytes in 'raw': left out"] == 1 and marks["a time in 'when': text"] == 1


OWN = {"scores": {}, "tags": {}, "tagged_by": {}, "imputed": [], "imputed_by": {}}
STEPS = (
  exact_copies.Exact(field="instruction"),
  ruled_tagging.RuleTags(),
  tagging.Tags(),
  imputing.Impute(key="domain", value="x"),
)


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(
  st.lists(
    st.dictionaries(st.sampled_from(sorted(OWN)), st.sampled_from([None, "text", 3, [], ["a"], {}, {"a": 1}])),
    min_size=1,
    max_size=6,
  )
)
def test_a_row_may_bring_anything_under_our_keys(tmp_path_factory, given):
  """It is kept, with what was there, or dropped for a field that is named; null is as good as nothing."""
  rows = [{"instruction": f"Write {i} words about the sea.", "output": "b", **one} for i, one in enumerate(given)]
  last = {"instruction": "the last", "output": "b"}
  found, manifest = made.run(tmp_path_factory.mktemp("rows"), [*rows, last], *STEPS)
  kept = {row["instruction"]: row for row in found}
  assert len(kept) + sum(made.dropped(manifest).values()) == len(rows) + 1
  assert all("and must be a" in reason for _, reason in made.dropped(manifest))
  for row in rows:
    wrong = [k for k in ("tagged_by", "imputed") if row.get(k) is not None and type(row[k]) is not type(OWN[k])]
    if row["instruction"] in kept:
      new = kept[row["instruction"]]
      assert new["imputed"] == [*(row.get("imputed") or []), "domain"]
      assert all(new[k] == row[k] for k in ("scores", "imputed_by") if k in row)
    else:
      assert wrong


def test_the_seed_of_the_command_is_that_of_every_draw(tmp_path):
  rows = [{"instruction": f"q{i}", "output": "a"} for i in range(80)]
  (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  said = {}
  for name, seed in (("a", 0), ("b", 1), ("again", 1)):
    flags = [f"--input={tmp_path}/in.jsonl", f"--output={tmp_path}/{name}.jsonl", "--keep=20", f"--seed={seed}"]
    assert cli.main(["select", *flags, "--by=random"]) == 0
    said[name] = (tmp_path / f"{name}.jsonl").read_text()
  assert said["a"] != said["b"] == said["again"]


@pytest.mark.parametrize("value", ["", "high", 0, 1.5, False, [], [1]])
def test_scores_of_another_type_are_refused_however_empty(tmp_path, value):
  found, manifest = made.run(tmp_path, [{"n": 1, "scores": value}, {"n": 2}], scores=(Number(),))
  assert [row["n"] for row in found] == [2] and made.dropped(manifest) == {("read", "its `scores` is no object"): 1}


@pytest.mark.parametrize(
  ("budget", "cure"), [({"share": 0.01}, r"share = 0\.01 of 20 rows .*--keep=1"), ({"tokens": 2}, "has 7 tokens")]
)
def test_a_budget_that_holds_no_row_says_what_would(tmp_path, budget, cure):
  class Sevens(select_protocol.Ask):
    identity = {"name": "sevens"}

    def tokens(self, rows):
      return np.full(len(rows), 7)

  with pytest.raises(errors.InputError, match=cure):
    made.run(tmp_path, [{"n": n} for n in range(20)], budget=select_protocol.Budget(**budget), ask=Sevens())


@dataclasses.dataclass(frozen=True)
class Drawn:
  """Draws, and holds another one that does."""

  seed: int = 0
  within: tuple["Drawn", ...] = ()


def test_a_seed_reaches_all_that_is_drawn():
  selection = select_protocol.Selection(
    steps=(min_hash.MinHash(), exact_copies.Exact()), scores=(length.Random(), length.Length())
  )
  found = select_protocol.seeded(selection, 7)
  assert [found.seed, found.steps[0].seed, found.scores[0].seed] == [7, 7, 7]
  assert found.steps[1] is selection.steps[1] and found.scores[1] is selection.scores[1]
  assert select_protocol.seeded(Drawn(within=(Drawn(3),)), 7) == Drawn(7, (Drawn(7),))


def test_a_task_of_several_instances_is_a_row_of_each_and_reads_as_before(tmp_path):
  two = {"instruction": "i", "instances": [{"input": "", "output": "a"}, {"input": "x", "output": "b"}]}
  rows = [{"id": "s", **two}, two, {"id": "t", **two, "instances": two["instances"][:1]}, {"n": 1}]
  found, _ = made.run(tmp_path, rows)
  read = lambda name: [
    (row.example.messages, row.example.id) for row in readers.read(str(tmp_path / name), "auto") if row.example
  ]
  texts = lambda name: [one[0] for one in read(name)]
  assert len(found) == 6 and texts("out.jsonl") == texts("in.jsonl")
  assert [row["id"] for row in found if "id" in row] == ["s", "s/1", "t"]


def test_what_cannot_be_read_is_listed_as_a_preparation_lists_it(tmp_path):
  _, manifest = made.run(tmp_path, ["{"] * 1100 + [{"n": 1}])
  assert len(manifest["passes"][0]["dropped_rows"]) == 1000 and made.dropped(manifest) == {("read", "not JSON"): 1100}


def test_numbers_that_are_not_finite_lose_no_row(tmp_path):
  rows = [f'{{"n": 1, "v": {value}}}' for value in ("NaN", "Infinity", "-Infinity", "1e999")]
  assert made.run(tmp_path, rows)[0] == [{"n": 1, "v": None}] * 4
