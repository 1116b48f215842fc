"""`itune plan`: the real step compiled by the TPU compiler, on a machine without one."""

import json
import math
import os
import subprocess
import sys

import jax
from jax.experimental.compilation_cache import compilation_cache as cache_lib
import pytest

from itune_jax.run import cli
from itune_jax.run import gin_setup
from itune_jax.run.commands import train
from itune_jax.run.plan import gpu
from itune_jax.run.plan import programs
from itune_jax.run.plan import shapes
from itune_jax.run.plan import topology as topology_lib
from tests import test_gin

libtpu = pytest.importorskip("libtpu", reason="the TPU compiler is not installed: pip install libtpu")

# Devices by mesh part. Here they are shapes, so TPUs stand in for as many GPUs.
PODS = {"v5e_16": "v5e:4x4", "v5e_256": "v5e:16x16", "v5p_64": "v5p:4x4x4", "h100_8": "v5e:2x4", "h100_64": "v5e:8x8"}


def plan(capsys, *argv):
  code = cli.main(["plan", *argv])
  out = capsys.readouterr()
  assert code == 0, out.err[-2000:]
  return json.loads(out.out.strip().splitlines()[-1])


def test_a_tiny_step_with_splash_attention_compiles_and_fits(capsys, tmp_path):
  found = plan(
    capsys,
    "--gin_file=recipes/llama_tiny.gin",
    "--gin_file=mesh/v5e_16.gin",
    "--gin_file=precision/bf16_master.gin",
    "--topology=v5e:2x2",
    f"--html={tmp_path}/plan.html",
  )
  assert found["chips"] == 4 and found["hbm_gib_per_chip"] == 16 and found["fits"]
  sizes = found["gib_per_chip"]
  assert 0 < sizes["trained"] < sizes["optimizer"] and sum(sizes.values()) == pytest.approx(
    found["peak_gib_per_chip"], abs=2e-3
  )
  assert 1 < found["flops_over_6nd"] < 4 and set(found["collective_bytes_per_chip"]) == {"fsdp"}
  assert found["step_s"] > 0 and 0 < found["mfu"] < 1 and found["compile_s"] > 0
  assert "it fits" in (tmp_path / "plan.html").read_text()


@pytest.mark.parametrize("program", ["score", "choices", "prefill", "prefill_next", "decode"])
@pytest.mark.by_default(0, heavy=3)
def test_programs_of_the_evaluators_compile(program, capsys):
  recipe = ("--gin_file=recipes/llama_tiny.gin", "--gin_file=mesh/v5e_16.gin", "--gin.feed.Packing.rows=8")
  found = plan(capsys, *recipe, "--topology=v5e:2x2", f"--program={program}")
  assert found["program"] == program and found["fits"] and found["step_s"] > 0 and found["gib_per_chip"]["weights"] > 0
  assert found["positions_per_step"] == {"decode": 8 * 64, "choices": 8 * 4 * 16}.get(program, 8 * 256)
  # No keys or values travel, and no kernels for one token: bytes that a chip receives.
  limit = {"prefill": 2e5, "prefill_next": 2e5, "decode": 2e4}.get(program, math.inf)
  assert sum(found["collective_bytes_per_chip"].values()) < limit


@pytest.fixture
def compilation_cache(tmp_path):
  """A folder that JAX's persistent cache is in."""
  before = jax.config.jax_compilation_cache_dir
  jax.config.update("jax_compilation_cache_dir", str(tmp_path))
  cache_lib.reset_cache()
  yield
  jax.config.update("jax_compilation_cache_dir", before)
  cache_lib.reset_cache()


@pytest.mark.usefixtures("compilation_cache")
@pytest.mark.heavy
def test_plans_leave_the_compilation_cache_alone(capsys):
  # What is compiled for chips that are not there cannot be read back: JAX would warn on every later plan.
  recipe = ("--gin_file=recipes/llama_tiny.gin", "--gin_file=mesh/v5e_16.gin", "--gin.feed.Packing.rows=4")
  for _ in range(2):
    assert plan(capsys, *recipe, "--topology=v5e:2x2", "--program=score")["fits"]


@pytest.mark.parametrize("recipe", test_gin.PODS, ids=lambda p: p.stem)
@pytest.mark.by_default(1)
def test_recipes_for_pods_build(recipe, capsys):
  topology = next(t for mesh, t in PODS.items() if f"mesh/{mesh}.gin" in recipe.read_text())
  found = plan(capsys, f"--gin_file={recipe}", f"--topology={topology}", "--dry_run", "--gin.DATA='any.jsonl'")
  assert found["parameters"] > 8e9


LIMITS = [  # GiB of a chip, and MFU
  ("llama3_8b_lora_qv", "v5e:4x4", 2.4, 0.4),
  ("llama3_8b_full", "v5e:16x16", 4.4, 0.55),
  ("llama3_70b_lora", "v5p:4x4x4", 95.0, 0.5),
]


@pytest.mark.full
@pytest.mark.parametrize("recipe,topology,limit,mfu", LIMITS)
def test_memory_and_speed_of_a_chip(recipe, topology, limit, mfu, capsys):
  found = plan(capsys, f"--gin_file=recipes/{recipe}.gin", f"--topology={topology}", "--gin.DATA='any.jsonl'")
  with capsys.disabled():
    print(json.dumps(found))
  assert found["fits"] and found["peak_gib_per_chip"] <= limit and found["mfu"] >= mfu
  # The formulas for GPUs, beside what a compiler says.
  gin_setup.parse("train", [f"recipes/{recipe}.gin"], ["DATA = 'any.jsonl'"])
  model = shapes.open_model(gin_setup.call(train.Train), topology_lib.devices_of(topology))
  step = programs.train(model)
  assert sum((step.parts | gpu.activations(model)).values()) == pytest.approx(found["peak_gib_per_chip"], rel=0.2)
  chip_positions = found["positions_per_step"] / found["chips"]
  assert gpu.arithmetic(model, step.useful) * chip_positions == pytest.approx(found["flops_per_chip"], rel=0.1)


