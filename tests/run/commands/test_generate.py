"""`itune generate`: answers from a file."""

import json

from itune_jax.run import cli


def test_generate_answers_from_a_file(capsys, tmp_path):
  (tmp_path / "p.jsonl").write_text(
    json.dumps({"prompt": "Hi"}) + "\n" + json.dumps({"messages": [{"role": "user", "content": "Hello"}]}) + "\n"
  )
  code = cli.main(
    [
      "generate",
      "--gin_file=models/llama_tiny.gin",
      f"--prompts={tmp_path}/p.jsonl",
      f"--output={tmp_path}/o.jsonl",
      "--gin.decode.Decode.max_new_tokens=4",
    ]
  )
  assert code == 0 and len((tmp_path / "o.jsonl").read_text().splitlines()) == 2
  (tmp_path / "p.jsonl").write_text('{"prompt": "Hi"}\n{"question": 1}\n')
  assert cli.main(["generate", f"--prompts={tmp_path}/p.jsonl"]) == 2
  assert "p.jsonl:2: no text under question" in capsys.readouterr().err
