"""The benchmark prints its line for any file. Run by scripts/test.sh full."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
ROWS = [
  {"messages": [{"role": "user", "content": f"Say {n}."}, {"role": "assistant", "content": str(n) * 40}]}
  for n in range(24)
]


def run(command):
  """A benchmark as a user runs it: on one device and optimised, which the tests' own flags are not."""
  env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
  return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=env)


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
    ("methods", ROWS, ("--data", "--steps=1", "--only=lora"), ("lora",)),
    ("loader", ROWS, ("--data", "--batches=3"), ("batches_per_s", "positions_per_s")),
    ("score", ROWS, ("--data", "--rows=8"), ("scored_tokens_per_s", "nll_per_token", "peak_rss_gib")),
  ],
)
def test_a_job_prints_its_figures(job, rows, flags, figures, tmp_path):
  file = tmp_path / "rows.jsonl"
  file.write_text("".join(json.dumps(row) + "\n" for row in rows))
  command = [sys.executable, "scripts/bench.py", job, flags[0], str(file), *flags[1:]]
  done = run(command)
  line = json.loads(done.stdout.splitlines()[-1])
  print(line)
  assert line["job"] == job and all(line[name] > 0 if isinstance(line[name], float) else line[name] for name in figures)


@pytest.mark.full
def test_a_step_is_its_own_matmuls_and_little_else(tmp_path):
  """0.81 where it was measured; a quarter of a step is what attention on one core used to cost."""
  file = tmp_path / "rows.jsonl"
  file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
  line = json.loads(run([sys.executable, "scripts/bench.py", "matmuls", "--data", str(file)]).stdout.splitlines()[-1])
  print(line)
  assert line["matmuls_over_step"]["median"] >= 0.75


@pytest.mark.full
def test_more_devices_give_the_same_losses():
  command = [sys.executable, "scripts/bench.py", "devices", "--counts", "1", "4", "--positions=256", "--turns=1"]
  line = json.loads(run(command).stdout.splitlines()[-1])
  print(line)
  assert line["over_1"]["4"]["median"] > 0 and line["loss_off"]["4"] < 1e-5


@pytest.mark.full
def test_attentions_kernel_beside_the_loop():
  line = json.loads(run([sys.executable, "scripts/bench.py", "attention"]).stdout.splitlines()[-1])
  print(line)
  assert line["largest_difference"] < 1e-4 and line["ms"]["kernel_both"]["median"] < line["ms"]["loop_both"]["median"]


@pytest.mark.full
def test_depth_costs_little_to_compile():
  """Layers run in a scan: ten times as many take less than twice as long to trace, lower and compile."""
  done = run([sys.executable, "scripts/bench.py", "compile", "--layers", "3", "30"])
  line = json.loads(done.stdout.splitlines()[-1])
  print(line)
  assert sum(line["layers"]["30"].values()) < 2 * sum(line["layers"]["3"].values())


@pytest.mark.full
def test_programs_are_compared_in_turn(tmp_path):
  system = f"{sys.executable} -c 'print(dict(speed=%d).__repr__().replace(chr(39), chr(34)))'"
  command = [sys.executable, "scripts/bench.py", "compare", "--figures=speed", "--turns=2"]
  command += [f"--system=fast={system % 6}", f"--system=slow={system % 3}"]
  done = run(command)
  line = json.loads(done.stdout.splitlines()[-1])
  assert line["fast_over_slow"] == {"speed": {"min": 2.0, "median": 2.0, "max": 2.0}}


@pytest.mark.full
def test_cost_is_linear_in_positions_and_activations_are_flat_in_segments_and_vocabulary():
  """At most 10 % more a position at 4 and 8 times the positions; at most 5 % more activations at 4 times the words."""
  command = [sys.executable, "scripts/bench.py", "scaling", "--positions", "2048", "8192", "16384", "--turns=2"]
  done = run(command)
  line = json.loads(done.stdout.splitlines()[-1])
  print(line)
  assert all(line["over_2048"][positions]["median"] <= 1.1 for positions in ("8192", "16384"))
  for by in ("segments", "vocabulary"):
    sizes = list(line[f"activations_gib_by_{by}"].values())
    assert max(sizes) <= 1.05 * min(sizes)


@pytest.mark.full
@pytest.mark.parametrize("method, limit", [("dora", 1.1), ("oft", 1.2), ("hira", 1.4), ("boft", 2.0)])
def test_a_method_costs_no_more_than_it_should_beside_lora(method, limit, tmp_path):
  file = tmp_path / "rows.jsonl"
  file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
  command = [sys.executable, "scripts/bench.py", "methods", "--data", str(file), "--steps=5", "--only", "lora", method]
  done = run(command)
  line = json.loads(done.stdout.splitlines()[-1])
  print(line)
  assert line[method]["over_lora"] <= limit
