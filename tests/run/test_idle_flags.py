"""A flag that nothing reads is refused, and so is a file that could not be written: before anything is loaded."""

import os

import pytest

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.run import cli
from itune_jax.run import specs
from itune_jax.run.commands import import_
from itune_jax.run.plan import topology

GENERATE, EXPORT, MERGE = ["generate"], ["export", "--out=o"], ["merge", "--out=o", "--adapter=a", "--adapter=b"]
IDLE = [
  (GENERATE, ["--prompt=a", "--continue_final_message"], "goes on from the answers of --prompts alone"),
  (GENERATE, ["--prompt=a", "--prompts=f", "--continue_final_message"], "goes on from the answers of --prompts alone"),
  (GENERATE, ["--prompts=f", "--image=i.png"], "--image goes before each --prompt"),
  (GENERATE, ["--interactive", "--prompt=a"], "--interactive asks for prompts by itself"),
  (GENERATE, ["--interactive", "--output=f"], "--interactive asks for prompts by itself"),
  (EXPORT, ["--format=peft"], "--format=peft writes an adapter: give --adapter"),
  (EXPORT, ["--format=peft", "--adapter=a", "--dtype=bfloat16"], "--dtype=bfloat16 is of --format=hf"),
  (EXPORT, ["--base_name=x"], "--base_name is of --format=peft"),
  (EXPORT, ["--without_base"], "--without_base is of --format=peft"),
  (MERGE, ["--weight=1"], "2 adapters and 1 weights"),
  (MERGE, ["--rank=4"], "--rank changes nothing with --format=hf --how=linear"),
  (MERGE, ["--format=lora", "--rank=4", "--factors"], "--rank changes nothing with .* --factors"),
  (MERGE, ["--format=lora", "--rank=4", "--dtype=bfloat16"], "--dtype changes nothing"),
  (MERGE, ["--density=0.5"], "--density changes nothing"),
  (MERGE, ["--how=slerp", "--seed=1"], "--seed changes nothing"),
  (MERGE, ["--factors", "--scale=2"], "--scale changes nothing"),
  (MERGE, ["--base_name=x"], "--base_name is of --format=lora"),
  (["inspect", "data", "--gin_file=r"], ["--step=1"], "--step changes nothing of data"),
  (["inspect", "data", "--gin_file=r"], ["--sample=5"], "--sample changes nothing of data"),
  (["inspect", "data", "--gin_file=r"], ["--examples=0"], "--examples=0: it is a whole number from 1"),
  (["inspect", "data", "--gin_file=r", "--html=p"], ["--examples=5"], "--examples changes nothing of data --html"),
  (["inspect", "data", "--gin_file=r", "--html=p"], ["--sample=0"], "--sample=0: it is a whole number from 1"),
  (["inspect", "batch", "--gin_file=r"], ["--step=-1"], "--step=-1: it is a whole number from 0"),
  (["inspect", "batch", "--gin_file=r"], ["--examples=5"], "--examples changes nothing of batch"),
  (["plan", "--gin_file=r", "--topology=v5e:2x2"], ["--slices=0"], "--slices=0: it counts slices"),
  (["plan", "--gin_file=r", "--topology=v5e:2x2"], ["--html=/"], "/: cannot be written: it is a folder"),
  (["push", "", "--repo=a/b", "--licence=mit"], [], "path is empty: give it a value"),
  (["compare", "runs/a", ""], [], "RUN is empty: give it a value"),
]


@pytest.mark.parametrize("command,flags,words", IDLE, ids=[" ".join([one[0][0], *one[1]]) for one in IDLE])
def test_a_flag_that_nothing_reads(command, flags, words):
  with pytest.raises(errors.InputError, match=words):
    cli.find(command[0]).parse([*command[1:], *flags])


@pytest.mark.parametrize(
  "command",
  [
    ["generate", "--prompts=f", "--continue_final_message", "--output=o"],
    ["generate", "--prompt=a", "--image=i.png"],
    ["export", "--out=o", "--format=peft", "--adapter=a", "--base_name=x"],
    ["merge", "--out=o", "--adapter=a", "--adapter=b", "--weight=1", "--weight=-1", "--how=ties", "--density=0.5"],
    ["merge", "--out=o", "--adapter=a", "--format=lora", "--rank=4", "--how=dare", "--seed=3", "--base_name=x"],
    ["inspect", "data", "--gin_file=r", "--html=page.html", "--sample=5"],
    ["inspect", "batch", "--gin_file=r", "--step=7"],
    ["recipes"],
  ],
)
def test_flags_that_go_together(command):
  cli.find(command[0]).parse(command[1:])


def test_import_reads_the_flags_of_what_its_source_is(tmp_path):
  folders = {"peft": "adapter_config.json", "model": "config.json"}
  for name, file in folders.items():
    files.write_json(str(tmp_path / name / file), {})
  for name, flag, words in (
    ("peft", "--dtype=bfloat16", "--dtype=bfloat16 is of whole models"),
    ("model", "--base=b", "--base is of adapters"),
    ("model", "--base_name=b", "--base_name is of adapters"),
  ):
    args = cli.find("import").parse([f"--source={tmp_path / name}", "--out=o", flag])
    with pytest.raises(errors.InputError, match=words):
      import_.from_flags(args)


@pytest.mark.parametrize("count", ["0", "00", "65537"])
def test_gpus_that_nobody_has(count):
  with pytest.raises(errors.InputError, match="it is a number of GPUs, from 1 to 65,536"):
    topology.chips_of(f"h100:{count}")


def test_a_file_that_is_no_model(tmp_path):
  files.write_text(str(tmp_path / "rows.jsonl"), "{}")
  with pytest.raises(errors.InputError, match="a model is a Hugging Face folder, or a file that ends in .gguf"):
    specs.resolve(str(tmp_path / "rows.jsonl"))


def test_a_file_that_cannot_be_written_is_told_before_the_work(tmp_path, monkeypatch):
  files.write_text(str(tmp_path / "file"), "x")
  for good in ("new.jsonl", "file", "a/b/new.jsonl"):
    files.require_writable(str(tmp_path / good))
  for bad, words in (("", "it is a folder"), ("file/new.jsonl", "file is no folder")):
    with pytest.raises(errors.InputError, match=f"cannot be written: .*{words}"):
      files.require_writable(str(tmp_path / bad))
  monkeypatch.setattr(os, "access", lambda path, how: False)
  with pytest.raises(errors.InputError, match="may not be written into"):
    files.require_writable(str(tmp_path / "new.jsonl"))
