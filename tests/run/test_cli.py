"""The command line: bad input as one line with the right exit code."""

import os

import pytest

from itune_jax.run import cli


def run(capsys, *argv):
  code = cli.main(list(argv))
  out = capsys.readouterr()
  return code, out.out, out.err


@pytest.mark.parametrize(
  "argv,words",
  [
    (["fly"], "unknown command 'fly'; commands are prepare, train"),
    (
      ["train", "--gin_file=nowhere.gin", "--run_dir=x"],
      "nowhere.gin: no such file; recipes are any_lora.gin, demo.gin",
    ),
    (
      ["train", "--gin_file=recipes/demo.gin", "--gin.STEP=3", "--run_dir=x"],
      "STEP is set, but nothing refers to it: it would have no effect; did you mean STEPS?",
    ),
    (["train", "--gin_file=recipes/demo.gin", "--gin.lora.Lora.rnk=3", "--run_dir=x"], "rnk"),
    (
      ["train", "--gin_file=recipes/demo.gin", "--gin.lora.Lora.rank='3'", "--run_dir=x"],
      "Lora.rank = '3' (str); it takes int",
    ),
    *(
      (["train", "--gin_file=recipes/llama_tiny.gin", f"--gin.{name}", "--run_dir=x"], words)
      for name, words in (
        ("PEFT=lora", "PEFT must be a tuple of one method or more"),
        ("PEFT=()", "PEFT must be a tuple of one method or more"),
        ("PEFT=@full.Full()", "PEFT must be a tuple of one method or more"),
        ("OBJECTIVE=3", "OBJECTIVE must be an Objective"),
        ("MESH='cpu1'", "MESH must be a MeshSpec or Auto, such as a part of gin_configs sets, not 'cpu1'"),
        ("EVALS=3", "EVALS must be a tuple or list"),
        ("PACKING=3", "PACKING must be a Packing"),
      )
    ),
    (["train", "--gin_file=recipes/demo.gin", "--gin.STEPS", "--run_dir=x"], "write it as --gin.NAME=VALUE"),
    (
      ["train", "--gin_file=recipes/llama_tiny.gin", "--gin.full.Full.params='wq'", "--run_dir=x"],
      "matches no parameter",
    ),
    (
      ["train", "--gin_file=recipes/llama_tiny.gin", "--gin.chat.Rendering.max_length=77", "--run_dir=x"],
      "not prepared",
    ),
    (["prepare", "--gin_file=recipes/smollm2_lora.gin", "--gin.DATA='no/such.jsonl'"], "no/such.jsonl: no such file"),
    (["generate"], "nothing to answer: give --prompt"),
    (["generate", "--prompt=x", "--gin.specs.Model.base='./none.gguf'"], "none.gguf: no such file or folder"),
    (["generate", "--prompt=x", "--adapter=/nowhere"], "/nowhere: no run directory with a committed checkpoint"),
    (["export", "--adapter=/nowhere", "--out=/tmp/none"], "/nowhere: no run directory"),
    (["report", "--run_dir=/nowhere"], "not a run directory"),
    (["eval", "--gin_file=recipes/llama_tiny.gin"], "no evaluators"),
  ],
  ids=lambda x: "-".join(x)[:60] if isinstance(x, list) else "",
)
def test_bad_input_is_one_line_and_exit_code_2(capsys, argv, words):
  code, _, err = run(capsys, *argv)
  last = err.strip().splitlines()[-1]
  assert code == 2 and words in last and "Traceback" not in err


def test_data_that_is_not_prepared_is_told_before_the_base_is_loaded(capsys, monkeypatch):
  monkeypatch.setattr("itune_jax.run.loading.base", None)  # calling it would be a traceback
  code, _, err = run(
    capsys, "train", "--gin_file=llama_tiny", "--gin.chat.Rendering.max_length=78", "--run_dir=x", "--dry_run"
  )
  assert code == 2 and "run `itune prepare` with the same recipe and values first" in err and len(err.splitlines()) == 1


def test_hub_name_without_a_network_says_so(capsys, monkeypatch):
  monkeypatch.setenv("HF_HUB_OFFLINE", "1")
  code, _, err = run(capsys, "generate", "--prompt=x", "--gin.specs.Model.base='nobody/nothing-at-all'")
  assert code == 2 and "the Hugging Face hub cannot give it" in err


@pytest.mark.heavy
def test_full_disk_is_one_line_and_exit_code_1(capsys, monkeypatch, tmp_path):
  made = os.makedirs

  def no_space(name, *args, **kwargs):
    if str(name).startswith(str(tmp_path)):
      raise OSError(28, "No space left on device", str(tmp_path))
    made(name, *args, **kwargs)

  monkeypatch.setattr("itune_jax.core.files.os.makedirs", no_space)
  code, _, err = run(capsys, "import", "--source=smollm2-135m-instruct", f"--out={tmp_path}/m")
  assert code == 1 and "No space left" in err.strip().splitlines()[-1]
  assert not list(tmp_path.iterdir())
