"""What must not grow: compile time with depth, memory while loading. Run by scripts/test.sh full."""

import dataclasses
import json
import subprocess
import sys
import time

import jax
import pytest

from itune_jax.models import load
from itune_jax.objectives import sft
from itune_jax.train import step as step_lib
from tests import tiny

CONFIG = dataclasses.replace(tiny.CONFIG, width=64, mlp=128, head_dim=16)


def compile_seconds(depth):
  base = tiny.base(cfg=dataclasses.replace(CONFIG, depth=depth))
  batch = jax.tree.map(lambda x: x[None], tiny.packed(tiny.examples(8), 64))
  found = []
  for _ in range(4):
    bind = tiny.binder(base.module)
    run = jax.jit(lambda t, b, bind=bind: step_lib.gradients(bind, sft.Sft(chunk=16), t, {}, b, jax.random.key(0)))
    start = time.perf_counter()
    run.lower(base.params, batch).compile()
    found.append(time.perf_counter() - start)
  return min(found)


@pytest.mark.full
def test_compile_time_does_not_grow_with_depth():
  shallow, deep = compile_seconds(8), compile_seconds(32)
  print(json.dumps({"compile_s_8_layers": round(shallow, 2), "compile_s_32_layers": round(deep, 2)}))
  assert deep <= 1.2 * shallow


LOADING = """
import json, sys, jax
from itune_jax.core import axes
from itune_jax.models import load
from tests import tiny
def status(field):
  return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(field))
the_mesh = tiny.mesh(1)
load.load(sys.argv[2], mesh=the_mesh, rules=axes.DEFAULT_RULES)  # what libraries and programs take
open("/proc/self/clear_refs", "w").write("5")
base = load.load(sys.argv[1], mesh=the_mesh, rules=axes.DEFAULT_RULES)
jax.block_until_ready(base.params)
print(json.dumps({"peak": status("VmHWM"), "final": status("VmRSS")}))
"""


@pytest.mark.full
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_loading_takes_little_more_than_the_model(tmp_path, dtype):
  """Peak minus final resident memory, at most 1.3 times the largest tensor; the first load is of a twin, to warm up."""
  cfg = dataclasses.replace(CONFIG, vocab=32768, width=1024, mlp=4096, heads=16, kv_heads=8, head_dim=64, depth=6)
  for seed in (0, 1):
    base = tiny.base(cfg=cfg, seed=seed)
    load.save_hf(str(tmp_path / str(seed)), base.module, base.params, dtype=dtype)
  command = [sys.executable, "-c", LOADING, str(tmp_path / "0"), str(tmp_path / "1")]
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  memory = json.loads(done.stdout.splitlines()[-1])
  largest = 32768 * 1024 * 4
  over = (memory["peak"] - memory["final"]) / largest
  print(json.dumps({"dtype": dtype, **memory, "over_final_in_largest_tensors": round(over, 2)}))
  assert over <= 1.3
