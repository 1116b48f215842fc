"""Items that stand in training data are found, whichever are asked, and figures are given with and without them."""

import json
import random
import re

import pytest

from itune_jax.core import errors
from itune_jax.evals import official
from itune_jax.evals import suite as suite_lib
from itune_jax.run import cli
from itune_jax.run import contamination
from itune_jax.run import suites
from tests.evals.benchmarks import said

TABLE = """
name = "lore"
file = "rows.jsonl"
ask = "generate"
question = "{question}"
answer = "answer"
check = "exact"
"""
ITEMS = 60


def words(rng, n):
  return [f"w{rng.randrange(300)}" for _ in range(n)]


@pytest.fixture(scope="module")
def lore(tmp_path_factory):
  """A benchmark, training data of which some rows hold parts of items, and those that a plain search finds."""
  folder, rng = tmp_path_factory.mktemp("lore"), random.Random(3)
  asked = [words(rng, 4 if k % 10 == 9 else rng.randint(14, 30)) for k in range(ITEMS)]
  golds = [words(rng, rng.choice((1, 1, 10))) for _ in range(ITEMS)]
  (folder / "benchmark.toml").write_text(TABLE)
  rows = [{"question": " ".join(q), "answer": " ".join(a)} for q, a in zip(asked, golds, strict=True)]
  (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  data = []
  for _ in range(300):
    source, size = rng.choice((asked, golds)), rng.randint(4, 20)
    one = rng.choice(source)
    start = rng.randrange(max(1, len(one) - size))
    piece = [*words(rng, 6), *one[start : start + size], *words(rng, 6)]
    data.append({"instruction": ", ".join(piece).upper(), "output": "so"})
  (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in data) + '{"nothing": 1}\n')
  texts = [re.findall(r"\w+", row["instruction"].lower()) for row in data]
  of = lambda text, n: {tuple(text[i : i + n]) for i in range(len(text) - n + 1)}
  seen = {n: set().union(*(of(text, n) for text in texts)) for n in (8, 13)}
  found = [bool(of(q, 13) & seen[13] or of(a, 8) & seen[8]) for q, a in zip(asked, golds, strict=True)]
  looked = [len(q) >= 13 or len(a) >= 8 for q, a in zip(asked, golds, strict=True)]
  return folder, found, looked


def asked_of(folder, **common):
  return suite_lib.Suite(names=(str(folder),), common=official.Settings(**common))


def test_items_are_those_that_a_plain_search_finds(lore, capsys):
  folder, found, looked = lore
  data = contamination.of(asked_of(folder), str(folder / "train.jsonl"))
  (name,) = data.overlaps
  ids = [item.id for item in asked_of(folder).benchmarks()[0].items()]
  assert 10 < sum(found) < 50 and 2 < ITEMS - sum(looked) < 10
  assert [id in data.overlaps[name] for id in ids] == found
  assert [id in data.looked_for[name] for id in ids] == looked
  one = next(iter(data.overlaps[name].values()))
  assert one.rows >= len(one.named) >= 1 and re.search(r"train\.jsonl:\d+$", one.named[0]) and one.ngrams > 0
  assert data.sources[0]["rows"] == 301 and data.sources[0]["unread"] == 1
  assert "1 of 301 rows of data are not read" in capsys.readouterr().err


