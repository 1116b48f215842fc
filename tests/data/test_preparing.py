"""Preparation gives the same bytes however it is cut, stopped and gone on with, and whoever does it."""

import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import random
import subprocess
import sys
import time

import pytest

from itune_jax.core import digests
from itune_jax.core import errors
from itune_jax.data import converting
from itune_jax.data import file_digests
from itune_jax.data import mixture
from itune_jax.data import records
from itune_jax.data import shards
from itune_jax.data import tokenised
from itune_jax.data import workers
from itune_jax.data.readers import readers
from itune_jax.data.render import chat
from tests.data import preparing_jobs

# SHA-256 of what the code wrote that converted row by row.
GOLDEN = {
  "lengths.npy": "38562056d15548ae8c22c44f8809974d7a4d402a55cf231b41c049336332d51a",
  "manifest.json": "f1ec4f487b1fc36e233dd3fbedae3dbd03fd2e60dc24396b859766eb26ffd493",
  "rows.arrayrecord": "39c8e365ba6cf5799290e53593212ab9cfcdab7aae4fd9b618b0af7edceca956",
}


def rows(count, seed=0):
  """Rows of several schemas, with bad ones among them: no schema, no JSON, no answer, an id twice, an empty line."""
  rng, found = random.Random(seed), []
  words = lambda n: " ".join(rng.choice(["sea", "Grüße", "日本語", "<b>x</b>", "a\n\nb", "42", "🙂"]) for _ in range(n))
  for i in range(count):
    kind = rng.randrange(9)
    if kind == 0:
      found.append(json.dumps({"instruction": words(5), "input": words(2), "output": words(4), "note": i % 3}))
    elif kind == 1:
      turns = [{"from": who, "value": words(6)} for who in ("human", "gpt") * rng.randint(1, 3)]
      found.append(json.dumps({"conversations": turns, "id": f"c{i}"}, ensure_ascii=False))
    elif kind == 2:
      found.append(json.dumps({"foo": i}))
    elif kind == 3:
      found.append('{"prompt": "half')
    elif kind == 4:
      found.append(json.dumps({"prompt": words(3), "completion": words(3), "id": rng.choice(["x", "y", 7, "7"])}))
    elif kind == 5:
      found.append(json.dumps({"messages": [{"role": "user", "content": words(3)}]}))
    elif kind == 6:
      found.append(json.dumps({"prompt": words(30), "completion": words(60)}))
    elif kind == 7:
      found.append("")
    else:
      said = [{"role": "system", "content": words(3)}, {"role": "user", "content": words(4)}]
      said += [{"role": "assistant", "content": words(2), "weight": i % 2}, {"role": "user", "content": words(2)}]
      found.append(json.dumps({"messages": [*said, {"role": "assistant", "content": words(3)}]}))
  return "".join(f"{line}\n" for line in found)


@pytest.fixture(name="renderer", scope="module")
def renderer_fixture(smollm2_tokenizer):
  return chat.Renderer(smollm2_tokenizer, chat.Rendering(max_length=128))


@pytest.fixture(name="file")
def file_fixture(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)  # so that the manifest names it alike
  pathlib.Path("rows.jsonl").write_text(rows(120))
  return "rows.jsonl"


def prepared(file, root, renderer, **how):
  """The files of the cache, by name, but for those by which preparation goes on."""
  source = mixture.Source(name="s", path=str(file), **how.pop("source", {}))
  mix = mixture.Mixture(name="m", sources=(source,), bad_rows=how.pop("bad_rows", "drop"))
  manifest = tokenised.write_source(str(root), mix, source, renderer, **how)
  folder = pathlib.Path(tokenised.source_folder(str(root), manifest["key"]))
  return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_the_bytes_are_those_of_the_code_that_went_row_by_row(file, renderer):
  found = prepared(file, "c", renderer)
  # The address alone hangs on versions that other goldens hold.
  told = found["manifest.json"]
  found["manifest.json"] = told.replace(json.loads(told)["key"].encode(), b"KEY")
  assert {name: hashlib.sha256(data).hexdigest() for name, data in found.items()} == GOLDEN


def test_any_block_gives_the_same_bytes_and_any_shard_the_same_records(file, renderer, tmp_path):
  whole = prepared(file, "c", renderer)
  read = prepared(file, "given", renderer, rows=mixture.Source(name="s", path=file).rows())  # converted as read rows
  assert read == whole
  for block, shard in ((1, 1 << 16), (7, 1 << 16), (7, 40), (64, 40), (1000, 10)):
    found = prepared(file, f"{block}-{shard}", renderer, cut=shards.Cut(block, shard))
    assert found["manifest.json"] == whole["manifest.json"] and found["lengths.npy"] == whole["lengths.npy"]
    folders = [next((tmp_path / root / "tokenised").iterdir()) for root in ("c", f"{block}-{shard}")]
    one, other = (tokenised.CachedSource(str(folder)) for folder in folders)
    assert len(one) == len(other) > 30
    for i in (*range(0, len(one), 5), len(one) - 1):
      assert records.Schema().encode(one[i]) == records.Schema().encode(other[i])
    if shard == 40:
      assert found == prepared(file, "again", renderer, cut=shards.Cut(3, 40)) and len(found) == 5


