"""A model's digest: of its bytes, not of its files' names; kept as long as the files stay."""

import os

import numpy as np
import pytest

from itune_jax.core import digests


def stored(path, arrays):
  """Arrays in one file, one behind the other."""
  found, at = [], 0
  with open(path, "wb") as f:
    for name, array in arrays.items():
      f.write(array.tobytes())
      found.append(digests.Stored(name, array.dtype.name, array.shape, str(path), at, array.nbytes))
      at += array.nbytes
  return found


@pytest.fixture
def kept(tmp_path, monkeypatch):
  monkeypatch.setattr(digests, "_kept_in", str(tmp_path / "kept"))
  return tmp_path / "kept"


@pytest.mark.parametrize("limit", [digests.LIMIT, 0], ids=["whole", "pieces"])
def test_values_count_and_files_do_not(tmp_path, limit, kept):
  rs = np.random.RandomState(0)
  arrays = {"a": rs.randn(300, 100).astype(np.float32), "b": rs.randn(7).astype(np.float32)}
  first = digests.of_tensors(stored(tmp_path / "one", arrays), "f", limit)
  apart = stored(tmp_path / "two", {"b": arrays["b"]}) + stored(tmp_path / "three", {"a": arrays["a"]})
  assert digests.of_tensors(apart, "f", limit) == first
  tuned = {name: array * np.float32(1.3) + np.float32(0.01) for name, array in arrays.items()}
  assert digests.of_tensors(stored(tmp_path / "four", tuned), "f", limit) != first
  small = {**arrays, "b": arrays["b"] + np.float32([0] * 6 + [1])}
  assert digests.of_tensors(stored(tmp_path / "five", small), "f", limit) != first
  assert digests.of_tensors(stored(tmp_path / "six", arrays), "another function", limit) != first
  assert digests.of_tensors(stored(tmp_path / "seven", {"c": arrays["a"], "b": arrays["b"]}), "f", limit) != first
  assert first.startswith(f"{digests.VERSION}-")


def test_it_is_kept_by_path_size_and_time(tmp_path, kept, monkeypatch):
  found = stored(tmp_path / "one", {"a": np.ones(9)})
  first = digests.of_tensors(found, "f")
  assert len(os.listdir(kept)) == 1
  with monkeypatch.context() as patch:
    patch.setattr(digests, "_add", lambda *given: pytest.fail("read again"))
    assert digests.of_tensors(found, "f") == first
  found = stored(tmp_path / "one", {"a": np.zeros(9)})
  os.utime(tmp_path / "one", ns=(1, 1))
  assert digests.of_tensors(found, "f") != first