def test_figures_with_and_without(lore, tmp_path):
  """The limit chooses items and changes nothing else; a second run reuses answers and is held against other data."""
  folder, found, looked = lore
  right = {row["question"]: row["answer"] for row in lines(folder / "rows.jsonl")}
  answers = lambda text: right[text] if hash_of(text) % 3 else "no"
  suite, out, responder = asked_of(folder, limit=40), str(tmp_path / "out"), said.Said(answers)
  held = contamination.Holding(contamination.of(suite, str(folder / "train.jsonl")), out)
  figures = suites.run(suite, responder, {"who": 1}, out, lambda n: None, mark=held.mark)
  held.tell()
  rows = lines(tmp_path / "out" / "lore.jsonl")
  kept = [(found[int(row["id"]) - 1], looked[int(row["id"]) - 1], row["values"]["accuracy"]) for row in rows]
  assert len(rows) == 40 and [row["tags"]["contaminated"] == "yes" for row in rows] == [one[0] for one in kept]
  assert ["overlap" in row for row in rows] == [one[0] for one in kept]
  share = lambda values: sum(values) / len(values)
  assert figures["lore/contaminated_share"] == pytest.approx(share([one[0] for one in kept if one[1]]))
  assert figures["lore/contaminated=no/accuracy"] == pytest.approx(share([v for f, l, v in kept if l and not f]))
  assert figures["lore/contaminated=yes/accuracy"] == pytest.approx(share([v for f, _, v in kept if f]))
  assert figures["lore/contaminated=no/accuracy_low"] < figures["lore/contaminated=no/accuracy"]
  told = json.loads((tmp_path / "out" / "contamination.json").read_text())
  assert told["looked_for"] == {"lore": sum(looked)} and len(told["overlaps"]["lore"]) == sum(found)
  responder.asked.clear()
  (tmp_path / "else.jsonl").write_text('{"instruction": "quite another thing", "output": "so"}\n')
  clean = contamination.of(suite, str(tmp_path / "else.jsonl"))
  again = suites.run(suite, responder, {"who": 1}, out, lambda n: None, mark=clean.mark)
  assert again["lore/contaminated_share"] == 0 and not responder.asked
  assert again["lore/accuracy"] == figures["lore/accuracy"] and "lore/contaminated=yes/accuracy" not in again


def lines(path):
  return list(map(json.loads, path.read_text().splitlines()))


def hash_of(text):
  return sum(map(ord, text))


@pytest.mark.heavy
def test_stored_answers_without_a_model_and_the_page(lore, tmp_path, capsys):
  folder, found, _ = lore
  rows = lines(folder / "rows.jsonl")
  for name, step in (("base", 2), ("tuned", 3)):
    texts = [{"prompt": row["question"], "response": row["answer"] if k % step else "no"} for k, row in enumerate(rows)]
    (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in texts))
    flags = [f"--suite={folder}", f"--responses={tmp_path / name}.jsonl", f"--out={tmp_path / name}"]
    assert cli.main(["eval", *flags, f"--contamination={folder / 'train.jsonl'}"]) == 0
    figures = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert 0 < figures["contaminated_share"] < 100
    assert figures["accuracy"] == pytest.approx(100 * sum(k % step > 0 for k in range(ITEMS)) / ITEMS)
  assert cli.main(["compare", str(tmp_path / "base"), str(tmp_path / "tuned"), f"--out={tmp_path / 'page.html'}"]) == 0
  page = (tmp_path / "page.html").read_text()
  table = page.split('<table id="contamination">')[1].split("</table>")[0]
  assert table.count("<tr>") >= 3 and "train.jsonl" in table and "without them" in table
  assert "contaminated_share" not in page.split('<table id="differences">')[1].split("</table>")[0]
  assert "contaminated=no" in page, "differences on clean items stand among those by tag"


def test_what_cannot_be_read_is_refused(lore, tmp_path):
  folder, _, _ = lore
  (tmp_path / "none.jsonl").write_text('{"nothing": 1}\n')
  with pytest.raises(errors.InputError, match="has no row that can be read"):
    contamination.of(asked_of(folder), str(tmp_path / "none.jsonl"))
  (tmp_path / "run").mkdir()
  (tmp_path / "run" / "data.json").write_text(json.dumps({"sources": [{"name": "a", "path": ""}]}))
  with pytest.raises(errors.InputError, match="the run does not say where its data lay"):
    contamination.of(asked_of(folder), str(tmp_path / "run"))
  (tmp_path / "run" / "data.json").write_text(
    json.dumps({"sources": [{"name": "a", "path": str(folder / "train.jsonl")}]})
  )
  assert contamination.of(asked_of(folder), str(tmp_path / "run")).sources[0]["rows"] == 301
