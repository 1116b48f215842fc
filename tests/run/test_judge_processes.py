"""A model in two processes and a judge at an endpoint: each verdict is paid for once, figures are those of one."""

import json
import pathlib
import sys

import pytest

from tests.parts import server
from tests.run import several

COUNT = 6


def run(out, data, url, processes):
  """`itune eval` with a judge as so many processes, with four devices in all; what the first one printed."""
  line = [sys.executable, "-m", "itune_jax.run.cli", "eval", "--gin_file=recipes/llama_tiny.gin"]
  line += ["--gin_file=mesh/auto.gin", "--suite=alpaca_eval", f"--out={out}", f"--data_dir={data}"]
  line += ["--max_new_tokens=4", f"--judge={url}", "--judge_model=j"]
  running = several.start(out, line, processes)
  assert [p.wait(900) for p in running] == [0] * processes, pathlib.Path(f"{out}.0.err").read_text()[-900:]
  return several.figures(out)


@pytest.mark.full
def test_a_judge_is_asked_once_whatever_the_number_of_processes(tmp_path):
  folder = tmp_path / "data" / "alpaca_eval"
  folder.mkdir(parents=True)
  rows = [{"instruction": f"do {i}", "output": f"base {i}", "generator": "base", "dataset": "d"} for i in range(COUNT)]
  (folder / "gpt4_1106_preview_outputs.json").write_text(json.dumps(rows))
  asked = []

  def say(name, tries):
    """Another answer to each try: whoever asks again goes on with another one."""
    return {"content": "mM"[(len(name) + tries) % 2], "tokens": 7}

  found = []
  with server.serving(say) as there:  # one address for both: it is part of the judge's key
    for processes in (1, 2):
      there.tries.clear()
      there.bodies.clear()
      found.append(run(tmp_path / str(processes), tmp_path / "data", there.url, processes))
      asked.append(sorted(body["messages"][-1]["content"] for body, _ in there.bodies))
  assert asked[0] == asked[1] and len(asked[0]) >= COUNT and len(set(asked[1])) == len(asked[1])
  assert found[0] == found[1]
  read = lambda name, n: (tmp_path / str(n) / name).read_text()
  assert read("alpaca_eval.jsonl", 1) == read("alpaca_eval.jsonl", 2)
  print(f"{len(asked[1])} questions to the judge in one process and in two; figures {found[1]}")
