"""A reward model from pairs to a folder of transformers: trained, asked, an ensemble, exported."""

import json
import math

import pytest

from itune_jax.core import jsontext
from itune_jax.run import cli

pytestmark = pytest.mark.full
FLAGS = ("--gin_file=recipes/reward.gin", "--gin_file=overlays/smoke_pairs.gin")


def last(capsys):
  return jsontext.loads(capsys.readouterr().out.strip().splitlines()[-1])


def test_a_reward_model_is_trained_asked_and_exported(tmp_path, capsys):
  assert cli.main(["prepare", *FLAGS]) == 0
  assert cli.main(["train", *FLAGS, f"--run_dir={tmp_path}/run"]) == 0
  lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
  assert abs(lines[0]["loss"] - math.log(2)) <= 1e-6 and lines[2]["rewards/size"] > 0
  pairs = [{"prompt": f"q{i}", "chosen": "yes", "rejected": "no", "subset": f"s{i % 2}"} for i in range(4)]
  pairs.insert(2, {"prompt": "word " * 9000, "chosen": "yes", "rejected": "no", "subset": "s0"})  # too long
  lists = [{"prompt": "q", "responses": ["a", "b", "c"], "scores": [1, 0, 2]}, {"prompt": "q", "responses": ["a"]}]
  for name, rows in (("pairs", pairs), ("lists", lists)):
    (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
  capsys.readouterr()
  run = f"--adapter={tmp_path}/run"
  assert cli.main(["reward", run, run, f"--data={tmp_path}/pairs.jsonl", f"--out={tmp_path}/out.jsonl"]) == 0
  out, err = capsys.readouterr()
  found = jsontext.loads(out.strip().splitlines()[-1])
  assert found["dropped"] == 1 and "truncation leaves no trained token" in err and "pairs.jsonl:3" in err
  assert found["disagreement"] == 0 and set(found["subsets"]) == {"s0", "s1"} and found["pairs"] == 4
  assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 4
  assert cli.main(["reward", run, f"--data={tmp_path}/lists.jsonl", "--best_of=1,3"]) == 0
  found = last(capsys)
  assert found["best_of_1"]["quality"] == pytest.approx(1.0) and found["dropped"] == 1
  assert cli.main(["export", run, f"--out={tmp_path}/hf"]) == 0
  assert last(capsys)["logit_parity"] <= 1e-4
  config = json.loads((tmp_path / "hf" / "config.json").read_text())
  assert config["architectures"] == ["LlamaForSequenceClassification"]
  assert cli.main(["generate", run, "--prompt=hello"]) == 2
