"""Decoding and scoring beside transformers and lm-eval on the same weights, in turn. Run by scripts/test.sh full where
the parity environment is installed. The limits are the aims of docs/performance.md, but for decoding 32 rows: there the
aim is 3, 3.16 was measured, and the spread of a shared machine is as wide as the distance."""

import json
import os
import sys

import pytest

from itune_jax.run import cli
from tests.scripts import test_bench

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """SmolLM2-135M as a Hugging Face folder in float32."""
  pytest.importorskip("lm_eval", reason="the peers are not installed: scripts/test.sh parity installs them")
  out = str(tmp_path_factory.mktemp("hf") / "model")
  assert cli.main(["export", "--gin_file=models/smollm2_135m.gin", "--format=hf", "--dequantise", f"--out={out}"]) == 0
  return out


def beside(folder, job, *flags):
  done = test_bench.run([sys.executable, "scripts/bench.py", job, f"--hf={folder}", *flags])
  line = json.loads(done.stdout.splitlines()[-1])
  print(line)
  return line


def prompts_file(itune_data, folder, longest, count):
  """Instructions that people wrote, of at most so many characters."""
  with open(os.path.join(itune_data, "dolly_3k", "dolly_first800.json"), encoding="utf-8") as f:
    asked = [row["instruction"] for row in json.load(f) if len(row["instruction"]) < longest]
  prompts = folder / "prompts.jsonl"
  prompts.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in asked[:count]))
  return prompts


@pytest.mark.parametrize("batch, rows, least", [(8, 0, 2.0), (32, 96, 2.5)])
def test_decoding_beside_transformers(folder, batch, rows, least, itune_data, tmp_path):
  prompts = prompts_file(itune_data, tmp_path, 400, 32)
  line = beside(folder, "generate", f"--prompts={prompts}", f"--batch={batch}", f"--rows={rows}", "--turns=1")
  assert line["ours_over_transformers"]["median"] >= least
  assert line["differ"]["texts"] == 0 or line["differ"]["largest_margin"] < 1e-3


def test_scoring_choices_beside_lm_eval(folder, itune_data):
  line = beside(folder, "choices", f"--data={os.path.join(itune_data, 'mmlu', 'dev.jsonl')}", "--turns=1")
  assert line["ours_over_lm_eval"]["median"] <= 0.5 and line["largest_difference"] < 2e-3


def test_lm_eval_on_a_model_here_beside_its_own_backend(folder, itune_data, tmp_path):
  data = [f"--data={os.path.join(itune_data, 'mmlu', 'dev.jsonl')}"]
  data += [f"--prompts={prompts_file(itune_data, tmp_path, 1200, 96)}"]
  line = beside(folder, "lm_eval", *data, "--rows=96", "--batch=32", "--turns=1")
  choices, generation = line["choices"], line["generation"]
  assert choices["ours_over_lm_eval"]["median"] <= 0.4 and choices["largest_difference"] < 1e-3
  assert generation["ours_over_lm_eval"]["median"] <= 0.5
  assert choices["greedy_differs"] == 0 and generation["texts_differ"] <= 2, "where two tokens are nearly even"
