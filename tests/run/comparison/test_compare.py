"""`itune compare`: what is read, what is paired, what is said, and in which forms."""

import csv
import io
import json
import pathlib
import re

import numpy as np
import pytest

from itune_jax.evals.benchmarks import registry
from itune_jax.grading.statistics import metrics
from itune_jax.grading.statistics import pair_metrics
from itune_jax.grading.statistics import paired
from itune_jax.run import cli
from itune_jax.run.commands import compare as command
from itune_jax.run.comparison import comparing
from itune_jax.run.comparison import layouts
from itune_jax.run.comparison import outcomes
from itune_jax.run.comparison import own_folders
from tests.docs import blocks
from tests.run.comparison import made

PAGE = blocks.ROOT / "docs" / "guides" / "compare.md"


@pytest.fixture(autouse=True)
def aside(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)


def text(path):
  return pathlib.Path(path).read_text(encoding="utf-8")


def write(path, said):
  pathlib.Path(path).write_text(said, encoding="utf-8")


def compare(capsys, *argv):
  """What the command says as JSON, and its stderr."""
  code = cli.main(["compare", *argv, "--format=json"])
  out, err = capsys.readouterr()
  assert code == 0, err
  return json.loads(out), err


def refused(capsys, *argv):
  """The one line of a command that was refused."""
  assert cli.main(["compare", *argv]) == 2
  line = capsys.readouterr().err
  assert line.startswith("itune: ") and line.count("\n") == 1
  return line


def test_differences_are_paired_by_id(capsys):
  """In whatever order rows stand; those of one run alone are counted and named."""
  first, second = made.rows(1), made.rows(2, share=0.7)
  made.folder("a", first)
  made.folder("b", [*second[::-1], {**second[0], "id": "new"}])
  made.folder("c", second[5:])
  found, err = compare(capsys, "a", "b", "c")
  rows = {(row["metric"], row["second"]): row for row in found["rows"]}
  exact = rows["exact", "b"]
  values = [[row["values"]["exact"] for row in run] for run in (first, second)]
  clusters = [row["cluster"] for row in first]
  truth = metrics.Mean().paired(*values, clusters)
  assert exact["difference_value"] == pytest.approx(np.mean(values[1]) - np.mean(values[0]))
  assert [exact[f"difference_{end}"] for end in ("low", "high")] == pytest.approx(truth.figure[1:3])
  assert exact["p"] == truth.p and exact["test"] == "sign flip" and exact["shared"] == 40
  assert "1 of the items is only in b: new" in err and "5 of the items are only in a: q0, q1, q2, q3, q4" in err
  assert rows["f1", "c"]["aggregate"] == "macro_f1" and rows["f1", "c"]["test"] == "permutation"
  f1 = pair_metrics.MacroF1()([row["values"]["f1"] for row in second[5:]], clusters[5:])
  assert [rows["f1", "c"][f"second_{part}"] for part in ("value", "low", "high")] == pytest.approx(f1[:3])
  assert rows["f1", "c"]["shared"] == 35 and rows["f1", "c"]["of"] == 40


def test_plain_shares_get_mcnemar(capsys):
  """Where every item is a cluster of its own. p is Holm's over what is tested; verdicts are not, unless asked for."""
  first, second = ([{**row, "cluster": row["id"]} for row in made.rows(k, share=k / 3)] for k in (1, 2))
  made.folder("a", first)
  made.folder("b", second)
  found, _ = compare(capsys, "a", "b")
  rows = {row["metric"]: row for row in found["rows"]}
  changes = [b["values"]["exact"] - a["values"]["exact"] for a, b in zip(first, second, strict=True)]
  assert rows["exact"]["p"] == paired.mcnemar_exact(changes.count(-1), changes.count(1))
  assert rows["exact"]["test"] == "McNemar" and rows["cut_off"]["p"] is None and rows["cut_off"]["better"] == "lower"
  p = [rows[name]["p"] for name in ("exact", "f1")]
  assert sorted(rows[name]["p_adjusted"] for name in ("exact", "f1")) == pytest.approx(
    sorted([min(1, 2 * min(p)), min(1, max(2 * min(p), max(p)))])
  )
  assert {row["tag"] for row in found["by_tag"]} == {"language=de", "language=en"}
  asked, _ = compare(capsys, "a", "b", "--metric=cut_off")
  assert asked["rows"][0]["p"] == 1


