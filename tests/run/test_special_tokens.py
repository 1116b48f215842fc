"""New special tokens from the command line: trained as rows of their own, exported in a longer table."""

import json

import pytest

from itune_jax.core import files
from itune_jax.run import cli
from tests.models import folders

ROWS = [
  {"messages": [{"role": "user", "content": f"<think>{n}"}, {"role": "assistant", "content": f"{n}<done>"}]}
  for n in range(24)
]


@pytest.mark.full
def test_special_tokens_train_and_are_exported(tmp_path, capsys):
  folder = folders.write("llama", tmp_path / "hf")
  folders.write_tokenizer(folder)
  (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
  recipe = [
    "--gin_file=recipes/any_lora.gin",
    f"--gin.BASE='{folder}'",
    f"--gin.DATA='{tmp_path / 'data.jsonl'}'",
    "--gin.specs.Model.special_tokens=('<think>', '<done>')",
    "--gin.STEPS=3",
    "--gin.chat.Rendering.max_length=32",
    "--gin.feed.Packing.row_length=64",
  ]
  assert cli.main(["prepare", *recipe]) == 0
  assert cli.main(["train", *recipe, f"--run_dir={tmp_path / 'run'}"]) == 0, capsys.readouterr().err
  assert cli.main(["merge", f"--adapter={tmp_path / 'run'}", f"--out={tmp_path / 'm'}"]) == 0, capsys.readouterr().err
  assert files.read_json(str(tmp_path / "m" / "config.json"))["vocab_size"] == 98
  assert cli.main(["generate", f"--gin.specs.Model.base='{tmp_path / 'm'}'", "--prompt=<think>4"]) == 0
