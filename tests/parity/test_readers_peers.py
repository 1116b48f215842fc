"""Files that TensorFlow and `datasets` wrote are read as they read them themselves."""

import datasets
import numpy as np
import pytest
import tensorflow as tf

from itune_jax.data.readers import containers
from itune_jax.data.readers import crc32c
from itune_jax.data.readers import readers

pytestmark = pytest.mark.parity

ROWS = [
  {
    "conversations": [{"from": "human", "value": f"é {i}"}, {"from": "gpt", "value": "a" * i}],
    "id": str(i),
    "score": i / 3,
  }
  for i in range(1, 9)
]


def texts(path, **how):
  found = [row.example for row in readers.read(str(path), **how)]
  assert all(found)
  return [[m["content"] for m in example.messages] for example in found if example is not None]


WANTED = [[turn["value"] for turn in row["conversations"]] for row in ROWS]


def test_folders_of_datasets(tmp_path):
  data = datasets.Dataset.from_list(ROWS)
  data.save_to_disk(str(tmp_path / "one"), num_shards=3)
  assert texts(tmp_path / "one") == WANTED
  chosen = data.select([5, 1, 3])
  chosen.save_to_disk(str(tmp_path / "chosen"))
  assert texts(tmp_path / "chosen") == [WANTED[i] for i in (5, 1, 3)]
  datasets.DatasetDict({"train": data}).save_to_disk(str(tmp_path / "dict"))
  assert texts(tmp_path / "dict") == WANTED
  data.to_parquet(str(tmp_path / "x.parquet"), batch_size=3)
  data.to_json(str(tmp_path / "x.jsonl"))
  assert texts(tmp_path / "x.parquet") == texts(tmp_path / "x.jsonl") == WANTED


def test_a_sequence_of_objects_is_a_list_of_turns(tmp_path):
  turn = {"from": datasets.Value("string"), "value": datasets.Value("string")}
  features = datasets.Features({"conversations": datasets.Sequence(turn), "id": datasets.Value("string")})
  as_lists = lambda turns: {key: [turn[key] for turn in turns] for key in ("from", "value")}
  rows = [{"conversations": as_lists(row["conversations"]), "id": row["id"]} for row in ROWS]
  datasets.Dataset.from_list(rows, features=features).to_parquet(str(tmp_path / "x.parquet"))
  assert texts(tmp_path / "x.parquet") == WANTED


def feature(value):
  if isinstance(value, list):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[one.encode() for one in value]))
  if isinstance(value, float):
    return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
  if isinstance(value, int):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value, -value]))
  return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))


@pytest.mark.parametrize("packed", ["", "GZIP"])
def test_records_of_tensorflow(packed, tmp_path):
  path, rows = str(tmp_path / "x.tfrecord"), []
  for i, row in enumerate(ROWS):
    turns = row["conversations"]
    flat = {f"conversations/{key}": [turn[key] for turn in turns] for key in ("from", "value")}
    rows.append(flat | {"id": row["id"], "score": float(np.float32(row["score"])), "n": i + 1})
  with tf.io.TFRecordWriter(path, packed) as writer:
    for row in rows:
      example = tf.train.Example(features=tf.train.Features(feature={k: feature(v) for k, v in row.items()}))
      writer.write(example.SerializeToString())
  assert texts(path) == WANTED
  for (_, found), row in zip(containers.rows(path), rows, strict=True):
    assert found["score"] == row["score"] and found["n"] == [row["n"], -row["n"]] and found["id"] == row["id"]


def test_our_framing_is_tensorflows(tmp_path):
  """Checksums of short and long records, as TensorFlow verifies them."""
  data = [b"", b"x", bytes(range(256)) * 4, np.random.default_rng(0).bytes(70_001)]
  path = str(tmp_path / "x.tfrecord")
  with open(path, "wb") as f:
    for one in data:
      size = len(one).to_bytes(8, "little")
      parts = (size, crc32c.masked(size).to_bytes(4, "little"), one, crc32c.masked(one).to_bytes(4, "little"))
      f.write(b"".join(parts))
  assert [one.numpy() for one in tf.data.TFRecordDataset(path)] == data
