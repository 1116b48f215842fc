"""The key-value part of GGUF files: what gguf's own writer wrote, and nothing of a file that ends too soon."""

import gguf
import pytest

from itune_jax.core import errors
from itune_jax.core import gguf_fields


@pytest.fixture
def file(tmp_path):
  """A file with values of every kind."""
  path = tmp_path / "one.gguf"
  writer = gguf.GGUFWriter(str(path), "llama")
  writer.add_uint32("a.number", 7)
  writer.add_int64("a.negative", -(2**40))
  writer.add_float32("a.float", 0.5)
  writer.add_bool("a.flag", True)
  writer.add_string("a.text", "naïve é ⟦")
  writer.add_array("a.words", ["", "Ġthe", "é"])
  writer.add_array("a.numbers", [1, 2, 3])
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.close()
  return path


def test_values_are_those_that_were_written(file):
  found = gguf_fields.read(str(file))
  assert {k: v for k, v in found.items() if k.startswith("a.")} == {
    "a.number": 7,
    "a.negative": -(2**40),
    "a.float": 0.5,
    "a.flag": True,
    "a.text": "naïve é ⟦",
    "a.words": ["", "Ġthe", "é"],
    "a.numbers": [1, 2, 3],
  }


def test_a_file_that_ends_anywhere_or_is_another_is_one_line(file, tmp_path):
  whole = file.read_bytes()
  cut = tmp_path / "cut.gguf"
  for size in range(len(whole)):
    cut.write_bytes(whole[:size])
    with pytest.raises(errors.InputError, match="cannot be read as GGUF"):
      gguf_fields.read(str(cut))
  cut.write_bytes(b"GGUF\x09\0\0\0" + whole[8:])
  with pytest.raises(errors.InputError, match="its version is 9"):
    gguf_fields.read(str(cut))
  with pytest.raises(errors.InputError, match="No such file"):
    gguf_fields.read(str(tmp_path / "none.gguf"))
