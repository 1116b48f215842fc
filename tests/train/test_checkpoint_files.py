"""A checkpoint of which a file is damaged, missing or another's is refused in one line by all that read it."""

import gc
import json
import pathlib
import shutil
import tempfile
import time

import jax
from hypothesis import strategies as st
import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.run import adapters
from itune_jax.run import results
from itune_jax.train import checkpoint
from itune_jax.train import checkpoint_meta
from itune_jax.train import hooks
from tests import fuzz
from tests import tiny

SAID = {"base": "b", "base_digest": "2-d", "model": {"base": "b"}, "methods": [{"type": "Lora", "rank": 2}]}


# Orbax reads arrays in threads. Where one fails the others end later, and what they leave is no test's fault.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True, scope="module")
def leavings():
  """What damaged reads left is collected before the next file's tests."""
  yield
  for _ in range(3):
    time.sleep(0.2)
    gc.collect()


def arrays(seed: int = 0) -> dict:
  rs, where = np.random.RandomState(seed), jax.NamedSharding(tiny.mesh(1), jax.P())
  return {name: jax.device_put(rs.randn(3, 4).astype(np.float32), where) for name in ("a/down", "a/up")}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  folder = tmp_path_factory.mktemp("saved") / "x"
  checkpoint.save_trainable(str(folder), arrays(), SAID, {})
  return folder


def kept(folder: pathlib.Path):
  """What every reader makes of a folder, or None where one refuses it in one line."""
  read = lambda: checkpoint.restore_trainable(str(folder), arrays())
  found = fuzz.outcome(lambda: (read(), adapters.methods_of(str(folder)), adapters.model_of(str(folder))))
  return found and {name: np.asarray(value) for name, value in found[0].items()}


