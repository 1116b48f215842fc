"""Preparing plain files: without JAX and TensorFlow, once, and at the rates that SeqIO would mix at."""

import json
import os
import random
import subprocess
import sys

import pytest

from itune_jax.core import errors
from itune_jax.data import mixture as mixture_lib
from itune_jax.data import validation as validation_lib
from itune_jax.run import cli

# Prepares in a process of its own; its last line is what it should not have imported.
CODE = """
import sys
from itune_jax.run import cli
code = cli.main(["prepare", *sys.argv[1:]])
print([name for name in ("jax", "jaxlib", "tensorflow", "seqio", "torch", "flax") if name in sys.modules])
sys.exit(code)
"""


@pytest.fixture
def rows(tmp_path):
  """A file of instruction data."""
  path = tmp_path / "mine.jsonl"
  lines = [json.dumps({"instruction": f"Add {n} and 1.", "input": "", "output": str(n + 1)}) for n in range(400)]
  path.write_text("\n".join(lines) + "\n")
  return path


def prepared(*argv, **more):
  done = subprocess.run(
    [sys.executable, "-c", CODE, *argv], env={**os.environ, **more}, capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr
  *_, result, heavy = done.stdout.strip().splitlines()
  return json.loads(result), heavy, done.stderr


@pytest.mark.parametrize("recipe", ["smollm2_lora", "llama_tiny"])
def test_plain_files_take_neither_jax_nor_tensorflow(rows, tmp_path, smollm2_path, recipe):
  os.makedirs(tmp_path / "cache" / "models")
  os.symlink(os.path.dirname(smollm2_path), tmp_path / "cache" / "models" / "smollm2-135m-instruct")
  flags = [f"--gin_file={recipe}", *([f"--data={rows}"] if recipe == "smollm2_lora" else []), "--peft=oft"]
  for _ in range(2):  # made, and found again
    result, heavy, said = prepared(*flags, ITUNE_CACHE=str(tmp_path / "cache"))
    assert heavy == "[]" and result["sources"][0]["dropped"] == 0
  assert "already prepared" in said and len(said.strip().splitlines()) == 1


def test_a_slip_in_what_prepare_does_not_use_is_still_one(capsys):
  assert cli.main(["prepare", "--gin_file=demo", "--gin.lro.Lora.rank=3"]) == 2
  assert "no file of this run imports lro" in capsys.readouterr().err


def test_rates_are_those_of_seqio():
  pytest.importorskip("seqio", reason="SeqIO comes with the extra prep")
  from itune_jax.data import tasks

  draw = random.Random(0)
  for n in range(200):
    counts = {f"s{i}": draw.randint(1, 10 ** draw.randint(1, 7)) for i in range(draw.randint(1, 6))}
    sources = tuple(mixture_lib.Source(name=name, path="none.jsonl", rate=draw.uniform(0.1, 9)) for name in counts)
    mixture = mixture_lib.Mixture(
      name=f"m{n}",
      sources=sources,
      rates=draw.choice(["given", "proportional", "proportional"]),
      cap=draw.choice([0, 1, 1000, 10**6]),
      temperature=draw.choice([1.0, 0.5, 2.0, 3.7]),
    )
    theirs = tasks.raw_rates(mixture, counts)
    total = sum(theirs.values())
    assert mixture.shares(counts) == pytest.approx({name: rate / total for name, rate in theirs.items()}, rel=1e-12)


def test_what_is_held_out_hangs_on_the_text_alone(rows):
  whole = mixture_lib.Mixture(name="m", sources=(mixture_lib.Source(name="a", path=str(rows)),))
  validation = validation_lib.Validation(fraction=0.2)
  ids = lambda sources: [row.example.id for source in sources for row in source.rows()]
  rest, held = ids(validation.trained(whole).sources), ids(validation.sources(whole))
  assert not set(rest) & set(held) and sorted(rest + held) == sorted(ids(whole.sources))
  assert 0.1 < len(held) / 400 < 0.3
  lines = rows.read_text().splitlines()
  random.Random(0).shuffle(lines)
  rows.write_text("\n".join(lines[:200] + lines[:200]) + "\n")
  assert set(ids(validation.sources(whole))) <= set(held)
  assert set(ids(validation.trained(whole).sources)) <= set(rest)
  keys = {s.digest() for s in (whole.sources[0], validation.trained(whole).sources[0], validation.sources(whole)[0])}
  assert len(keys) == 3, "each is prepared for itself"


@pytest.mark.parametrize("fields", [{"fraction": 1.0}, {"fraction": -0.1}, {"every": -1}, {"fraction": "a"}])
def test_no_share_is_refused(fields):
  with pytest.raises(errors.InputError):
    validation_lib.Validation(**fields)


def test_a_source_of_the_validation_files_name_is_refused(rows):
  mixture = mixture_lib.Mixture(name="m", sources=(mixture_lib.Source(name="val_data", path=str(rows)),))
  with pytest.raises(errors.InputError, match="rename"):
    validation_lib.Validation(data=str(rows), fraction=0.5).sources(mixture)