def test_what_could_be_seen_and_how_many_items_there_are(capsys):
  made.folder("a", made.rows(1), of=541)
  made.folder("b", made.rows(2), of=541)
  assert cli.main(["compare", "a", "b", "--metric=exact"]) == 0
  out, err = capsys.readouterr()
  assert re.search(r"with these 40 items a difference below \d+\.\d points cannot be seen", err)
  assert json.loads(out) == {"page": "compare.html", "comparisons": 1, "told_apart": 0, "notes": 0}
  page = text("compare.html")
  assert "40 of 541" in page and re.search(
    r"with these 40 items a difference below \d+\.\d points cannot be seen", page
  )


@pytest.mark.parametrize("key", ["version", "judge", "settings.shots"])
def test_other_settings_are_said(capsys, key):
  """Of the key of a benchmark, or of its rows. The model itself may differ: it is what one compares."""
  for name, seed, value in (("a", 1, "one"), ("b", 2, "two")):
    told = {"version": {"version": value}, "judge": {"data": "same"}, "settings.shots": {"settings": {"shots": value}}}
    made.folder(name, made.rows(seed, judge=value if key == "judge" else "same"), **told[key])
  made.folder("c", [{**row, "prompt": "Else?", "messages": None, "judge": None} for row in made.rows(3)])
  found, err = compare(capsys, "a", "b", "c", "--metric=exact")
  assert f"note: apples, a and b: {key} differs: one (a), two (b)" in err
  assert "the settings of c are not told" in err and "prompts differ in 40 of 40 shared items" in err
  assert [bool(row["notes"]) for row in found["rows"]] == [True, True] and err.count("note:") == 3
  assert f"{key} differs: one (a), two (b)" in text("compare.html")


@pytest.mark.parametrize("name", registry.ROWS)
def test_metrics_of_published_benchmarks_are_known_without_their_files(name):
  """But for those whose metrics hang on what is asked: there the recorded figures tell."""
  found = own_folders._ways(name, {})
  assert all(isinstance(way, metrics.Metric) for way in found.values())
  judged = ("alpaca_eval", "arena", "factscore", "grounded", "mt_bench")
  assert found or name in (*judged, "humaneval", "mbpp", "mbpp_sanitized")


def test_figures_that_rows_do_not_give_are_compared_as_recorded(capsys):
  given = made.rows(1)
  made.folder("a", given)
  made.folder("b", given)
  stored = json.loads(text("b/apples.json"))
  stored[0]["value"] += 0.2
  write("b/apples.json", json.dumps(stored))
  found, err = compare(capsys, "a", "b", "--metric=exact")
  assert "no one way makes the recorded figures of the rows' values" in err
  row = found["rows"][0]
  assert row["test"] == "unpaired z" and row["difference_value"] == pytest.approx(0.2) and row["shared"] == 0
  assert "makes 0." in refused(capsys, "a", "b", "--aggregate=exact=mean")


def test_how_pairs_become_a_figure_is_found_by_the_figure(capsys):
  for name, seed in (("a", 1), ("b", 2)):
    given = [{**row, "values": {"quality": row["values"]["f1"]}} for row in made.rows(seed)]
    made.folder(name, given, ways={"quality": pair_metrics.WeightedF1()})
  assert compare(capsys, "a", "b")[0]["rows"][0]["aggregate"] == "weighted_f1"
  for name in "ab":
    write(f"{name}/apples.json", "[]")
  found, _ = compare(capsys, "a", "b", "--aggregate=quality=mcc")
  assert found["rows"][0]["aggregate"] == "mcc"
  assert "compared as recorded, and not item by item" in compare(capsys, "a", "b")[1], "nothing tells how"


def test_samples_of_the_harness(capsys):
  """By the documents' hashes, in folders or as files; filters are metrics of their own."""
  made.samples("one/model", 1)
  second = made.samples("two", 2)
  found, _ = compare(capsys, "one", second)
  assert [row["metric"] for row in found["rows"]] == ["exact_match,strict", "exact_match,flexible"]
  lines = [json.loads(line) for line in text(second).splitlines()]
  strict = [line["exact_match"] for line in lines if line["filter"] == "strict"]
  assert found["rows"][0]["second_value"] == pytest.approx(np.mean(strict)) and found["rows"][0]["shared"] == 30
  page = text("compare.html")
  assert "Q: 7?\\nA:" in page and "filtered, strict" in page
  made.samples("bare", 3, hashes=False)
  assert compare(capsys, "one", "bare")[0]["rows"][0]["shared"] == 30


