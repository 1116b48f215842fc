"""`itune plan --choose_remat`: what is compiled, what is chosen, and that its flags train so."""

import dataclasses
import json
import shlex

import pytest

from itune_jax.nn import stack
from itune_jax.run import cli
from itune_jax.run import gin_setup
from itune_jax.run.commands import train
from itune_jax.run.plan import gpu
from itune_jax.run.plan import programs
from itune_jax.run.plan import remat as remat_lib
from itune_jax.run.plan import shapes
from itune_jax.run.plan import topology as topology_lib

RECIPE = "recipes/llama_tiny.gin"


@pytest.fixture
def run():
  gin_setup.parse("train", [RECIPE], [])
  return gin_setup.call(train.Train)


def planned(steps, room):
  """A plan whose policies take 1, 2, … GiB and these seconds; what it was asked for is kept in `asked`."""
  asked = []

  def plan(run):
    asked.append(run.remat)
    peak = float(len(asked))
    if peak > room + 1:  # what the compiler gives up on has no figures
      return {"fits": False, "reason": "far too large"}
    return {"fits": peak <= room, "peak_gib_per_chip": peak, "step_s": steps[len(asked) - 1]}

  return plan, asked


def test_the_shortest_step_that_fits_is_chosen_and_nothing_behind_the_first_that_does_not_is_compiled(run):
  plan, asked = planned([5, 3, 4, 1, 1, 1], room=3)
  found = remat_lib.choose(run, plan)
  assert stack.Remat(**found["remat"]) == remat_lib.LADDER[1] and found["step_s"] == 3
  assert asked == list(remat_lib.LADDER[:4]) and [one["fits"] for one in found["tried"]] == [True] * 3 + [False]


def test_where_all_fit_all_are_compiled(run):
  plan, asked = planned([6, 5, 4, 3, 2, 1], room=16)
  assert remat_lib.choose(run, plan)["remat"]["policy"] == "none" and asked == list(remat_lib.LADDER)


@pytest.mark.parametrize("room", [0, -1])
def test_where_none_fits_the_leanest_is_the_answer(run, room):
  plan, asked = planned([1], room)
  found = remat_lib.choose(run, plan)
  assert not found["fits"] and found["remat"]["policy"] == "full" and len(asked) == 1


def test_every_policy_keeps_what_the_one_before_keeps():
  kept = [set(remat.names) for remat in remat_lib.LADDER if remat.policy == "taps"]
  assert all(less < more for less, more in zip(kept, kept[1:], strict=False)) and kept[-1] == set(stack.TAPS)
  assert (remat_lib.LADDER[0].policy, remat_lib.LADDER[-1].policy) == ("full", "none")


@pytest.mark.parametrize("remat", remat_lib.LADDER, ids=remat_lib.in_words)
def test_the_flags_are_those_of_the_policy(remat):
  overrides = [flag.removeprefix("--gin.") for flag in shlex.split(remat_lib.flags(remat))]
  gin_setup.parse("train", [RECIPE], overrides)
  assert gin_setup.call(train.Train).remat == remat


def test_it_is_for_the_training_step(capsys):
  argv = ["plan", f"--gin_file={RECIPE}", "--topology=v5e:2x2", "--choose_remat", "--program=score"]
  assert cli.main(argv) == 2 and "--choose_remat compiles the training step" in capsys.readouterr().err


@pytest.mark.full
def test_the_compiler_says_which(capsys, tmp_path):
  pytest.importorskip("libtpu")
  recipe, topology = "recipes/llama3_8b_lora_qv.gin", "v5e:4x4"
  argv = ["plan", f"--gin_file={recipe}", f"--topology={topology}", "--gin.DATA='any.jsonl'"]
  assert cli.main([*argv, "--choose_remat", f"--html={tmp_path}/plan.html"]) == 0
  found = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
  peaks = [one["peak_gib_per_chip"] for one in found["tried"] if one["fits"]]
  assert peaks == sorted(peaks) and found["fits"] and found["remat"]["policy"] == "taps"
  assert found["step_s"] < 0.9 * found["tried"][0]["step_s"]
  assert "The shortest step that fits" in (tmp_path / "plan.html").read_text()
  # The formulas for GPUs keep what the compiler keeps.
  gin_setup.parse("train", [recipe], ["DATA = 'any.jsonl'"])
  run = gin_setup.call(train.Train)
  for remat, peak in zip(remat_lib.LADDER, peaks, strict=False):
    model = shapes.open_model(dataclasses.replace(run, remat=remat), topology_lib.devices_of(topology))
    sizes = programs.train(model).parts | gpu.activations(model)
    assert sum(sizes.values()) == pytest.approx(peak, rel=0.12), remat