@pytest.mark.by_default(1, heavy=2)
@pytest.mark.parametrize("how", [{"held_out": 0.3, "take": "rest"}, {"held_out": 0.3, "take": "held_out"}, {"skip": 3}])
def test_a_part_of_the_rows_is_that_part(how, file, renderer):
  source = mixture.Source(name="s", path=file, **how)
  assert prepared(file, "a", renderer, source=how) == prepared(file, "b", renderer, source=how, rows=source.rows())


class Stop(KeyboardInterrupt):
  """Ctrl-C."""


@pytest.mark.by_default(1, heavy=2)
@pytest.mark.parametrize("at", [4, 1, 6])
def test_what_was_stopped_goes_on_behind_the_last_whole_shard(at, file, renderer, tmp_path):
  cut, seen = shards.Cut(16, 48), []

  def stops(done, total):
    seen.append(done)
    if len(seen) == at:
      raise Stop

  with pytest.raises(Stop):
    prepared(file, "a", renderer, cut=cut, progress=stops)
  (left,) = (tmp_path / "a" / "tokenised").iterdir()
  assert left.name.endswith(".partial")
  later = []
  again = prepared(file, "a", renderer, cut=cut, progress=lambda done, total: later.append(done))
  assert again == prepared(file, "b", renderer, cut=cut)
  assert later[0] == min(seen[-1] // 48 * 48 + 16, later[-1]), "behind the last whole shard, a block at a time"
  assert [p.name for p in left.parent.iterdir()] == [left.name[:-8]]


def test_a_bad_row_ends_the_work_where_rows_are_refused_and_leaves_nothing(file, renderer, tmp_path):
  with pytest.raises(errors.InputError, match=r"^rows\.jsonl:1: truncation leaves no trained token"):
    prepared(file, "a", renderer, bad_rows="refuse")
  assert not list((tmp_path / "a" / "tokenised").iterdir())


@pytest.mark.by_default(1, heavy=2)
@pytest.mark.parametrize("shard,count", [(40, 80), (1 << 16, 0), (64, 64)])
def test_the_cache_of_a_file_that_grew_begins_with_what_is_there(shard, count, file, renderer):
  cut, more = shards.Cut(32, shard), rows(70, seed=1)
  prepared(file, "a", renderer, cut=cut)
  read = sum(1 for _ in readers.raws(file))
  with open(file, "a", encoding="utf-8") as f:
    f.write(more)
  done = []
  found = prepared(file, "a", renderer, cut=cut, progress=lambda rows, total: done.append(rows))
  assert found == prepared(file, "b", renderer, cut=cut) and done[0] > read  # nothing before was converted again
  if count:
    names = [name for name in found if name.startswith("rows-")]
    links = [os.stat(path).st_nlink for name in names for path in pathlib.Path("a/tokenised").rglob(name)]
    assert 2 in links


@pytest.mark.by_default(1, heavy=1)
@pytest.mark.parametrize("change", ["begin", "half_line"])
def test_another_file_is_converted_from_its_begin(change, file, renderer):
  text = pathlib.Path(file).read_text()
  if change == "half_line":
    text = text.rstrip("\n")
    pathlib.Path(file).write_text(text)
  prepared(file, "a", renderer)
  more = '{"prompt": "p", "completion": "c"}\n'
  pathlib.Path(file).write_text((text if change == "half_line" else text.replace("sea", "see", 1)) + more)
  done = []
  found = prepared(file, "a", renderer, cut=shards.Cut(8), progress=lambda rows, total: done.append(rows))
  assert done[0] == 8 and found == prepared(file, "b", renderer)


def test_progress_knows_about_how_many_rows_there_are(file, renderer):
  heard = []
  prepared(file, "a", renderer, cut=shards.Cut(50), progress=lambda done, total: heard.append((done, total)))
  done, totals = zip(*heard, strict=True)
  count = sum(1 for _ in readers.raws(file))
  assert list(done) == sorted(done) and done[-1] == count and all(total is not None for total in totals)


def test_digests_are_kept_by_size_and_time_and_verified_on_demand(file, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(digests, "_kept_in", "")
  monkeypatch.setattr(digests, "_verifies", False)
  digests.keep_in(str(tmp_path / "digests"))
  opened, real = [], readers.content
  monkeypatch.setattr(readers, "content", lambda path: opened.append(path) or real(path))
  digest = lambda: (file_digests.digest(b"about", [file]), len(opened))
  fresh = hashlib.sha256(b"about" + pathlib.Path(file).read_bytes()).hexdigest()
  assert digest() == (fresh, 1) and digest() == (fresh, 2)  # it may be written again within its time: nothing is kept
  os.utime(file, (1e9, 1e9))
  assert digest() == (fresh, 3) and digest() == (fresh, 3)
  assert file_digests.digest(b"other", [file]) != fresh and len(opened) == 4
  data = bytearray(pathlib.Path(file).read_bytes())
  data[5] ^= 1
  pathlib.Path(file).write_bytes(data)
  os.utime(file, (1e9, 1e9))
  assert digest() == (fresh, 4)  # so much size and time cannot tell
  digests.keep_in(str(tmp_path / "digests"), verify=True)
  assert digest()[0] != fresh and "they are other data now" in capsys.readouterr().err
  os.utime(file, (2e9 - 1e9 + 1, 1e9 + 1))
  digests.keep_in(str(tmp_path / "digests"))
  assert digest()[0] == hashlib.sha256(b"about" + data).hexdigest()


def test_a_pool_gives_blocks_back_in_order_and_says_when_a_process_is_gone():
  blocks = [[3 * i, 1, i] for i in range(40)]
  with workers.Pool(2, alone=1) as pool:
    for _ in range(2):  # the same processes for another source
      assert list(pool.map(sorted, iter(blocks))) == [(block, sorted(block)) for block in blocks]
  with workers.Pool(1, alone=1) as pool, pytest.raises(errors.RunError, match=r"ended with code 3.*--workers=1"):
    pool._count = 2
    for _ in pool.map(preparing_jobs.Dies(), itertools.repeat([1])):
      pass


@pytest.mark.heavy
def test_processes_give_the_same_bytes_and_import_neither_jax_nor_tensorflow(file, renderer):
  whole = prepared(file, "a", renderer)
  with workers.Pool(2, alone=1) as pool:
    how = dict(pool=pool, cut=shards.Cut(8))
    assert prepared(file, "b", renderer, **how) == whole
    source = mixture.Source(name="s", path=file)
    convert = converting.Converter(converting.Reading(readers.How(), source.provenance), renderer, records.Schema())
    said = set()
    for _, done in pool.map(preparing_jobs.Spy(convert), itertools.repeat(list(readers.raws(file))[:4])):
      said.add(str(done.error))
      if said - {""}:
        break
    assert said - {""} == {"worker: []"}


def test_rows_with_escaped_keys_of_trees_are_told_as_such(tmp_path):
  plain = {"message_tree_id": "t", "message_id": "m", "parent_id": None, "text": "q", "role": "prompter"}
  reply = {**plain, "message_id": "n", "parent_id": "m", "text": "a", "role": "assistant"}
  escaped = json.dumps(reply).replace("message_tree_id", "\\u006dessage_tree_id")
  for second in (json.dumps(reply), escaped):
    (tmp_path / "t.jsonl").write_text(f"{json.dumps(plain)}\n{second}\n")
    (row,) = readers.read(str(tmp_path / "t.jsonl"))
    assert row.example is not None and [m["content"] for m in row.example.messages] == ["q", "a"]


def test_a_renderer_is_the_same_in_another_process(renderer, file):
  again = dataclasses.replace(converting.Converter(converting.Reading(), renderer, records.Schema()), kind="single")
  assert again.renderer.digest() == renderer.__reduce__()[0](*renderer.__reduce__()[1]).digest()


_KILLED = """
import sys
from itune_jax.data import mixture, shards, tokenised, workers
from itune_jax.data.render import chat, tokenizer
from itune_jax.run import specs
renderer = chat.Renderer(tokenizer.load(specs.resolve("smollm2-135m-instruct")), chat.Rendering(max_length=128))
source = mixture.Source(name="s", path=sys.argv[1])
mix = mixture.Mixture(name="m", sources=(source,))
with workers.Pool(2) as pool:
  tokenised.write_source(sys.argv[2], mix, source, renderer, pool=pool, cut=shards.Cut(64, 512))
"""


@pytest.mark.full
def test_killed_at_random_moments_it_ends_with_the_same_bytes(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  pathlib.Path("rows.jsonl").write_text(rows(20_000))
  command = [sys.executable, "-c", _KILLED, "rows.jsonl"]
  subprocess.run([*command, "whole"], check=True)
  rng, kills, resumed, shards = (
    random.Random(0),
    0,
    set(),
    lambda: len(list(pathlib.Path().glob("killed*/**/shards/*.json"))),
  )
  while True:
    process, enough = subprocess.Popen([*command, "killed"]), shards() + rng.randint(4, 9)
    while process.poll() is None and shards() < enough:
      time.sleep(0.002)
    try:
      assert process.wait(rng.uniform(0, 0.2)) == 0
      break
    except subprocess.TimeoutExpired:
      process.kill()
      process.wait()
      kills += 1
      resumed.add(shards())
  found = [
    {p.name: p.read_bytes() for p in pathlib.Path(one).rglob("*.*") if p.is_file()} for one in ("whole", "killed")
  ]
  print(f"\n{kills} kills, after which {sorted(resumed)} shards were whole")
  assert kills > 2 and len(resumed) > 1 and found[0] == found[1] and len(found[0]) > 40
