"""Containers: the same rows from each, however compressed; and what is damaged is named, and never a traceback."""

import gzip
import io
import json
import pathlib
import sys
import tempfile
import tracemalloc

import fsspec
import pyarrow as pa
import pytest
import zstandard
from hypothesis import strategies as st
from pyarrow import parquet

from itune_jax.core import errors
from itune_jax.data.readers import crc32c
from itune_jax.data.readers import readers
from itune_jax.data.readers import streams
from tests import fuzz
from tests.data import readers_files as made

ROWS = made.ROWS


def said(path, **how):
  """(question, answer) of each row, or its problem."""
  return [
    row.problem if row.example is None else (row.example.prompt[0]["content"], row.example.answer)
    for row in readers.read(str(path), **how)
  ]


WHOLE = [(row["question"], row["answer"]) for row in ROWS]


@pytest.mark.parametrize("packed", made.PACKED)
@pytest.mark.parametrize("name", made.CONTAINERS)
def test_every_container_holds_the_same_rows(name, packed, tmp_path):
  if name == ".arrayrecord" and packed:
    pytest.skip("ArrayRecord is compressed within, and read by its own library")
  path = tmp_path / f"x{name}{packed}"
  path.write_bytes(made.PACKED[packed](made.written(name)))
  assert said(path) == WHOLE


def test_compression_is_told_by_content_and_containers_by_name(tmp_path):
  (tmp_path / "x.jsonl").write_bytes(gzip.compress(made.written(".jsonl")) + gzip.compress(made.written(".jsonl")))
  assert len(said(tmp_path / "x.jsonl")) == 2 * len(ROWS)
  frames = zstandard.compress(made.written(".jsonl"))
  (tmp_path / "y.jsonl.gz").write_bytes(frames + frames)
  assert len(said(tmp_path / "y.jsonl.gz")) == 14
  (tmp_path / "z.jsonl.gz").write_bytes(made.written(".jsonl"))
  assert said(tmp_path / "z.jsonl.gz") == WHOLE
  (tmp_path / "w.tfrecord-00000-of-00001").write_bytes(made.written(".tfrecord"))
  assert said(tmp_path / "w.tfrecord-00000-of-00001") == WHOLE


@pytest.mark.parametrize("name", [".jsonl", ".parquet", ".csv", ".tfrecord"])
def test_remote_files_and_standard_input(name, monkeypatch, tmp_path):
  memory = fsspec.filesystem("memory")
  memory.pipe(f"/readers/x{name}", made.written(name))
  try:
    assert said(f"memory://readers/x{name}") == said("memory://readers") == said("memory://readers/*") == WHOLE
  finally:
    memory.rm("/readers", recursive=True)
  with pytest.raises(errors.InputError, match="no such file"):
    said(f"memory://readers/x{name}")
  if name in (".jsonl", ".parquet"):
    streams.standard_input.cache_clear()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(made.written(name))))
    assert said("-") == WHOLE and said("-") == WHOLE, "what can be read once is kept"
    streams.standard_input.cache_clear()


@pytest.mark.parametrize("path,package", [("gs://b/x.jsonl", "gcsfs"), ("s3://b/x.jsonl", "s3fs")])
def test_a_missing_package_is_one_line(path, package):
  with pytest.raises(errors.InputError, match=rf"{package}: pip install {package}"):
    said(path)


def test_checksums_are_those_of_the_standard():
  """RFC 3720 appendix B.4, and the check value of CRC-32C; long data against the same by single bytes."""
  assert crc32c.crc32c(bytes(32)) == 0x8A9136AA and crc32c.crc32c(b"\xff" * 32) == 0x62A8AB43
  assert crc32c.crc32c(bytes(range(32))) == 0x46DD794E and crc32c.crc32c(bytes(range(31, -1, -1))) == 0x113FDB5C
  assert crc32c.crc32c(b"123456789") == 0xE3069283
  data = bytes(i * i % 251 for i in range(5000))
  register = 0xFFFFFFFF
  for byte in data:
    register = crc32c._TABLE[(register ^ byte) & 0xFF] ^ (register >> 8)
  assert crc32c.crc32c(data) == register ^ 0xFFFFFFFF


