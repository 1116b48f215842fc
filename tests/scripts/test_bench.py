"""The benchmark prints its line for any file. Run by scripts/test.sh full."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
ROWS = [
  {"messages": [{"role": "user", "content": f"Say {n}."}, {"role": "assistant", "content": str(n) * 40}]}
  for n in range(24)
]


@pytest.mark.full
@pytest.mark.parametrize(
  "job,rows,flags,figures",
  [
    ("sft", ROWS, ("--data", "--steps=3"), ("trained_tokens_per_s", "first_step_s", "peak_rss_gib")),
    ("generate", [{"prompt": "Count to ten."}] * 4, ("--prompts",), ("new_tokens_per_s", "peak_rss_gib")),
    (
      "choices",
      [{"question": "2+2?", "choices": ["it is four", "it is two"]}] * 3,
      ("--data", "--turns=1"),
      ("contexts",),
    ),
    ("score", ROWS, ("--data", "--rows=8"), ("scored_tokens_per_s", "nll_per_token", "peak_rss_gib")),
  ],
)
def test_a_job_prints_its_figures(job, rows, flags, figures, tmp_path):
  file = tmp_path / "rows.jsonl"
  file.write_text("".join(json.dumps(row) + "\n" for row in rows))
  command = [sys.executable, "scripts/bench.py", job, flags[0], str(file), *flags[1:]]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
  line = json.loads(done.stdout.splitlines()[-1])
  print(line)
  assert line["job"] == job and all(line[name] > 0 for name in figures)
