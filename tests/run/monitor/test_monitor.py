"""A log that changes is told with its rows; one that stays the same is not; what is no log is one line."""

import json

import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.run import cli
from itune_jax.run.commands import monitor


def _log(path, rows, changed):
  rng = np.random.default_rng(0)
  old, new = ["sum", "list", "words", "the", "sort"], ["visa", "refund", "account", "the", "card"]
  with open(path, "w") as f:
    for k in range(rows):
      moved = changed and k >= rows * 2 // 3
      prompt = " ".join(rng.choice(new if moved else old, 8)) + f" {k}"
      answer = "I'm sorry, but I cannot help." if moved and k % 3 == 0 else " ".join(rng.choice(old, 6))
      row = {
        "prompt": prompt,
        "completion": answer,
        "at": f"2026-01-{1 + k // 100:02d}T00:00:{k % 60:02d}",
        "judge": 0.5 + k % 2,
      }
      f.write(json.dumps(row) + "\n")
    f.write("broken\n")


def _run(*flags):
  return monitor.from_flags(cli.find("monitor").parse(list(flags)))


@pytest.mark.parametrize("changed", [False, True])
def test_a_change_is_told_and_its_rows_are_kept(tmp_path, changed):
  _log(tmp_path / "log.jsonl", 610, changed)
  out = tmp_path / "out"
  told = _run(str(tmp_path / "log.jsonl"), f"--out={out}", "--window=50", "--time=at", "--score=judge", "--label=20")
  stored = json.loads((out / "monitor.json").read_text())
  assert (told["rows"], told["windows"]) == (610, 12) and "left out" in " ".join(stored["notes"])
  assert any("no whole window" in note for note in stored["notes"])
  if not changed:
    assert told["signals"] <= 1
    return
  named = " ".join(stored["signals"])
  assert "words of prompts, window 9" in named and "refusals, window 9" in named and "score" not in named
  rows = [json.loads(line) for line in (out / "label.jsonl").read_text().splitlines()]
  assert len(rows) == told["to_label"] == 20 and all("window" in row["why"] for row in rows)
  assert "visa" in rows[0]["messages"][0]["content"] or "refund" in rows[0]["messages"][0]["content"]
  assert (out / "monitor.html").read_text().count("<svg") == len(stored["charts"]) == 7


@pytest.mark.parametrize(
  ("flags", "says"),
  [
    (["--window=400"], "more than the 5 of the baseline are needed"),
    (["--window=1"], "--window=1: it is 2 or more"),
    (["--window=20", "--score=prompt"], "it must be a number"),
  ],
)
def test_what_cannot_be_watched_is_one_line(tmp_path, flags, says):
  _log(tmp_path / "log.jsonl", 300, False)
  with pytest.raises(errors.InputError) as e:
    _run(str(tmp_path / "log.jsonl"), f"--out={tmp_path}/o", *flags)
  assert says in str(e.value) and "\n" not in str(e.value) and not (tmp_path / "o").exists()
