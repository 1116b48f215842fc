"""`itune generate`: answers from a file."""

import io
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
  assert "p.jsonl:2: `question` is a number (1); it must be text" in capsys.readouterr().err
  (tmp_path / "p.jsonl").write_text(json.dumps({"prompt": "Hi"}) + "\n" + json.dumps({"prompt": "word " * 9000}) + "\n")
  assert cli.main(["generate", "--gin_file=models/llama_tiny.gin", f"--prompts={tmp_path}/p.jsonl"]) == 2
  assert "p.jsonl:2: the prompt has " in capsys.readouterr().err


def test_flags_say_how_and_a_dialogue_is_printed_as_it_comes(capsys, monkeypatch, tmp_path):
  row = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well"}]
  (tmp_path / "p.jsonl").write_text(json.dumps({"messages": row}) + "\n")
  flags = ["generate", "--gin_file=models/llama_tiny.gin", "--temperature=1", "--max_new_tokens=6", "--seed=3"]

  def outputs(*more):
    assert cli.main([*flags, f"--prompts={tmp_path}/p.jsonl", f"--output={tmp_path}/o.jsonl", *more]) == 0
    return [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]

  begun = outputs("--n=2", "--continue_final_message")
  assert [one["messages"] for one in begun] == [row, row] and begun[0]["output"] != begun[1]["output"]
  fresh = outputs("--n=2", "--top_k=1", "--repetition_penalty=1.3")
  assert fresh[0] == fresh[1] and fresh[0]["messages"] == row[:1]
  stop = begun[0]["output"][3:5]
  assert outputs("--continue_final_message", f"--stop={stop}")[0]["output"] == begun[0]["output"].split(stop)[0]
  assert cli.main([*flags, "--prompt=x", "--top_k=-1"]) == 2 and "keeps so many tokens" in capsys.readouterr().err
  monkeypatch.setattr("sys.stdin", io.StringIO("Hi\n\n"))
  assert cli.main([*flags, "--interactive"]) == 0
  printed = capsys.readouterr().out
  assert printed.endswith("\n") and len(printed) > 3