DPO = ("--gin_file=recipes/llama3_8b_dpo.gin", "--gin.DATA='any.jsonl'", "--topology=v5e:4x4")


@pytest.mark.full
def test_what_a_reference_costs(capsys):
  """DPO of an 8B with the base as its reference, with a second copy of it, and with log-probs beside the data."""
  ways = {"adapters off": (), "apart": ("reference_apart",), "stored": ("reference_stored",)}
  found = {
    name: plan(capsys, *DPO, *(f"--gin_file=overlays/{overlay}.gin" for overlay in overlays))
    for name, overlays in ways.items()
  }
  with capsys.disabled():
    for name, one in found.items():
      print(json.dumps({"reference": name} | {key: one[key] for key in ("peak_gib_per_chip", "step_s", "mfu", "fits")}))
  assert all(one["fits"] and one["mfu"] > 0.3 for one in found.values())
  copy = 2 * found["apart"]["parameters"] / found["apart"]["chips"] / 2**30  # bfloat16, on each chip
  assert "views" not in found["adapters off"]["gib_per_chip"] and "views" not in found["stored"]["gib_per_chip"]
  assert found["apart"]["gib_per_chip"]["views"] == pytest.approx(copy, rel=0.03)
  assert found["apart"]["peak_gib_per_chip"] > found["adapters off"]["peak_gib_per_chip"] + 0.8 * copy
  assert found["stored"]["step_s"] < 0.85 * found["adapters off"]["step_s"]


@pytest.mark.full
def test_a_teacher_of_70b_for_a_student_of_8b(capsys):
  parts = ("recipes/llama3_8b_full.gin", "mesh/v5p_64.gin", "overlays/teacher_70b.gin")
  flags = [f"--gin_file={part}" for part in parts]
  found = plan(capsys, *flags, "--gin.DATA='any.jsonl'", "--gin.feed.Packing.rows=64", "--topology=v5p:4x4x4")
  with capsys.disabled():
    print(json.dumps(found))
  assert found["fits"] and found["mfu"] > 0.4
  assert found["gib_per_chip"]["views"] == pytest.approx(2 * 70.5e9 / 64 / 2**30, rel=0.03)


@pytest.mark.full
def test_a_packed_base_travels_and_is_read_packed(capsys):
  """Bytes that a chip receives in a training step, and moves to and from its memory in a round of decoding."""
  recipe, rows = "--gin_file=recipes/llama3_8b_lora_qv.gin", "--gin.feed.Packing.rows=64"
  packed = "--gin_file=overlays/qlora.gin"
  compiled = lambda *flags: plan(capsys, recipe, "--topology=v5e:4x4", "--gin.DATA='any.jsonl'", *flags)
  plain, ours = compiled(), compiled(packed)
  received = [sum(found["collective_bytes_per_chip"].values()) for found in (plain, ours)]
  rounds = [compiled(rows, "--program=decode", *more)["bytes_per_chip"] for more in ((), (packed,))]
  with capsys.disabled():
    print(f"received {received[1] / received[0]:.2f} of bfloat16's; a step {ours['step_s'] / plain['step_s']:.2f}")
    print(f"a round of decoding reads and writes {rounds[1] / rounds[0]:.2f}")
  assert ours["parameters"] == plain["parameters"]
  assert received[1] < 0.3 * received[0] and ours["step_s"] < plain["step_s"] and rounds[1] < rounds[0]


@pytest.mark.parametrize("recipe,topology", [("llama3_8b_lora_h100", "h100:8"), ("llama3_8b_full_h100", "h100:64")])
@pytest.mark.heavy
def test_gpus_are_an_estimate(recipe, topology):
  command = [
    sys.executable,
    "-m",
    "itune_jax.run.cli",
    "plan",
    f"--gin_file=recipes/{recipe}.gin",
    f"--topology={topology}",
  ]
  env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
  done = subprocess.run([*command, "--gin.DATA='any.jsonl'"], capture_output=True, text=True, env=env, check=True)
  found = json.loads(done.stdout.splitlines()[-1])
  assert found["estimate"] and found["fits"] and "an estimate" in done.stderr
  assert found["collective_bytes_per_chip"]["fsdp"] > 0 and 0.2 < found["mfu"] < 1


def test_what_is_far_too_large_is_an_answer_and_no_traceback(capsys):
  flags = ("--gin_file=mesh/v5e_16.gin", "--gin.feed.Packing.rows=4096", "--gin.feed.Packing.row_length=16384")
  assert cli.main(["plan", "--gin_file=recipes/llama_tiny.gin", *flags, "--topology=v5e:2x2"]) == 0
  out = capsys.readouterr()
  found = json.loads(out.out.strip().splitlines()[-1])
  assert (
    found["fits"] is False
    and "Ran out of memory" in found["reason"]
    and "fewer rows a micro-batch" in " ".join(out.err.split())
  )


def test_bad_topologies_are_one_line(capsys):
  argv = ["plan", "--gin_file=recipes/llama_tiny.gin", "--topology=v5e:3x777"]
  assert cli.main(argv) == 2 and "--topology=v5e:3x777: the TPU compiler does not know it" in capsys.readouterr().err
