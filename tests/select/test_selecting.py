"""A selection as a whole: what is counted, what is chosen, and that a killed one ends with the same bytes."""

from collections.abc import Iterator
import dataclasses
import pathlib

import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.select import scored
from itune_jax.select import select_protocol
from itune_jax.select.duplicates import exact_copies
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
  assert found == [{"n": 1}, {"n": 2}] and manifest["rows"] == 5
  assert made.dropped(manifest) == {("read", "not JSON"): 2, ("read", "a row is an object, this one is a list"): 1}
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