def test_a_record_that_looks_like_gzip_is_a_record(tmp_path):
  row = {
    "question": "q",
    "answer": "a" * (0x8B1F - len(made.tf_example({"question": "q", "answer": "a" * 35_600})) + 35_600),
  }
  data = made.tf_records([made.tf_example(row)])
  assert data[:2] == b"\x1f\x8b"
  (tmp_path / "x.tfrecord").write_bytes(data)
  assert said(tmp_path / "x.tfrecord") == [("q", row["answer"])]


LINE = json.dumps({"question": ROWS[0]["question"], "answer": ROWS[0]["answer"]}, ensure_ascii=False).encode()
FAULTS = {  # name: (file, bytes, what is said of each row, and where)
  "a half-written last line": ("x.jsonl", LINE + b"\n" + LINE[:-9], [WHOLE[0], "not JSON"], 2),
  "a line of another encoding": ("x.jsonl", LINE + b"\n" + "{'é'}".encode("latin-1"), [WHOLE[0], "not UTF-8"], 2),
  "NUL bytes": ("x.jsonl", LINE + b"\n" + bytes(9) + b"\n" + LINE, [WHOLE[0], "NUL bytes", WHOLE[0]], 2),
  "ends of lines": ("x.jsonl", LINE + b"\r\n" + LINE + b"\r" + LINE, [WHOLE[0]] * 3, None),
  "mixed schemas": ("x.jsonl", LINE + b'\n{"a": 1}', [WHOLE[0], "no known format"], 2),
  "truncated gzip": (
    "x.jsonl.gz",
    gzip.compress(b"".join(b'{"question": "q", "answer": "%d"}\n' % (i * i) for i in range(300)))[:-99],
    [("q", "0"), ("q", "1"), ("q", "4"), "cannot be read"],
    None,
  ),
  "an element that is none": (
    "x.json",
    b"[" + LINE + b",{'a': [1]}, " + LINE + b"]",
    [WHOLE[0], "not JSON", WHOLE[0]],
    None,
  ),
  "a list that does not end": ("x.json", b"[" + LINE + b",", [WHOLE[0], "does not end"], None),
  "a cell too many": ("x.csv", b"question,answer\na,b\na,b,c\nd,e\n", [("a", "b"), "3 cells", ("d", "e")], 3),
  "a quote that stays open": ("x.csv", b'question,answer\na,b\n"a,b\nc,d\n', [("a", "b"), "lines 3 to 4"], 3),
  "a cell of another encoding": ("x.csv", b"question,answer\na,\xe9\nd,e", ["not UTF-8", ("d", "e")], 2),
  "a damaged record": (
    "x.tfrecord",
    made.written(".tfrecord").replace(b"zwei", b"drei", 1),
    ["checksum is wrong", *WHOLE[1:]],
    1,
  ),
  "a half-written record": ("x.tfrecord", made.written(".tfrecord")[:-9], [*WHOLE[:-1], "half-written"], "behind 6"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_damaged_is_named_and_the_rest_is_read(name, tmp_path):
  file, data, expected, place = FAULTS[name]
  (tmp_path / file).write_bytes(data)
  rows = list(readers.read(str(tmp_path / file)))
  found = said(tmp_path / file)
  if name == "truncated gzip":
    assert 100 < len(found) < 300 and found[:3] == expected[:3] and str(rows[-1].line).startswith("behind")
    found = found[:3] + found[-1:]
  assert len(found) == len(expected)
  for got, want in zip(found, expected, strict=True):
    assert got == want or (isinstance(want, str) and want in got and "\n" not in got)
  bad = [row for row in rows if row.example is None]
  assert place is None or bad[0].line == place


@pytest.mark.parametrize(
  "name,data,reason",
  [
    ("x.jsonl", "ä".encode("utf-16"), "is UTF-16 text: save it as UTF-8"),
    ("x.jsonl", b"PK\x03\x04zip", "is a zip archive: unpack it"),
    ("x.jsonl", b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
    ("x.csv", b"question,question\na,b\n", "names the column 'question' twice"),
    ("x.csv", b"question;answer\na;b\n", "not parted by ','"),
    ("x.parquet", b"PAR1 nonsense", "cannot be read as Parquet"),
    ("x.arrow", b"ARROW1 nonsense", "cannot be read as Arrow"),
    ("x.arrayrecord", b"nonsense", "cannot be read as ArrayRecord"),
    ("x.tfrecord", b"nonsense of twelve", "does not begin with its length"),
    ("x.jsonl.zst", zstandard.compress(LINE)[:-3], "cannot be read"),
  ],
)
def test_a_file_that_is_none_is_one_line(name, data, reason, tmp_path):
  (tmp_path / name).write_bytes(data)
  with pytest.raises(errors.InputError, match=reason) as caught:
    said(tmp_path / name)
  assert "\n" not in str(caught.value) and name in str(caught.value)
  (tmp_path / f"a{name}").write_bytes(made.written("." + name.split(".")[1]))
  found = said(tmp_path / f"*{name}")
  assert found[:-1] == WHOLE and "what follows is not read" in found[-1], "a broken shard is one bad row"


def test_tables_name_row_groups_and_nulls(tmp_path):
  turn = pa.struct([("role", pa.string()), ("content", pa.string())])
  good = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
  table = pa.table({"messages": pa.array([good, None, [None], [{"role": None, "content": "x"}], good], pa.list_(turn))})
  parquet.write_table(table, tmp_path / "x.parquet", row_group_size=2)
  rows = list(readers.read(str(tmp_path / "x.parquet")))
  assert [row.line for row in rows if row.example is None] == [
    "row group 0, row 2",
    "row group 1, row 1",
    "row group 1, row 2",
  ]
  assert "no list `messages`" in rows[1].problem and "message 0 is null" in rows[2].problem
  of_lists = {"conversations": {"from": ["human", "gpt"], "value": ["q", "a"]}}  # as `datasets` stores sequences
  parquet.write_table(pa.Table.from_pylist([of_lists]), tmp_path / "y.parquet")
  assert said(tmp_path / "y.parquet") == [("q", "a")]


def test_a_column_that_vanishes_between_shards_and_ids_that_stand_twice(tmp_path):
  (tmp_path / "0.csv").write_text("instruction,input,output,note\na,b,c,d\n")
  (tmp_path / "1.csv").write_text("instruction,output\na,c\n")
  assert said(tmp_path) == [("a\n\nb", "c"), "its file has no column `input`, which 0.csv has"]
  (tmp_path / "x.jsonl").write_text(f"{json.dumps(ROWS[0])}\n{json.dumps(ROWS[0])}\n")
  assert said(tmp_path / "x.jsonl")[1] == "it has the id 'r0' of an earlier row of the file; ids must differ"


def test_what_unpacks_to_far_more_than_it_weighs_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(streams, "FREE", 1 << 20)
  (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(b" " * (3 << 20)))
  (tmp_path / "x.parquet.zst").write_bytes(zstandard.compress(b"PAR1" + bytes(3 << 20)))
  for name in ("x.jsonl.gz", "x.parquet.zst"):
    with pytest.raises(errors.InputError, match="unpacks to more than 250 times its weight"):
      said(tmp_path / name)


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv", "x.tfrecord"])
def test_a_row_of_any_size_is_named_and_not_held(name, tmp_path, monkeypatch):
  monkeypatch.setattr(streams, "MAX_ROW", 1 << 16)
  huge = {"question": "x" * (3 << 20), "answer": "a", "id": "huge"}
  (tmp_path / name).write_bytes(made.written("." + name.split(".")[1], [ROWS[0], huge, ROWS[1]]))
  tracemalloc.start()
  found = said(tmp_path / name)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert (
    found[0] == WHOLE[0] and found[-1] == WHOLE[1] and "rows of up to 0 MiB" in found[1] or "larger than" in found[1]
  )
  assert peak < (3 << 20), "less than the row itself"


def test_folders_of_datasets(tmp_path):
  saved = tmp_path / "saved"
  for split in ("train", "test"):
    (saved / split).mkdir(parents=True)
    (saved / split / "data-00000-of-00001.arrow").write_bytes(made.written(".arrow"))
    (saved / split / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    (saved / split / "dataset_info.json").write_text("{}")
  assert said(saved / "train") == WHOLE
  (saved / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
  with pytest.raises(errors.InputError, match="holds the splits test, train: name one of them"):
    said(saved)
  (saved / "dataset_dict.json").write_text('{"splits": ["train"]}')
  assert said(saved) == WHOLE
  for name in ("../../x.arrow", "/etc/passwd"):
    (saved / "train" / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    with pytest.raises(errors.InputError, match="lies outside of it"):
      said(saved / "train")
  hub = tmp_path / "hub" / "data"
  hub.mkdir(parents=True)
  (hub / "train-00000-of-00001.parquet").write_bytes(made.written(".parquet"))
  assert said(tmp_path / "hub") == WHOLE
  (tmp_path / "hub" / "dataset_infos.json").write_text('{"default": {}}')  # older scripts of the hub wrote it
  (hub / "._train-00000-of-00001.parquet").write_bytes(b"x")  # what some systems put beside each file
  assert said(tmp_path / "hub") == WHOLE
  (hub / "test-00000-of-00001.parquet").write_bytes(made.written(".parquet"))
  with pytest.raises(errors.InputError, match="holds shards of test, train: name one of them"):
    said(tmp_path / "hub")
  assert said(hub / "train-*") == WHOLE


@st.composite
def damaged_files(draw):
  """(ending, bytes) of a container, perhaps compressed, of which a stretch is cut out, doubled or replaced."""
  name, packed = draw(st.sampled_from(made.CONTAINERS)), draw(st.sampled_from(["", "", *made.PACKED]))
  if name == ".arrayrecord":
    packed = ""
  whole = made.written(name)
  inner = draw(st.booleans()) and packed
  if inner:
    return name + packed, made.PACKED[packed](draw(fuzz.damaged(whole)))
  return name + packed, draw(fuzz.damaged(made.PACKED[packed](whole)))


@fuzz.given(damaged_files())
def test_a_damaged_file_is_rows_with_reasons_or_one_line(case):
  """Of every container: each row is an example or has a reason in one line, or the file is refused in one."""
  name, data = case
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / f"x{name}"
    path.write_bytes(data)
    for row in fuzz.outcome(lambda: list(readers.read(str(path)))) or ():
      assert (row.example is None) == bool(row.problem) and "\n" not in row.problem and len(row.problem) < 1500
      row.problem.encode()


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["x.jsonl", "x.json.gz"])
def test_a_row_of_100_mb_is_named(name, tmp_path):
  """At its real size: the process grows by less than twice the limit of a row."""
  huge = b'{"question": "' + b"xy z" * (25 << 20) + b'", "answer": "a"}'
  data = b"[" + LINE + b"," + huge + b"," + LINE + b"]" if ".json." in name else LINE + b"\n" + huge + b"\n" + LINE
  (tmp_path / name).write_bytes(gzip.compress(data, 0) if name.endswith(".gz") else data)
  found = said(tmp_path / name)
  assert found[::2] == [WHOLE[0]] * 2 and found[1] == "a row of 100 MiB; rows of up to 64 MiB are read"