def test_what_the_harness_says_beside_its_samples(capsys):
  for name, seed, version in (("one", 1, 3), ("two", 2, 4)):
    path = made.samples(name, seed, filters=("strict",))
    mean = np.mean([json.loads(line)["exact_match"] for line in text(path).splitlines()])
    told = {
      "results": {"sums": {"alias": "sums", "exact_match,strict": mean, "exact_match_stderr,strict": 0.1}},
      "versions": {"sums": version},
      "n-shot": {"sums": 5},
      "n-samples": {"sums": {"original": 1319, "effective": 30}},
      "higher_is_better": {"sums": {"exact_match": False}},
    }
    write(f"{name}/results_2026-01-02T03-04-05.678.json", json.dumps(told))
  found, err = compare(capsys, "one", "two")
  row = found["rows"][0]
  assert (row["of"], row["better"]) == (1319, "lower") and "version differs: 3 (one), 4 (two)" in err
  told["results"]["sums"]["exact_match,strict"] = 0.99
  write("two/results_2026-01-02T03-04-05.678.json", json.dumps(told))
  assert "no one way makes the recorded figures" in compare(capsys, "one", "two")[1]


def test_published_figures(capsys):
  made.folder("a", made.rows(1))
  write("paper.csv", "name,benchmark,metric,value,n\nPaper,apples,exact,61.2%,541\nBlog,apples,exact,0.55,\n")
  write("else.json", json.dumps([{"name": "Else", "benchmark": "pears", "metric": "exact", "value": 0.5}]))
  found, err = compare(capsys, "a", "--against=paper.csv", "--against=else.json")
  paper, blog = found["rows"]
  assert paper["first_value"] == 0.612 and paper["first_low"] < 0.612 < paper["first_high"] and paper["first_n"] == 541
  assert blog["first_low"] is None and paper["test"] == "unpaired z"
  assert "Blog tells no number of items" in err and "Else: pears, exact is no figure of a" in err
  write("percent.csv", "name,benchmark,metric,value\nPaper,apples,exact,61.2\n")
  assert "write a share as 0.612 or 61.2%" in refused(capsys, "a", "--against=percent.csv")


def test_seeds_of_one_run_are_averaged_and_widen_the_interval(capsys):
  for k in range(5):
    made.folder(f"s{k}", made.rows(k, share=0.3 + 0.1 * k))
  found, err = compare(capsys, "base=s0", "new=s1,s2,s3,s4", "--metric=exact", "--metric=f1")
  (row,) = found["rows"]
  means = [np.mean([one["values"]["exact"] for one in made.rows(k, share=0.3 + 0.1 * k)]) for k in range(5)]
  assert row["second_value"] == pytest.approx(np.mean(means[1:])) and row["test"] == "t over items and seeds"
  assert "the mean over 4 runs" in err and "f1 is no mean of numbers" in err
  same = compare(capsys, "base=s0", "new=s1,s1,s1,s1", "--metric=exact")[0]["rows"][0]
  width = lambda one: one["difference_high"] - one["difference_low"]
  assert width(row) > 1.1 * width(same)
  made.folder("few", made.rows(1, n=10))
  assert "hold other items or settings" in refused(capsys, "s0", "new=s1,few")


def test_so_few_items_that_no_difference_can_be_seen(capsys):
  for k in (1, 2):
    made.folder(f"few{k}", [row | {"cluster": row["id"]} for row in made.rows(k, n=3)])
  found = comparing.compare(command.runs_of(["few1", "few2"]), [], outcomes.Asked(metrics=("exact",)))
  (row,) = found.rows
  assert row.test == "McNemar" and row.detectable > 1
  assert layouts.seen(row) == "with these 3 items no difference can be seen"
  assert layouts.cells(row)[-1] == "any"


def test_the_table_in_every_form(capsys):
  made.folder("a_1", made.rows(1))
  made.folder("b&2", made.rows(2, share=0.9))
  found = comparing.compare(command.runs_of(["a_1", "b&2"]), [], outcomes.Asked())
  said = {name: form(found) for name, form in layouts.FORMATS.items()}
  assert cli.main(["compare", "a_1", "b&2", "--format=latex"]) == 0
  assert capsys.readouterr().out == said["latex"], "and nothing else"
  rows = list(csv.DictReader(io.StringIO(said["csv"])))
  numbers = json.loads(said["json"])
  assert len(rows) == len(numbers["rows"]) + len(numbers["by_tag"]) == 4 + 4
  assert float(rows[0]["difference_value"]) == numbers["rows"][0]["difference_value"]
  assert said["markdown"].startswith("| benchmark | metric |") and "b&2 − a_1" in said["markdown"]
  body = [line for line in said["latex"].splitlines() if not line.startswith("%")]
  assert body[0].startswith(r"\begin{tabular}") and all(line.count(" & ") == 8 for line in body if line.endswith(r"\\"))
  assert r"b\&2 $-$ a\_1" in said["latex"] and r"$^{*}$" in said["latex"]