def damage(path: pathlib.Path, how: str) -> None:
  content = path.read_bytes()
  path.unlink()
  if how == "folder":
    path.mkdir()
  elif how != "gone":
    flipped = bytearray(content or b"x")
    flipped[len(content) // 2] ^= 0x55
    new = {"empty": b"", "half": content[: len(content) // 2], "flip": bytes(flipped), "latin": b"\xff\xfe"}
    path.write_bytes(new[how])


@pytest.mark.parametrize("how", ["gone", "half", pytest.param("every", marks=pytest.mark.full)])
def test_a_file_that_is_damaged_changes_no_array(saved, tmp_path, how):
  """One line, or the same arrays: never others, never a traceback."""
  for k, name in enumerate(sorted(p.relative_to(saved) for p in saved.rglob("*") if p.is_file())):
    for each in ("gone", "empty", "half", "flip", "latin", "folder") if how == "every" else (how,):
      at = tmp_path / f"{k}{each}"
      shutil.copytree(saved, at)
      damage(at / name, each)
      found = kept(at)
      if found is not None:
        for name_, value in arrays().items():
          np.testing.assert_array_equal(found[name_], value, err_msg=f"{name} {each}")


def test_arrays_of_another_checkpoint_are_told_from_these(saved, tmp_path):
  """Of the same names and shapes: only their sums differ."""
  other, at = tmp_path / "other", tmp_path / "at"
  checkpoint.save_trainable(str(other), arrays(1), SAID, {})
  assert adapters.digest(str(other)) != adapters.digest(str(saved)), (
    "what is kept beside one adapter is not the other's"
  )
  shutil.copytree(saved, at)
  shutil.rmtree(at / "arrays")
  shutil.copytree(other / "arrays", at / "arrays")
  with pytest.raises(errors.InputError, match="files are damaged or not all there"):
    checkpoint.restore_trainable(str(at), arrays())
  meta = files.read_object(str(at / "meta.json"))
  files.write_json(str(at / "meta.json"), {key: value for key, value in meta.items() if key != "files"})
  with pytest.raises(errors.InputError, match="is not what was saved"):  # as earlier versions wrote it
    checkpoint.restore_trainable(str(at), arrays())
  with pytest.raises(errors.InputError, match="was trained, and its methods have no place for it"):
    checkpoint.require_whole(str(saved), {})


def test_folders_that_are_no_steps_are_none(tmp_path):
  for name in ("000002", "2", "²", "٩", "000004", "x"):
    files.write_text(str(tmp_path / name / "COMMITTED"), "")
  assert [pathlib.Path(f).name for f in checkpoint.committed(str(tmp_path))] == ["000002", "000004"]
  files.write_json(str(tmp_path / "000004" / "meta.json"), {"step": 2, "names": []})
  with pytest.raises(errors.InputError, match="is of step 2: the folder holds files of another checkpoint"):
    checkpoint.restore_trainable(str(tmp_path / "000004"), {})


META = [{"step": 0, "names": [".trainable['a']"], "sums": {".trainable['a']": 5}, "metrics": {"m": 1.0}, **SAID}]
META[0] |= {"source": {"rates": [[2, {"a": 0.5}]]}, "rendering": {"max_length": 9}}
META[0] |= {"imports": [{"module": "own", "path": "/own.py", "role": "data"}]}


@fuzz.given(fuzz.mutated(META))
def test_what_a_checkpoint_says_is_understood_or_refused(case):
  """One node of meta.json is replaced or removed."""
  with tempfile.TemporaryDirectory() as folder:
    (pathlib.Path(folder) / "meta.json").write_text(json.dumps(case[3]))
    (pathlib.Path(folder) / "COMMITTED").write_text("")
    for read in (adapters.digest, adapters.methods_of, adapters.model_of):
      fuzz.outcome(lambda: read(folder))  # noqa: B023  # called at once
    found = fuzz.outcome(lambda: checkpoint_meta.read(folder, ("names",)))
    assert found is None or json.dumps(found) == json.dumps(case[3]), "nothing is left out of it, and nothing put in"


LINES = [
  [{"step": 1, "loss": 2.0, "trained_tokens": 5.0}, {"step": 1, "held/loss": 1.0}]
  + [{"step": k, "loss": 1.0, "step_s": 0.5, "trained_tokens": 5.0} for k in (2, 3)]
]


@fuzz.given(fuzz.mutated(LINES), st.integers(0, 3), st.sampled_from(["", "cut", "bytes"]))
def test_figures_of_steps_are_whole_lines_or_refused(case, at, how):
  """Only what stands behind the last line's beginning may be lost."""
  rows = case[3] if isinstance(case[3], list) else [case[3]]
  lines = [json.dumps(row) for row in rows]
  if how and lines:
    at %= len(lines)
    lines[at] = lines[at][: len(lines[at]) // 2] if how == "cut" else "\udcff"
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "metrics.jsonl"
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))
    found = fuzz.outcome(lambda: (hooks.Jsonl.read(str(path)), results.summary(str(path))))
    if found is not None:
      whole = rows[:-1] if how and lines and at == len(lines) - 1 else rows
      assert repr(found[0]) == repr(json.loads(json.dumps(whole))), "nothing in front of the end is left out"
      assert not how or at == len(lines) - 1


ROWS = [{"id": "a", "correct": True, "cluster": "a", "domain": "d", "prompt": "p", "answer": "x", "output": "y"}]


@fuzz.given(fuzz.mutated([[*ROWS, {**ROWS[0], "id": "b"}]]), st.booleans())
def test_judged_answers_are_rows_or_one_line(case, is_cut):
  """What a report pairs."""
  rows = case[3] if isinstance(case[3], list) else [case[3]]
  text = "".join(json.dumps(row) + "\n" for row in rows)
  with tempfile.TemporaryDirectory() as folder:
    files.make_folder(f"{folder}/evals/before")
    written = text[: len(text) // 2 - 3] if is_cut else text
    pathlib.Path(f"{folder}/evals/before/b.jsonl").write_text(written)
    for row in fuzz.outcome(lambda: results.read_rows(folder, "before", "b")) or ():
      assert isinstance(row["id"], str) and float(row.get("correct", 0)) + 1
      last = written.rpartition("\n")[2]
      assert not last or last in map(json.dumps, rows), "half a row is no row"


def test_a_folder_aside_is_nobody_elses(tmp_path):
  """What a user calls X.partial stays; what a dead process of ours left is removed."""
  mine = tmp_path / "x.partial"
  mine.write_text("mine")
  with files.whole_folder(str(tmp_path / "x")) as aside:
    name = pathlib.Path(aside).name
    (pathlib.Path(aside) / "f").write_text("new")
  assert mine.read_text() == "mine" and (tmp_path / "x" / "f").read_text() == "new"
  host, process, rest = name.removeprefix("x.").split("-")
  dead, other = tmp_path / f"x.{host}-{2**22 + 1}-{rest}", tmp_path / f"x.other-{process}-{rest}"
  dead.mkdir(), other.mkdir()
  with pytest.raises(KeyError), files.whole_folder(str(tmp_path / "x")):
    raise KeyError("a fault")
  assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["x", "x.partial", other.name])
