"""`itune inspect`: rendered tokens in the terminal, packed rows on a page."""

import json

from itune_jax.run import cli


def test_inspect_data_and_batch(capsys, tmp_path, monkeypatch):
  recipe = ["--gin_file=recipes/llama_tiny.gin"]
  assert cli.main(["prepare", *recipe]) == 0
  capsys.readouterr()
  assert cli.main(["inspect", "data", *recipe, "--examples=2"]) == 0
  out = capsys.readouterr().out
  assert "\033" not in out and "⟦" in out and json.loads(out.strip().splitlines()[-1])["examples"] == 2
  monkeypatch.setattr("itune_jax.run.console.in_colour", lambda stream: True)
  assert cli.main(["inspect", "data", *recipe, "--examples=2"]) == 0
  out = capsys.readouterr().out
  assert (
    "\033[30;42m" in out and "\033[2m<|im_start|>" in out and json.loads(out.strip().splitlines()[-1])["examples"] == 2
  )
  assert cli.main(["inspect", "batch", *recipe, "--step=3", f"--html={tmp_path}/b.html"]) == 0
  counts = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
  page = (tmp_path / "b.html").read_text()
  assert (
    counts["rows"] == 4 and counts["segments"] > 4 and page.count("<h2>") == counts["segments"] and 'class="t"' in page
  )
