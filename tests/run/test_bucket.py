"""Run directories in a bucket: no rename is relied on, markers come last, a run resumes there.

The bucket is a folder behind etils.epath, which refuses what buckets cannot do. Arrays go through a stand-in of Orbax's
saver: tensorstore speaks to Google itself, and no network is here.
"""

import functools
import os

from etils.epath import backend
from etils.epath import gpath
import jax
import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.run import cli
from itune_jax.train import checkpoint
from itune_jax.train import hooks

RUN = "gs://bucket/runs/one"
PATHS = ("open", "exists", "isdir", "listdir", "glob", "makedirs", "mkdir", "rmtree", "remove", "stat")


class Bucket(backend._OsPathBackend):
  """A folder in a bucket's clothes; `written` are the objects in the order in which they were made."""

  def __init__(self, root: str):
    self.root, self.written = root, []
    for name in PATHS:
      setattr(self, name, functools.partial(self._there, name))

  def _there(self, name, path, *args, **kwargs):
    path = os.fspath(path)
    there = os.path.join(self.root, path.removeprefix("gs://").removeprefix("/gs/"))
    if name == "open" and args and args[0].startswith("w"):
      self.written.append(os.path.basename(path))
    assert not (name == "open" and args and "a" in args[0]), "objects do not grow"
    return getattr(backend._OsPathBackend, name)(self, there, *args, **kwargs)

  def rename(self, path, dst):
    raise AssertionError(f"a bucket has no rename ({path} to {dst})")

  replace = rename


class Saver:
  """Stands in for Orbax's: the same calls, arrays in one object."""

  def save(self, path, leaves):
    with files.opened(f"{path}/arrays.npz", "wb") as f:
      np.savez(f, **{name: np.asarray(x) for name, x in leaves.items()})

  def wait_until_finished(self):
    pass

  def restore(self, path, like):
    with files.opened(f"{path}/arrays.npz", "rb") as f:
      found = np.load(f)
      return {name: jax.device_put(found[name], where.sharding) for name, where in like.items()}


@pytest.fixture
def bucket(tmp_path, monkeypatch):
  made = Bucket(str(tmp_path / "gs"))
  monkeypatch.setattr(
    gpath._GPath, "_backend", property(lambda self: made if "gs" in self.parts[:2] else backend.os_backend)
  )
  save = Saver.save
  monkeypatch.setattr(Saver, "save", lambda self, path, leaves: (files.make_folder(path), save(self, path, leaves)))
  monkeypatch.setattr(checkpoint.ocp, "StandardCheckpointer", Saver)
  return made


@pytest.mark.heavy
def test_a_run_trains_and_resumes_in_a_bucket(bucket, tmp_path, monkeypatch):
  monkeypatch.setattr(hooks, "REMOTE_SECONDS", 0)
  flags = ["--gin_file=recipes/llama_tiny.gin", "--gin.checkpoint.Keep.every=2"]
  assert cli.main(["prepare", flags[0]]) == 0
  assert cli.main(["train", *flags, "--gin.STEPS=4", f"--run_dir={tmp_path}/disk"]) == 0
  # STEPS is of the schedule, so the first part is a whole run that is cut off: its last checkpoint loses its marker.
  assert cli.main(["train", *flags, "--gin.STEPS=4", f"--run_dir={RUN}"]) == 0

  assert files.names(f"{RUN}/checkpoints") == ["000002", "000004"]
  order = [name for name in bucket.written if name in ("arrays.npz", "meta.json", "COMMITTED")]
  assert order == ["arrays.npz", "meta.json", "COMMITTED"] * 2
  files.remove(f"{RUN}/checkpoints/000004/COMMITTED")
  assert cli.main(["train", *flags, "--gin.STEPS=4", f"--run_dir={RUN}"]) == 0
  losses = lambda run: [line["loss"] for line in hooks.Jsonl.read(os.path.join(run, "metrics.jsonl")) if "loss" in line]
  assert losses(RUN) == losses(f"{tmp_path}/disk") and len(losses(RUN)) == 4
  assert cli.main(["report", f"--run_dir={RUN}"]) == 0 and files.exists(f"{RUN}/report.html")


def test_a_folder_is_copied_up_with_its_marker_last(bucket):
  with files.whole_folder("gs://bucket/out", marker="DONE") as aside:
    for name in ("DONE", "a.txt", "sub/b.txt"):
      files.write_text(os.path.join(aside, name), name)
  assert bucket.written == ["a.txt", "b.txt", "DONE"] and files.names("gs://bucket/out") == ["DONE", "a.txt", "sub"]
  with pytest.raises(errors.RunError, match="the disk is full"), files.whole_folder("gs://bucket/out") as aside:
    raise OSError("the disk is full")
  assert files.exists("gs://bucket/out/a.txt")
