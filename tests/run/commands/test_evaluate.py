"""All three kinds of evaluators through the command line, on the tiny model."""

import json

from itune_jax.run import cli
from itune_jax.run import results


def test_generation_choice_and_heldout_loss(capsys, tmp_path):
  flags = ["--gin_file=recipes/llama_tiny.gin", "--gin_file=decode/greedy.gin", "--gin_file=evals/starter_all.gin"]
  flags += ["--gin.EVAL_LIMIT=12", "--gin.EVAL_STRIDE=20", "--gin.decode.Decode.max_new_tokens=4"]
  assert cli.main(["eval", *flags, f"--run_dir={tmp_path}", "--name=before"]) == 0
  figures = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
  assert figures["starter/items"] == 12 and figures["choice/items"] == 3
  # A random model of 49,152 tokens is about ln(49152) = 10.8 nats a token off.
  assert 10 < figures["heldout/loss"] < 12 and figures["heldout/starter_heldout/dropped"] == 0
  rows = results.read_rows(str(tmp_path), "before", "choice")
  assert all(len(row["logprobs"]) == len(row["choices"]) and max(row["logprobs"]) < 0 for row in rows)
  assert len(results.read_rows(str(tmp_path), "before", "starter")) == 12
