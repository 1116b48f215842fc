"""A round of self-improvement on a tiny model, its data from an endpoint: every arm trains, all stand in one file."""

import json
import zlib

import numpy as np
import pytest

from itune_jax.run import cli
from tests.docs import blocks
from tests.parts import endpoint
from tests.synth import table


def says(asked, tries, count):
  rng = np.random.Generator(np.random.PCG64(zlib.crc32(asked.encode())))
  return endpoint.Does(table._arithmetic("", asked, rng) if "####" in asked else table.sentence(rng))


@pytest.mark.full
def test_a_round_has_three_arms_of_equal_tokens(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("XLA_FLAGS", "")  # the commands run in processes of their own, on one device
  rng = np.random.Generator(np.random.PCG64(1))
  line = lambda: json.dumps({"question": table.sentence(rng, end="?"), "answer": table.sentence(rng, 12)}) + "\n"
  for name, count in (("real.jsonl", 40), ("heldout.jsonl", 24), ("prompts.jsonl", 30)):
    (tmp_path / name).write_text("".join(line() for _ in range(count)), encoding="utf-8")
  (tmp_path / "tiny_lora.gin").write_text(blocks.TINY_LORA, encoding="utf-8")
  with endpoint.serving(says) as there:
    flags = ["--recipe=tiny_lora.gin", "--data=prompts.jsonl", "--real=real.jsonl", "--eval_data=heldout.jsonl"]
    flags += [f"--responder={there.url}", "--responder_model=m", "--run_dir=round"]
    values = {"generators": ("synth/arithmetic.gin", "synth/teacher_answers.gin"), "accept": 12, "seeds": 1, "steps": 2}
    flags += [f"--gin.improve.Improve.{name}={value!r}" for name, value in values.items()]
    assert cli.main(["improve", *flags]) == 0
    asked = there.count
    assert cli.main(["improve", *flags]) == 0, "a round that is done is gone on with"
    assert there.count == asked, "and asks nothing again"
  told = json.loads((tmp_path / "round" / "improve.json").read_text(encoding="utf-8"))
  arms = told["arms"]["seed0"]
  assert told["rows"]["made"] == 24 and set(arms) == {"generated", "real"}
  assert abs(arms["generated"]["tokens"] - arms["real"]["tokens"]) <= 60
  assert {"synth", "prepare", "train", "eval", "compare"} <= {line.split()[1] for line in told["commands"]}
  assert told["comparison"] and (tmp_path / "round" / "compare.html").is_file()
