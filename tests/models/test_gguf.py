"""GGUF files that are not whole, or not what is read, are one line."""

import pathlib
import struct
import tempfile

from hypothesis import strategies as st
import numpy as np
import pytest

gguf = pytest.importorskip("gguf")

from itune_jax.core import errors  # noqa: E402
from itune_jax.models import load  # noqa: E402
from tests import fuzz  # noqa: E402

FIELDS = {
  "block_count": 1,
  "context_length": 64,
  "embedding_length": 32,
  "feed_forward_length": 64,
  "attention.head_count": 4,
  "attention.head_count_kv": 2,
  "rope.dimension_count": 8,
}


def write(path, more=None, arch="llama"):
  writer = gguf.GGUFWriter(str(path), arch)
  for name, value in {**FIELDS, **(more or {})}.items():
    add = (
      writer.add_uint32
      if isinstance(value, int)
      else writer.add_float32
      if isinstance(value, float)
      else writer.add_string
    )
    if value is not None:
      add(f"{arch}.{name}", value)
  writer.add_float32(f"{arch}.attention.layer_norm_rms_epsilon", 1e-5)
  writer.add_tensor("token_embd.weight", np.ones((10, 32), np.float32))
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.write_tensors_to_file()
  writer.close()
  return str(path)


def test_what_is_whole_is_read_and_its_bytes_are_what_it_is(tmp_path):
  source = load.open_source(write(tmp_path / "a.gguf"))
  cfg = source.config()
  assert (cfg.vocab, cfg.width, cfg.depth, cfg.kv_heads, cfg.tied) == (10, 32, 1, 2, True)
  digest = source.digest()
  assert load.open_source(write(tmp_path / "b.gguf", {"context_length": 128})).digest() == digest
  assert load.open_source(write(tmp_path / "c.gguf", {"rope.freq_base": 5e5})).digest() != digest
  content = bytearray((tmp_path / "a.gguf").read_bytes())
  content[-3] ^= 1
  (tmp_path / "d.gguf").write_bytes(content)
  assert load.open_source(str(tmp_path / "d.gguf")).digest() != digest


@pytest.mark.parametrize(
  "more,words",
  [
    ({"expert_count": 8}, "llama.expert_count = 8 is not supported"),
    ({"rope.scaling.type": "yarn"}, "llama.rope.scaling.type = 'yarn' is not supported"),
    ({"attention.sliding_window": 512}, "llama.attention.sliding_window = 512 is not known here"),
    ({"attention.key_length": 16}, r"heads of \[8, 16\], of which 8 turn, are not supported"),
    ({"block_count": None}, "llama.block_count is None; a number above 0 is expected"),
    ({"attention.head_count": "4"}, "llama.attention.head_count is '4'"),
  ],
)
def test_metadata_that_change_the_function_are_refused(tmp_path, more, words):
  with pytest.raises(errors.InputError, match=words):
    load.open_source(write(tmp_path / "a.gguf", more)).config()


def test_truncated_at_any_byte(tmp_path):
  write(tmp_path / "a.gguf")
  whole = (tmp_path / "a.gguf").read_bytes()
  for cut in (0, 3, 4, 9, 24, 60, 200, 400, len(whole) // 2, len(whole) - 1):
    (tmp_path / "b.gguf").write_bytes(whole[:cut])
    with pytest.raises(errors.InputError, match="not a readable GGUF file: truncated or corrupt|Git LFS") as caught:
      load.open_source(str(tmp_path / "b.gguf"))
    assert "\n" not in str(caught.value)
  (tmp_path / "b.gguf").write_text("version https://git-lfs.github.com/spec/v1\n")
  with pytest.raises(errors.InputError, match="a Git LFS pointer"):
    load.open_source(str(tmp_path / "b.gguf"))


def _whole() -> bytes:
  with tempfile.TemporaryDirectory() as folder:
    return pathlib.Path(write(pathlib.Path(folder) / "a.gguf")).read_bytes()


WHOLE = _whole()
BEGINS = len(WHOLE) - 10 * 32 * 4  # of the numbers
LENGTHS = st.sampled_from([0, 1, 3, 2**31, 2**32 - 1, 2**40, 2**62, 2**63])


@fuzz.given(
  st.one_of(
    fuzz.damaged(WHOLE),
    st.tuples(st.integers(4, BEGINS - 9), LENGTHS).map(
      lambda at: WHOLE[: at[0]] + struct.pack("<Q", at[1]) + WHOLE[at[0] + 8 :]
    ),
    st.integers(1, 64).map(lambda n: WHOLE + bytes(n)),
  )
)
def test_bytes_that_are_changed_are_another_model_or_one_line(data):
  """Wherever lengths, counts, kinds and offsets stand: never these numbers under another name, and no endless list."""
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "b.gguf"
    path.write_bytes(data)

    def read():
      source = load.open_source(str(path))
      tensors = {name: np.asarray(source.read(name)).tobytes() for name in source.names()}
      return source.config(), source.digest(), tensors

    found = fuzz.outcome(read)
    if found is not None:
      (table,) = (tensor for name, tensor in found[2].items() if "embed" in name)
      assert table == data[-len(table) :], "its numbers stand at its end"


def test_a_key_twice_and_lists_within_lists_are_no_file(tmp_path):
  count = struct.pack("<Q", struct.unpack("<Q", WHOLE[16:24])[0] + 1)
  text = lambda word: struct.pack("<Q", len(word)) + word
  deep = struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 5000
  for field, words in (
    (text(b"llama.block_count") + struct.pack("<II", 4, 7), "names llama.block_count twice"),
    (text(b"deep") + deep, "nested too deep"),
  ):
    (tmp_path / "b.gguf").write_bytes(WHOLE[:16] + count + field + WHOLE[24:])
    with pytest.raises(errors.InputError, match=words):
      load.open_source(str(tmp_path / "b.gguf"))
