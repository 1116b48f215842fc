"""`--beam`: what a pipeline of Apache Beam makes is what one process makes, for any number of workers.

Beam has an environment of its own: `bash scripts/test.sh beam` makes .venv-beam and runs this. ITUNE_BEAM_PYTHON names
another environment's Python.
"""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

from itune_jax.core import errors
from itune_jax.run import beam_runner
from itune_jax.run import command
from itune_jax.run import specs
from itune_jax.run.commands import prepare_flags
from tests.data import test_preparing
from tests.select import test_spread_passes

ROOT = pathlib.Path(__file__).parents[2]
PYTHON = os.environ.get("ITUNE_BEAM_PYTHON") or str(ROOT / ".venv-beam/bin/python")
GIN = """
from __gin__ import dynamic_registration
from itune_jax.select import decontaminate
from itune_jax.select import select_protocol
from itune_jax.select.cleaning import pii
from itune_jax.select.duplicates import exact_copies
from itune_jax.select.duplicates import min_hash
SELECTION = @select_protocol.Selection()
select_protocol.Selection.steps = (
  @exact_copies.Exact(), @min_hash.MinHash(), @decontaminate.Decontaminate(), @pii.Pii())
exact_copies.Exact.field = "output"
min_hash.MinHash.field = "output"
decontaminate.Decontaminate.against = ("held.jsonl",)
"""


def run(command, **environment):
  """Runs a program; what it says on stderr."""
  env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
  done = subprocess.run(command, env=env, capture_output=True, text=True)
  assert not done.returncode, done.stderr[-3000:]
  return done.stderr


def itune(python, *argv, **environment):
  """Runs a command; what it says on stderr."""
  return run([python, "-m", "itune_jax.run.cli", *argv], **environment)


def contents(folder):
  """The digest of each file, but for arrays that are zipped with a time, and what is no data."""
  found = {}
  for path in sorted(pathlib.Path(folder).rglob("*")):
    if path.is_file() and path.suffix != ".npz" and not {"digests", "models"} & set(path.parts):
      found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
  return found


@pytest.fixture(name="folder")
def folder_fixture(tmp_path, monkeypatch):
  if not os.path.exists(PYTHON):
    pytest.skip("no environment with apache-beam: bash scripts/test.sh beam makes one, or ITUNE_BEAM_PYTHON names it")
  monkeypatch.chdir(tmp_path)
  return tmp_path


_IN_SHARDS = """
import functools, sys
from itune_jax.data import beam_preparing, mixture, shards, tokenised
from itune_jax.data.render import chat, tokenizer
from itune_jax.run import beam_runner, specs
if __name__ == "__main__":
  renderer = chat.Renderer(tokenizer.load(specs.resolve("smollm2-135m-instruct")), chat.Rendering(max_length=128))
  source = mixture.Source(name="s", path="data")
  how = {}
  if sys.argv[2] != "0":
    how["spread"] = functools.partial(beam_preparing.spread, beam_runner.Beam("", int(sys.argv[2])).run)
  mix = mixture.Mixture(name="m", sources=(source,))
  tokenised.write_source(sys.argv[1], mix, source, renderer, cut=shards.Cut(64, 300), **how)
  assert not {"jax", "tensorflow"} & set(sys.modules)
"""


@pytest.mark.full
def test_shards_by_pipelines_are_those_of_one_process(folder):
  """Shards of 300 rows, so that three files have fourteen of them, and ids that are there twice in other shards."""
  pathlib.Path("data").mkdir()
  for i, count in enumerate((2_500, 3, 600)):
    numbered = (json.dumps({"prompt": f"p {n}", "completion": "c", "id": n % 2_300}) for n in range(count))
    pathlib.Path(f"data/{i}.jsonl").write_text("".join(f"{line}\n" for line in numbered) + test_preparing.rows(300, i))
  found = []
  for cache, python, workers in (("plain", sys.executable, 0), ("beam_one", PYTHON, 1), ("beam_three", PYTHON, 3)):
    began = time.monotonic()
    run([python, "-c", _IN_SHARDS, cache, str(workers)])
    found.append(contents(cache))
    print(f"\n{cache}: {time.monotonic() - began:.0f} s, {sum('.arrayrecord' in name for name in found[-1])} shards")
  assert found[0] == found[1] == found[2] and sum(".arrayrecord" in name for name in found[0]) > 10


