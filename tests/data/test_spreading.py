"""Shards that are written each by itself, in any order, are those that one process writes."""

import itertools
import json
import pathlib
import random
import shutil

import pytest

from itune_jax.core import errors
from itune_jax.data import mixture
from itune_jax.data import shards
from itune_jax.data import spreading
from itune_jax.data import tokenised
from itune_jax.data.readers import readers
from itune_jax.data.render import chat
from tests.data import test_preparing

CUT = shards.Cut(8, 24)


@pytest.fixture(name="renderer", scope="module")
def renderer_fixture(smollm2_tokenizer):
  return chat.Renderer(smollm2_tokenizer, chat.Rendering(max_length=128))


@pytest.fixture(name="folder")
def folder_fixture(tmp_path, monkeypatch):
  """Three files, one of which is broken off, and ids that are there twice on both sides of a shard's end."""
  monkeypatch.chdir(tmp_path)
  pathlib.Path("data").mkdir()
  for i, count in enumerate((40, 9, 26)):
    again = [json.dumps({"prompt": f"p {n}", "completion": "c", "id": f"k{n % 20}"}) for n in range(count)]
    mixed = test_preparing.rows(count, seed=i).splitlines()
    lines = list(itertools.chain(*zip(again, mixed, strict=True)))
    pathlib.Path(f"data/{i}.jsonl").write_text("\n".join(lines))
  return "data"


def by_hand(order):
  """What a runner does, with everything in another order."""

  def spread(job):
    draw = random.Random(order)
    shuffled = lambda found: draw.sample(found, len(found))
    counts = dict(spreading.count(job, file) for file in shuffled(range(len(job.files) or 1)))
    parts = shuffled(list(spreading.parts(counts, job.cut.shard)))
    rows = {}
    for key, one in shuffled([found for part in parts for found in spreading.named(job, part)]):
      rows.setdefault(key, []).append(one)
    twice = {}
    for found in rows.values():
      for shard, (number, why) in spreading.twice(job, found):
        twice.setdefault(shard, {})[number] = why
    for part in parts:
      spreading.write(job, part, twice.get(part.shard, {}))

  return spread


def prepared(path, root, renderer, **how):
  """All files of the cache by name, with those by which preparation goes on, for which arrays are compared."""
  source = mixture.Source(name="s", path=path, **how.pop("source", {}))
  mix = mixture.Mixture(name="m", sources=(source,), bad_rows=how.pop("bad_rows", "drop"))
  manifest = tokenised.write_source(root, mix, source, renderer, cut=CUT, **how)
  folder = pathlib.Path(tokenised.source_folder(root, manifest["key"]))
  names = {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}
  return {name: data for name, data in names.items() if not name.endswith(".npz")}


@pytest.mark.by_default(1, heavy=3)
@pytest.mark.parametrize("source", [{}, {"held_out": 0.3, "take": "rest"}, {"skip": 3}, {"held_out_by": "id"}])
def test_shards_in_any_order_are_those_of_one_process(source, folder, renderer):
  if "held_out_by" in source:
    source |= {"held_out": 0.3, "take": "rest"}
  whole = prepared(folder, "a", renderer, source=source)
  assert prepared(folder, "b", renderer, source=source, spread=by_hand(1)) == whole
  assert len(whole) > 8 and b"of an earlier row of the file" in whole["manifest.json"]


def test_one_goes_on_where_the_other_stopped(folder, renderer):
  whole = prepared(folder, "a", renderer)
  (partial,) = pathlib.Path("a/tokenised").iterdir()
  there = sorted(partial.glob("rows-*"))
  for left in ((0, 1), (0, 3), (2,)):
    target = pathlib.Path("b/tokenised") / f"{partial.name}.partial"
    (target / "shards").mkdir(parents=True)
    for i in left:
      shutil.copy(there[i], target / f"rows-{i:05}.arrayrecord")
      for ending in ("json", "npz"):
        shutil.copy(partial / "shards" / f"{i:05}.{ending}", target / "shards")
    (target / "rows-00001.arrayrecord.gone-1.aside").write_text("half")
    assert prepared(folder, "b", renderer, spread=by_hand(2)) == whole
    shutil.rmtree("b")


def test_the_first_of_several_faults_is_said(folder, renderer):
  for spread in (None, by_hand(3)):
    with pytest.raises(errors.InputError, match=r"^data/0\.jsonl:2: "):
      prepared(folder, "a", renderer, bad_rows="refuse", spread=spread)
    assert not list(pathlib.Path("a/tokenised").iterdir())
  pathlib.Path("none.jsonl").write_text('{"foo": 1}\n')
  for spread in (None, by_hand(3)):
    with pytest.raises(errors.InputError, match="no row"):
      prepared("none.jsonl", "c", renderer, spread=spread)


def test_a_file_is_read_by_itself_as_among_the_others(tmp_path):
  pathlib.Path(tmp_path / "a.csv").write_text("prompt,completion\np,c\nq,d\n")
  pathlib.Path(tmp_path / "b.csv").write_text("prompt,other\np,c\n")
  pathlib.Path(tmp_path / "c.jsonl").write_text('{"prompt": "p"}\n')
  found = readers.files(str(tmp_path))
  apart = [raw for number in range(3) for raw in readers.raws_of(found, number)]
  assert repr(apart) == repr(list(readers.raws(str(tmp_path)))) and "has no column `completion`" in repr(apart)


def test_parts_cover_all_rows_once():
  for counts in ({0: 10, 1: 0, 2: 5}, {0: 0}, {0: 8, 1: 8}, {0: 3, 1: 1, 2: 30}):
    parts = list(spreading.parts(counts, 4))
    rows = [(p.file, i) for part in parts for p in part.pieces for i in range(p.skip, p.skip + p.count)]
    assert rows == [(file, i) for file in counts for i in range(counts[file])]
    sizes = [sum(p.count for p in part.pieces) for part in parts]
    assert all(size == 4 for size in sizes[:-1]) and [part.shard for part in parts] == list(range(len(parts)))