@pytest.mark.parametrize(
  "argv,said",
  [
    (["a"], "give a second run"),
    (["a", "nowhere"], "nowhere: there is no such run"),
    (["a", "empty"], "holds no evaluation"),
    (["a", "many"], "holds several evaluations; name one of many/evals/after, many/evals/before"),
    (["a", "x/a"], "nothing to compare (apples is in a and not in x/a; pears is in x/a and not in a)"),
    (["a", "a"], "two runs are called so"),
    (["a", "b", "--metric=other"], "--metric=other: no run has it; there are exact, f1"),
    (["a", "b", "--lower=other"], "--lower=other: no run has it"),
    (["a", "b", "--benchmark=other"], "--benchmark=other: no run has it; there are apples"),
    (["a", "b", "--aggregate=exact"], "write it as METRIC=NAME; names are mean"),
    (["a", "b", "--items=-1"], "it counts items"),
    (["a", "others"], "no item of"),
    (["a", "twice"], "a second row of item 'q0'"),
    (["a", "broken"], "apples.jsonl:1: is no JSON"),
    (["a", "nan"], "nan/apples.jsonl:1: the value of exact is nan"),
    (["a", "some"], "some/apples.jsonl:2: has no 'values'"),
    (["a", "nameless"], "nameless/apples.jsonl:1: has no 'id'"),
    (["a", "listless"], "listless/apples.json: is no list of results"),
    (["a", "--against=bad.csv"], "bad.csv:2: has no value; a row has name, benchmark, metric, value"),
    (["a", "--against=more.csv"], "'model' is none of its columns"),
    (["a", "--against=words.csv"], "the value 'high' is no number"),
    (["a", "--against=none.csv"], "holds no row"),
  ],
)
def test_bad_input_is_one_line(capsys, argv, said):
  given = made.rows(1, n=8)
  for name in ("a", "b", "many/evals/before", "many/evals/after"):
    made.folder(name, given)
  made.folder("x/a", given, name="pears")
  made.folder("others", [{**row, "id": f"x{row['id']}"} for row in given])
  made.folder("twice", [*given, given[0]])
  made.folder("broken", given)
  pathlib.Path("empty").mkdir()
  for name in ("nan", "some", "nameless", "listless"):
    made.folder(name, given)
  nan = json.dumps({"id": "q0", "values": {"exact": float("nan")}}) + "\n"
  for name, content in {
    "nan/apples.jsonl": nan,
    "some/apples.jsonl": json.dumps(given[0]) + '\n{"id": "q1"}\n',
    "nameless/apples.jsonl": '{"values": {}}\n',
    "listless/apples.json": "{}",
    "broken/apples.jsonl": "{no\n",
    "bad.csv": "name,benchmark,metric,value\nPaper,apples,exact,\n",
    "more.csv": "name,benchmark,metric,value,model\nPaper,apples,exact,1,x\n",
    "words.csv": "name,benchmark,metric,value\nPaper,apples,exact,high\n",
    "none.csv": "name,benchmark,metric,value\n",
  }.items():
    write(name, content)
  assert said in refused(capsys, *argv)


def test_the_commands_of_the_guide_run(capsys):
  """Those of docs/guides/compare.md, on evaluations made up under the names that it uses."""
  made.folder("runs/mine/evals/before", made.rows(1))
  for k, path in enumerate(("runs/mine/evals/after", "runs/s0", "runs/s1", "runs/s2")):
    made.folder(path, made.rows(k + 2))
  made.samples("lm_eval/base", 1)
  made.samples("lm_eval/tuned", 2)
  write("published.csv", "name,benchmark,metric,value,n\nPaper,apples,exact,61.2%,541\n")
  commands = [words for block in blocks.of(PAGE) if block.language == "bash" for words in blocks.commands(block)]
  commands = [words for words in commands if words[:2] == ["itune", "compare"]]
  assert len(commands) >= 5
  for words in commands:
    assert cli.main(words[1:]) == 0, capsys.readouterr().err


def test_figures_without_rows_are_compared_as_recorded(capsys):
  """Those of a loss whose rows are of domains and not of items, as earlier versions wrote them."""
  for name, loss in (("a", 2.0), ("b", 1.5)):
    pathlib.Path(name).mkdir()
    figure = {"benchmark": "heldout", "metric": "loss", "value": loss, "n": 100, "of": 100}
    write(f"{name}/heldout.json", json.dumps([figure]))
    write(f"{name}/heldout.jsonl", '{"domain": "all", "loss": 1.0}\n')
  found, _ = compare(capsys, "a", "b")
  (row,) = found["rows"]
  assert (row["difference_value"], row["test"], row["p"], row["better"]) == (-0.5, "none", None, "lower")
