"""Passes that are done in ranges, in any order and by anybody, keep the rows that one process keeps."""

import itertools
import json
import pathlib
import random

import pytest

from itune_jax.core import errors
from itune_jax.select import decontaminate
from itune_jax.select import select_protocol
from itune_jax.select import spread_passes
from itune_jax.select.cleaning import pii
from itune_jax.select.duplicates import exact_copies
from itune_jax.select.duplicates import min_hash
from itune_jax.select.duplicates import novelty
from tests.select import made

WORDS = [f"w{i}" for i in range(60)]


def rows(count, seed=0):
  """Rows of which many are alike: copies, copies in capitals, copies with a word changed or two, and rows without any
  word."""
  draw, found = random.Random(seed), []
  for i in range(count):
    old = draw.choice(found)["output"].split() if found and draw.random() < 0.7 else draw.choices(WORDS, k=30)
    words = old or ["..."]
    for _ in range(draw.choice([0, 0, 1, 1, 2, 4])):
      words[draw.randrange(len(words))] = draw.choice(WORDS)
    text = " ".join(words) if draw.random() < 0.95 else "..."
    found.append({"instruction": f"call {draw.randrange(10**9)}", "output": text.upper() if i % 7 == 0 else text})
    found[-1] |= {"scores": {"s": draw.randrange(5)}, "source": {"dataset": draw.choice("abc")}}
  return found


def grouped(found):
  rows = {}
  for key, one in found:
    rows.setdefault(key, []).append(one)
  return rows.items()


def by_hand(order, size):
  """What a runner does, with everything in another order."""
  draw = random.Random(order)
  shuffled = lambda found: draw.sample(found, len(found))

  def apart(job):
    for range_ in shuffled(job.ranges):
      spread_passes.looked(job, range_)

  def duplicates(job):
    known = shuffled([one for range_ in shuffled(job.ranges) for one in spread_passes.known(job, range_)])
    firsts = shuffled([spread_passes.first_of(of_name) for _, of_name in grouped(known)])
    shapes = {number: shape for (number, _, shape), _ in firsts}
    keys = [(key, number) for (number, keys, _), _ in firsts for key in keys]
    pairs = {pair for _, of_key in grouped(keys) for pair in spread_passes.pairs_of(of_key)}
    alike = [(a, b) for a, b in pairs if spread_passes.alike(job, shapes[a], shapes[b])]
    alike += [pair for _, same in firsts for pair in same]
    for part, of_part in grouped((spread_passes.part_of(pair), pair) for pair in shuffled(alike)):
      spread_passes.write_pairs(job, part, of_part)
    spread_passes.write_candidates(job, len(pairs))

  runs = spread_passes.Runs(apart, duplicates)
  return lambda *given: spread_passes.spread(runs, *given, size=size)


def both(tmp_path, given, *steps, spread, **how):
  """The rows and manifest of one process, and those of ranges, which must be the same to the byte."""
  found = []
  for name, way in (("a", None), ("b", spread)):
    (tmp_path / name).mkdir(exist_ok=True)
    found.append(made.run(tmp_path / name, given, *steps, spread=way, overwrite=True, **how))
  texts = [(tmp_path / name / "out.jsonl").read_bytes() for name in "ab"]
  manifests = [json.dumps(manifest["passes"]) for _, manifest in found]
  assert texts[0] == texts[1] and manifests[0] == manifests[1]
  assert not list(tmp_path.rglob("*.spread"))
  return found[0]


@pytest.mark.parametrize("seed", [0, 1])
def test_duplicates_are_those_of_one_process(tmp_path, seed):
  given = rows(150, seed)
  for step in (
    exact_copies.Exact(field="output", by="words", keep="score", score="s"),
    min_hash.MinHash(field="output", threshold=0.6, keep="source", sources=("c", "b")),
    min_hash.MinHash(field="output", threshold=0.8, keep="longest", bands=12, band=4),
  ):
    kept, manifest = both(tmp_path, given, step, spread=by_hand(seed, 7 + 30 * seed))
    assert 10 < len(kept) < 140 and len(manifest["passes"][1]["clusters"]) > 5
  assert manifest["passes"][1]["candidate_pairs"] > 50 and manifest["passes"][1]["without_text"] > 1


def test_rows_that_hold_items_are_those_of_one_process(tmp_path):
  draw = random.Random(5)
  item = lambda i: select_protocol.Held(str(i), " ".join(draw.choices(WORDS, k=14)), " ".join(draw.choices(WORDS, k=9)))
  world, given = made.World(one=[item(i) for i in range(12)], two=[item(i) for i in range(5)]), rows(60)
  for i in (3, 9, 10, 41, 58):
    held = draw.choice(list(world.items(draw.choice(["one", "two"]))))
    given[i]["output"] = f"{given[i]['output']} {held.prompt} then {held.gold}"
  given[5]["instruction"] = "write to a.b@firm.de"
  steps = (decontaminate.Decontaminate(), pii.Pii())
  kept, manifest = both(tmp_path, given, *steps, spread=by_hand(0, 9), world=world)
  assert manifest["passes"][1]["kept"] == 55 and manifest["passes"][2]["marked"] and len(kept) > 20
  marks = decontaminate.Decontaminate(action="mark")
  kept, _ = both(tmp_path, given, marks, spread=by_hand(0, 9), world=world)
  assert sum("contaminated" in row for row in kept) == 5 and len(kept) == 60
  for spread in (None, by_hand(1, 9)):
    with pytest.raises(errors.InputError, match=r"Decontaminate: row 4 of those that came so far holds"):
      made.run(tmp_path, given, decontaminate.Decontaminate(action="refuse"), world=world, spread=spread)


def test_what_cannot_be_spread_is_done_here_and_said(tmp_path, capsys):
  pytest.importorskip("rapidfuzz")
  both(tmp_path, rows(30), novelty.RougeNovelty(field="output", workers=1), spread=by_hand(0, 9))
  assert "RougeNovelty: done in this process" in capsys.readouterr().err


def test_a_step_without_its_field_is_refused_as_in_one_process(tmp_path):
  for spread in (None, by_hand(0, 9)):
    with pytest.raises(errors.InputError, match=r"Exact.field = 'other': none of 20 rows has text there"):
      made.run(tmp_path, rows(20), exact_copies.Exact(field="other"), spread=spread)
  assert list(itertools.chain(pathlib.Path(tmp_path).rglob("*.work"))) == []
