"""Annotations that a judge gave elsewhere: figures, and what does not fit together is counted and named."""

import gzip
import json
import math

import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.evals import annotated

COUNT = 40


def rows(seed=0):
  rng = np.random.default_rng(seed)
  found = []
  for i in range(COUNT):
    sizes = rng.integers(10, 400, 2)
    row = {"instruction": f"do {i}", "output_1": "a" * sizes[0], "output_2": "b" * sizes[1], "annotator": "judge"}
    found.append({**row, "generator_1": "base", "generator_2": "mine", "preference": float(1 + rng.random())})
  return found


def write(path, value):
  opener = gzip.open if str(path).endswith(".gz") else open
  with opener(path, "wt", encoding="utf-8") as f:
    json.dump(value, f)
  return str(path)


def gamed(path, count=COUNT, first=0):
  rng = np.random.default_rng(1)
  lines = ["model,preference,index,std_delta_len,instruction_difficulty,not_gamed_baseline"]
  difficulty = rng.normal(size=count)
  for name in ("concise", "verbose"):
    values = [f"{name},{rng.random()},{i + first},{rng.normal()},{difficulty[i]},False" for i in range(count)]
    lines += values
  path.write_text("\n".join(lines) + "\n")
  return str(path)


def test_figures_and_their_names(tmp_path):
  given = rows()
  path = write(tmp_path / "annotations.json.gz", given)
  found = annotated.measure(annotated.read(path))
  assert found["n"] == found["of"] == COUNT and found["win_rate"] == pytest.approx(
    100 * np.mean([row["preference"] - 1 for row in given])
  )
  assert (found["model"], found["baseline"], found["judge"]) == ("mine", "base", "judge") and "problems" not in found
  assert "length_controlled_winrate" not in found and 0 < found["length_controlled_minimal"] < 100, "never as LC"
  full = annotated.measure(annotated.read(path), annotated.hub(gamed(tmp_path / "df_gamed.csv")))
  assert "length_controlled_minimal" not in full and 0 < full["length_controlled_winrate"] < 100
  (tmp_path / "difficulty.csv").write_text(
    "\n".join([",instruction_difficulty", *(f"{i},{i / 9}" for i in range(COUNT))])
  )
  alone = annotated.measure(annotated.read(path), annotated.hub(str(tmp_path / "difficulty.csv")))
  assert "length_controlled_noreg" in alone and "length_controlled_winrate" not in alone
  json.dumps([found, full, alone], allow_nan=False)
  result = annotated.result(annotated.read(path), found)
  assert result.results[0].value == pytest.approx(found["win_rate"] / 100) and len(result.rows) == COUNT


def test_outputs_come_from_their_files_where_annotations_lack_them(tmp_path):
  given = rows()
  whole = annotated.measure(annotated.read(write(tmp_path / "a.json", given)))
  lean = [{k: v for k, v in row.items() if k not in ("output_1", "output_2")} for row in given]
  outputs = lambda name: [{"instruction": row["instruction"], "output": row[name], "generator": "x"} for row in given]
  ours, theirs = write(tmp_path / "ours.json.gz", outputs("output_2")), write(tmp_path / "b.json", outputs("output_1"))
  path = write(tmp_path / "lean.json", lean)
  assert annotated.measure(annotated.read(path, responses=ours, baseline=theirs)) == whole
  without = annotated.measure(annotated.read(path))
  assert without["win_rate"] == whole["win_rate"] and "length_controlled_minimal" not in without
  (kind,) = without["problems"]
  assert kind.startswith("without both outputs") and without["problems"][kind]["count"] == COUNT


def test_difficulties_are_found_by_the_baselines_order(tmp_path):
  """Annotations in another order than the instructions' give the same figure; AlpacaEval goes by the place alone."""
  given = rows()
  hub = annotated.hub(gamed(tmp_path / "df_gamed.csv"))
  base = write(tmp_path / "b.json", [{"instruction": r["instruction"], "output": r["output_1"]} for r in given])
  straight = annotated.measure(annotated.read(write(tmp_path / "a.json", given), baseline=base), hub)
  turned = annotated.read(write(tmp_path / "r.json", given[::-1]), baseline=base)
  assert [pair.place for pair in turned.pairs] == list(range(COUNT))[::-1]
  found = annotated.measure(turned, hub)["length_controlled_winrate"]
  assert found == pytest.approx(straight["length_controlled_winrate"], abs=0.5)  # folds are cut by place in the file
  assert annotated.measure(annotated.read(write(tmp_path / "a.json", given)), hub) == straight