@pytest.mark.full
def test_prepared_by_pipelines_is_prepared_by_one_process(folder):
  pathlib.Path("mine.jsonl").write_text(test_preparing.rows(1_000))
  how = ["prepare", "--gin_file=recipes/smollm2_lora.gin", "--data=mine.jsonl"]
  found = []
  for cache, python, more in (
    ("plain", sys.executable, ["--workers=1"]),
    ("beam", PYTHON, ["--beam=--runner=DirectRunner --direct_num_workers=2"]),
  ):
    pathlib.Path(cache).mkdir()
    os.symlink(os.path.join(specs.cache_dir(), "models"), f"{cache}/models")
    said = itune(python, *how, *more, ITUNE_CACHE=cache)
    found.append(contents(cache))
    assert ("Beam: --runner=DirectRunner" in said) == (cache == "beam")
  assert found[0] == found[1] and any(name.startswith("mixtures/") for name in found[0])


@pytest.mark.full
def test_rows_selected_by_pipelines_are_selected_by_one_process(folder):
  rows = test_spread_passes.rows(6_000)
  pathlib.Path("in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  held = [{"prompt": row["output"].lower(), "completion": "none"} for row in rows[::1000]]
  pathlib.Path("held.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held))
  pathlib.Path("mine.gin").write_text(GIN)
  how = ["select", "--input=in.jsonl", "--gin_file=mine.gin"]
  found = []
  for name, python, more in (
    ("plain", PYTHON, []),
    ("beam_one", PYTHON, ["--beam=--direct_num_workers=1"]),
    ("beam_three", PYTHON, ["--beam=--direct_num_workers=3"]),
  ):
    began = time.monotonic()
    itune(python, *how, *more, f"--output={name}.jsonl")
    manifest = json.loads(pathlib.Path(f"{name}.manifest.json").read_text())
    dropped = [one["given"] - one["kept"] for one in manifest["passes"]]
    print(f"\n{name}: {time.monotonic() - began:.0f} s, dropped by pass {dropped}")
    found.append((pathlib.Path(f"{name}.jsonl").read_bytes(), json.dumps(manifest)))
    assert min(dropped[1:4]) > 0
  assert found[0] == found[1] == found[2]


def test_options_are_beams_own_and_the_runner_is_named(monkeypatch):
  monkeypatch.setattr(beam_runner.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(errors.InputError, match=r"^--beam: apache-beam is not installed.*requirements-beam\.lock$"):
    beam_runner.Beam("")
  monkeypatch.setattr(beam_runner.importlib.util, "find_spec", lambda name: name)
  alone = beam_runner.Beam("", 3).arguments()
  assert "--runner=DirectRunner" in alone and "--direct_num_workers=3" in alone
  given = beam_runner.Beam("--runner=FlinkRunner --flink_master='a b'", 3).arguments()
  assert given[:2] == ["--runner=FlinkRunner", "--flink_master=a b"] and "direct" not in " ".join(given)
  for bad in ("DirectRunner", "--runner", "--runner='x"):
    with pytest.raises(errors.InputError, match="--beam="):
      beam_runner.Beam(bad)
  with pytest.raises(errors.InputError, match="leave out --beam"):
    prepare_flags.COMMAND.parse(["--gin_file=recipes/smollm2_lora.gin", "--data=a", "--dry_run", "--beam"])
  parsed = prepare_flags.COMMAND.parse(["--beam", "--gin_file=recipes/smollm2_lora.gin", "--data=a"])
  assert parsed.beam == "" and isinstance(parsed, command.Args)
