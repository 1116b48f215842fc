"""What is a duplicate, against counting by hand: longest common subsequences, sets of shingles, and planted copies."""

import json
import random

import pytest

from itune_jax.core import errors
from itune_jax.data import mixture
from itune_jax.select.duplicates import containment
from itune_jax.select.duplicates import exact_copies
from itune_jax.select.duplicates import min_hash
from itune_jax.select.duplicates import novelty
from tests.select import made


def lcs(a, b):
  """The length of the longest common subsequence, by the table of the textbook."""
  row = [0] * (len(b) + 1)
  for x in a:
    last = 0
    for j, y in enumerate(b, 1):
      last, row[j] = row[j], last + 1 if x == y else max(row[j], row[j - 1])
  return row[-1]


def f1(new, kept):
  common = lcs(new, kept)
  precision, recall = common / len(kept), common / len(new)
  return 2 * precision * recall / (precision + recall) if common else 0.0


def mutated(rng, words, vocabulary):
  words = list(words)
  for _ in range(rng.randint(1, 5)):
    words[rng.randrange(len(words))] = rng.choice(vocabulary)
  return words[: rng.randint(max(1, len(words) - 3), len(words))]


def texts(seed, count):
  rng = random.Random(seed)
  vocabulary = [f"w{i}" for i in range(200)]
  found = []
  for _ in range(count):
    words = [rng.choice(vocabulary) for _ in range(rng.randint(5, 14))]
    found.append(mutated(rng, rng.choice(found), vocabulary) if found and rng.random() < 0.5 else words)
  return found


def test_novelty_is_the_greedy_filter_in_the_order_of_the_input(tmp_path, monkeypatch):
  monkeypatch.setattr(novelty, "BATCH", 16)
  monkeypatch.setattr(novelty, "POOL", 8)
  given, kept = texts(0, 120), []
  for words in given:
    if all(f1(words, other) <= 0.7 for other in kept):
      kept.append(words)
  rows = [{"instruction": " ".join(words), "n": i} for i, words in enumerate(given)]
  found, manifest = made.run(tmp_path, rows, novelty.RougeNovelty(workers=1))
  assert [row["instruction"].split() for row in found] == kept and 20 < len(kept) < 110
  pairs = manifest["passes"][1]["alike"]
  assert len(pairs) == 120 - len(kept)
  assert all(f1(given[pair["dropped"]], given[pair["like"]]) > 0.7 for pair in pairs)


def test_ties_are_decided_as_the_originals_floats_do_or_as_fractions_do():
  """Every shape (m, n) of an F1 of exactly 7/10: the floats of the originals are above it now and then."""
  by_floats, by_fractions = novelty.RougeNovelty(), novelty.RougeNovelty(tie="exact")
  above = 0
  for m in range(1, 60):
    for n in range(1, 60):
      common, rest = divmod(7 * (m + n), 20)
      if rest or common > min(m, n):
        continue
      new, kept = list(range(common)) + [-1] * (m - common), list(range(common)) + [-2] * (n - common)
      assert by_floats.above(new, kept) == (f1(new, kept) > 0.7)
      assert not by_fractions.above(new, kept)
      assert by_fractions.above([*new[:common], 7.5, *new[common:]][:m], [*kept[:common], 7.5]) or common == m
      above += f1(new, kept) > 0.7
  assert above > 10


def test_texts_without_words_are_new_and_counted(tmp_path):
  rows = [{"instruction": "…"}, {"instruction": "…"}, {"instruction": "a"}, {"instruction": "A!"}]
  found, manifest = made.run(tmp_path, rows, novelty.RougeNovelty(workers=1))
  assert len(found) == 3 and manifest["passes"][1]["without_words"] == 2


ROW = "the quick brown fox jumps over the lazy dog and runs away from seven hungry wolves in the dark forest"


def test_exact_copies_by_what_counts(tmp_path):
  rows = [{"text": "Straße  1"}, {"text": "STRASSE 1"}, {"text": "strasse, 1"}, {"text": ""}, {"text": ""}]
  for by, kept in (("text", 5), ("normal", 4), ("words", 4)):
    found, _ = made.run(tmp_path, rows, exact_copies.Exact(by=by, field="text"), overwrite=True)
    assert len(found) == kept, by


