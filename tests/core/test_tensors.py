"""Safetensors files: written as the safetensors package reads them, and nothing read that is not whole."""

import json
import os

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from itune_jax.core import errors
from itune_jax.core import tensors


def test_written_files_are_those_of_safetensors_and_obey_the_umask(tmp_path):
  given = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "ä": np.array([7], np.int64),
    "b": np.ones((3, 1), jnp.bfloat16),
  }
  path = str(tmp_path / "x.safetensors")
  before = os.umask(0o027)
  try:
    tensors.save(path, given)
  finally:
    os.umask(before)
  assert os.stat(path).st_mode & 0o777 == 0o640
  for found in (safetensors.numpy.load_file(path), tensors.load(path)):
    assert found.keys() == given.keys()
    for name, value in given.items():
      assert found[name].dtype == value.dtype
      np.testing.assert_array_equal(found[name], value)
  with safetensors.safe_open(path, "numpy") as opened:
    assert opened.metadata() == {"format": "pt"}


def test_what_is_not_finite_is_not_written(tmp_path):
  for value in (np.float32([1, np.nan]), np.float16([np.inf]), jnp.bfloat16(-np.inf)[None], np.float64([np.nan])):
    with pytest.raises(errors.RunError, match="x holds a value that is not finite"):
      tensors.save(str(tmp_path / "x.safetensors"), {"x": np.asarray(value)})
  assert tensors.finite(np.float32([np.finfo(np.float32).max, -0.0, 1e-45])) and tensors.finite(np.int32([-1]))


def raw(header, data=b"\0" * 8):
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  return len(text).to_bytes(8, "little") + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
  return {"x": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


@pytest.mark.parametrize(
  "content,words",
  [
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a Git LFS pointer.*git lfs pull"),
    (b"", "truncated or corrupt"),
    (b"\xff" * 64, "truncated or corrupt"),
    (raw(b"{"), "corrupt: no header"),
    (raw(b"[" * 5000), "corrupt"),
    (raw([]), "its header is no object"),
    (raw({"x": 1}), "what its header says of x cannot be read"),
    (raw(entry(shape=(-2,))), "what its header says of x"),
    (raw(entry(offsets=(0,))), "what its header says of x"),
    (raw(entry(dtype=7)), "x is of type 7"),
    (raw(entry(dtype="F8_E4M3")), "x is of type F8_E4M3; read are F64, F32"),
    (raw(entry(offsets=(0, 4))), "x is F32.* in 4 bytes"),
    (raw(entry(), b"\0" * 12), "corrupt: .* bytes, where its header speaks of"),
    (raw(entry(offsets=(4, 12)), b"\0" * 12), "x does not begin where"),
    (raw(entry(), b"\0" * 4), "truncated: .* bytes, where its header promises"),
    (raw(entry(shape=(0,), offsets=(0, 0))), r"x is empty \(shape \[0\]\)"),
    (raw(entry(), np.float32([1, np.nan]).tobytes()), "x holds a value that is not finite"),
  ],
)
def test_what_is_not_whole_is_one_line(tmp_path, content, words):
  path = tmp_path / "x.safetensors"
  path.write_bytes(content)
  with pytest.raises(errors.InputError, match=words) as caught:
    tensors.load(str(path))
  assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
  with pytest.raises(errors.InputError, match="missing"):
    tensors.header(str(tmp_path / "x.safetensors"))
