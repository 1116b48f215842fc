"""Every family through the command line: import, prepare, train three steps, generate, export both ways."""

import json

import pytest

from itune_jax.core import files
from itune_jax.run import cli
from tests.models import doc
from tests.models import folders

ROWS = [
  {"messages": [{"role": "user", "content": f"Say {n}."}, {"role": "assistant", "content": f"{n}!"}]} for n in range(24)
]


def run(capsys, *argv):
  """A command that must succeed; its last line, if that is JSON."""
  code = cli.main(list(map(str, argv)))
  out = capsys.readouterr()
  assert code == 0, f"{argv}: {out.err[-2000:]}"
  last = (out.out.strip().splitlines() or [""])[-1]
  return json.loads(last) if last.startswith("{") else last


def with_images(rows, pictures):
  """The same questions, each of a picture."""
  asked = lambda n, text: [{"type": "image", "image": pictures[n % len(pictures)]}, {"type": "text", "text": text}]
  return [
    {"messages": [{**row["messages"][0], "content": asked(n, row["messages"][0]["content"])}, row["messages"][1]]}
    for n, row in enumerate(rows)
  ]


def through_the_commands(family, tmp_path, capsys, *more):
  case = doc.cases_of(family)[0]
  folder = folders.write(case, tmp_path / "hf")
  folders.write_tokenizer(folder)
  rows, image = ROWS, []
  if doc.zoo.FAMILIES[family].kind == "vlm":
    folders.write_processor(case, folder)
    pictures = folders.write_images(tmp_path)
    rows, image = with_images(ROWS, pictures), [f"--image={pictures[0]}"]
  imported = run(capsys, "import", f"--source={folder}", f"--out={tmp_path / 'mine'}")
  (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  recipe = [
    "--gin_file=recipes/any_lora.gin",
    f"--gin.BASE='{tmp_path / 'mine'}'",
    f"--gin.DATA='{tmp_path / 'data.jsonl'}'",
    "--gin.STEPS=3",
    "--gin.chat.Rendering.max_length=32",
    "--gin.feed.Packing.row_length=64",
    *more,
  ]
  prepared = run(capsys, "prepare", *recipe)
  assert prepared["sources"][0]["kept"] == len(rows)
  run(capsys, "train", *recipe, f"--run_dir={tmp_path / 'run'}")
  losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
  assert len(losses) == 3 and all(0 < loss < 1e3 for loss in losses)
  decode = "--gin.decode.Decode.max_new_tokens=4"
  run(capsys, "generate", f"--adapter={tmp_path / 'run'}", "--prompt=Say 4.", *image, decode)
  peft = run(capsys, "export", f"--adapter={tmp_path / 'run'}", "--format=peft", f"--out={tmp_path / 'peft'}")
  run(capsys, "generate", f"--adapter={tmp_path / 'peft'}", "--prompt=Say 4.", *image, decode)
  return imported, peft


@pytest.mark.full
def test_commands(tmp_path, capsys):
  """The family that is least like the others; all of them run in `full`."""
  family = "t5"
  imported, peft = through_the_commands(family, tmp_path, capsys)
  assert imported["logit_parity"] < 1e-5 and peft["logit_parity"] < 1e-5
  out = tmp_path / "merged"
  merged = run(capsys, "merge", f"--adapter={tmp_path / 'run'}", f"--out={out}")
  assert merged["logit_parity"] < 1e-4 and files.read_json(str(out / "config.json"))["model_type"] == family


@pytest.mark.full
@pytest.mark.parametrize("family", sorted(doc.zoo.FAMILIES))
def test_commands_of_every_family(family, tmp_path, capsys):
  imported, peft = through_the_commands(family, tmp_path, capsys)
  assert imported["logit_parity"] < 1e-5 and peft["logit_parity"] < 1e-5
  merged = run(capsys, "export", f"--adapter={tmp_path / 'run'}", "--format=hf", f"--out={tmp_path / 'merged'}")
  assert merged["logit_parity"] < 1e-4
  with capsys.disabled():
    print(json.dumps({"family": family, "imported": imported["logit_parity"], "merged": merged["logit_parity"]}))


@pytest.mark.full
def test_a_quantised_base_trains_and_merges_only_when_told(tmp_path, capsys):
  through_the_commands("llama", tmp_path, capsys, "--gin_file=overlays/qlora.gin")
  argv = ["merge", f"--adapter={tmp_path / 'run'}", f"--out={tmp_path / 'merged'}"]
  assert cli.main(argv) == 2 and "give --dequantise" in capsys.readouterr().err
  run(capsys, *argv, "--dequantise")