def test_the_kept_row_is_chosen_by_rule_and_clusters_are_told(tmp_path):
  rows = [
    {"text": "a b", "source": "x", "scores": {"q": 1}},
    {"text": "other", "source": "x", "scores": {"q": 1}},
    {"text": "A   B", "source": "y", "scores": {"q": 3}},
    {"text": "a  b", "source": {"dataset": "z"}, "scores": {"q": 2}},
  ]
  rules = ((dict(keep="first"), 0), (dict(keep="longest"), 2), (dict(keep="score", score="q"), 2))
  for how, kept in (*rules, (dict(keep="source", sources=("z", "x")), 3)):
    found, manifest = made.run(tmp_path, rows, exact_copies.Exact(field="text", **how), overwrite=True)
    assert found == [row for i, row in enumerate(rows) if i in (kept, 1)]
    others = [i for i in (0, 2, 3) if i != kept]
    assert manifest["passes"][1]["clusters"] == [{"kept": kept, "dropped": others}]
  with pytest.raises(errors.InputError, match=r"scores\.r"):
    made.run(tmp_path, rows, exact_copies.Exact(field="text", keep="score", score="r"), overwrite=True)


def test_min_hash_finds_exactly_the_pairs_above_its_threshold(tmp_path):
  """Against all pairs: the sketches name candidates, the sets themselves decide."""
  step, given = min_hash.MinHash(field="text", threshold=0.6, shingle=1, bands=60, band=2), texts(1, 150)
  sets = [set(step.shingles(" ".join(words))) for words in given]
  roots = list(range(len(given)))
  for i, a in enumerate(sets):
    for j, b in enumerate(sets[:i]):
      if len(a & b) / len(a | b) >= 0.6:
        roots = [roots[j] if root == roots[i] else root for root in roots]
  found, manifest = made.run(tmp_path, [{"text": " ".join(words)} for words in given], step)
  assert len(found) == len(set(roots)) < 130
  first = [i for i, root in enumerate(roots) if roots.index(root) == i]
  assert [row["text"].split() for row in found] == [given[i] for i in first]
  assert sum(len(one["dropped"]) for one in manifest["passes"][1]["clusters"]) == 150 - len(found)


def test_a_row_that_another_one_contains(tmp_path):
  rows = [{"text": f"before it {ROW} and behind it"}, {"text": ROW}, {"text": "too short"}, {"text": ROW[::-1]}]
  found, manifest = made.run(tmp_path, rows, containment.Contained(field="text", keep="longest"))
  assert found == [rows[0], rows[2], rows[3]] and manifest["passes"][1]["too_short"] == 1


def test_clusters_in_a_column_keep_near_duplicates_on_one_side_of_a_split(tmp_path):
  rng, vocabulary = random.Random(1), [f"w{i}" for i in range(500)]
  rows: list[dict] = []
  for i in range(60):
    words = [rng.choice(vocabulary) for _ in range(60)]
    rows += [
      {"instruction": " ".join([*words, *["more"] * k]), "output": "a", "n": i} for k in range(rng.randint(1, 3))
    ]
  rng.shuffle(rows)
  found, manifest = made.run(tmp_path, rows, min_hash.MinHash(column="cluster"))
  assert [{k: v for k, v in row.items() if k != "cluster"} for row in found] == rows and not made.dropped(manifest)
  names = {n: {row["cluster"] for row in found if row["n"] == n} for n in range(60)}
  assert all(len(one) == 1 for one in names.values()) and len(set.union(*names.values())) == 60
  assert sum(1 + len(one["alike"]) for one in manifest["passes"][1]["clusters"]) > 60
  (tmp_path / "clustered.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
  how = {"held_out": 0.4, "held_out_by": "column:cluster"}
  side = lambda take: {
    row.example.prompt[0]["content"]
    for row in mixture.Source(name="s", path=str(tmp_path / "clustered.jsonl"), take=take, **how).rows()
  }
  rest, held = side("rest"), side("held_out")
  sides = [{row["instruction"] in held for row in rows if row["n"] == n} for n in range(60)]
  assert len(rest) + len(held) == len(rows) and all(len(one) == 1 for one in sides) and {True} in sides
  with pytest.raises(errors.InputError, match="has this key already"):
    made.run(tmp_path, found, min_hash.MinHash(column="cluster"), overwrite=True)


def test_rows_of_the_same_words_are_one_however_many_there_are(tmp_path):
  """N-grams of more rows than `common` are not looked up, and what that leaves alone is counted."""
  said = " ".join(f"w{i}" for i in range(30))
  step = containment.Contained(field="text", common=3)
  found, manifest = made.run(tmp_path, [{"text": said}] * 9, step)
  assert len(found) == 1 and (manifest["passes"][1]["common_ngrams"], manifest["passes"][1]["only_common"]) == (0, 0)
  found, manifest = made.run(tmp_path, [{"text": f"{said} {k}"} for k in range(9)], step, overwrite=True)
  told = manifest["passes"][1]
  assert (told["common_ngrams"], told["only_common"]) == (23, 0) and len(found) == 9