def test_what_does_not_fit_is_counted_and_named(tmp_path):
  given = rows()
  base = write(tmp_path / "b.json", [{"instruction": r["instruction"], "output": r["output_1"]} for r in given])
  ours = [{"instruction": r["instruction"], "output": r["output_2"]} for r in given]
  ours += [ours[0], {"instruction": "else", "output": ""}]
  ours[3] = {**ours[3], "output": "another"}
  broken = [*given[:-2], given[5], {**given[0], "instruction": "foreign"}]
  broken[7] = {**broken[7], "preference": None}
  broken[8] = {**broken[8], "preference": 3}
  read = annotated.read(write(tmp_path / "a.json", broken), responses=write(tmp_path / "o.json", ours), baseline=base)
  found = annotated.measure(read)
  assert (found["n"], found["of"]) == (COUNT - 4, COUNT)
  counts = {kind: told["count"] for kind, told in found["problems"].items()}
  expected = {
    f"twice in {tmp_path / 'o.json'} (the first stands)": 1,
    "annotated for another output than the model's file has (the annotation's stands)": 1,
    "annotated twice (the first stands)": 1,
    "not among the baseline's instructions": 1,
    "without an annotation": 2,
    "answered, but without an annotation": 3,
    "without a preference": 1,
    "with a preference outside 1 to 2": 1,
  }
  assert counts == expected
  assert found["problems"]["without an annotation"]["first"] == ["do 38", "do 39"]
  assert not any(isinstance(value, float) and math.isnan(value) for value in found.values())


def test_a_custom_judges_annotations_need_no_generators(tmp_path):
  bare = [{k: row[k] for k in ("instruction", "output_1", "output_2", "preference")} for row in rows()]
  found = annotated.measure(annotated.read(write(tmp_path / "a.json", bare)))
  assert found["n"] == COUNT and found["model"] == ""


def test_what_one_side_won_alone_is_not_controlled(tmp_path):
  """AlpacaEval's regression makes 50 % of nothing but losses."""
  lost = [{**row, "preference": 1} for row in rows()]
  found = annotated.measure(annotated.read(write(tmp_path / "a.json", lost)))
  assert found["win_rate"] == 0 and "length_controlled_minimal" not in found
  assert "one side won all 40 pairs" in found["length_control"]


def test_the_baseline_against_itself_is_one_half(tmp_path):
  same = [{**row, "generator_2": "base", "preference": 1.5} for row in rows()]
  found = annotated.measure(annotated.read(write(tmp_path / "a.json", same)))
  assert found["win_rate"] == found["length_controlled_minimal"] == 50 and found["n_draws"] == COUNT


@pytest.mark.parametrize(
  ("change", "says"),
  [
    ({"preference": "m"}, "`preference` is 'm', neither number nor null"),
    ({"preference": True}, "`preference` is True, neither"),
    ({"instruction": 7}, "`instruction` is a number, not text"),
    ({"generator_2": "other"}, "annotations of 2 values of `generator_2` .mine, other.: give those of one"),
    ({"annotator": "other"}, "annotations of 2 values of `annotator`"),
    ({"output_2": ["x"]}, "`output_2` is a list, not text"),
    ({"index": "3"}, "`index` is '3', no whole number"),
  ],
)
def test_what_is_wrong_is_one_line(tmp_path, change, says):
  given = rows()
  given[4] = {**given[4], **change}
  with pytest.raises(errors.InputError, match=says) as e:
    annotated.read(write(tmp_path / "a.json", given))
  assert "\n" not in str(e.value)


def test_files_of_another_kind_are_one_line(tmp_path):
  with pytest.raises(errors.InputError, match="has no `preference`: this is no annotation"):
    annotated.read(write(tmp_path / "a.json", [{"instruction": "x"}]))
  with pytest.raises(errors.InputError, match="no annotation in it fits; 40 not among the baseline's"):
    base = write(tmp_path / "b.json", [{"instruction": "x", "output": ""}])
    annotated.read(write(tmp_path / "c.json", rows()), baseline=base)
  with pytest.raises(errors.InputError, match="first rows must be those of instructions 0, 1, 2"):
    annotated.hub(gamed(tmp_path / "df_gamed.csv", first=1))
  with pytest.raises(errors.InputError, match="no column `instruction_difficulty`"):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    annotated.hub(str(tmp_path / "x.csv"))
  with pytest.raises(errors.InputError, match="beyond the 10 difficulties"):
    path = write(tmp_path / "a.json", rows())
    annotated.measure(annotated.read(path), annotated.hub(gamed(tmp_path / "d.csv", count=10)))
