"""Rates that follow what is learned: by rule, in the loop, and the same when a run is stopped and goes on."""

import contextlib
import json
import math
import types
import typing

import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.core import pack
from itune_jax.data import feed as feed_lib
from itune_jax.data import mixture
from itune_jax.data import tokenised
from itune_jax.data import validation
from itune_jax.run import adapting
from itune_jax.run import cli
from itune_jax.run.report import charts
from itune_jax.select import mixing
from itune_jax.train import checkpoint
from itune_jax.train import hooks
from itune_jax.train import loop
from itune_jax.train import state as state_lib


class Rows(tokenised.Examples):
  """So many examples of seven ids each, all of them the source's number."""

  def __init__(self, count, number):
    self._count, self._number = count, number

  @property
  def lengths(self):
    return np.full(self._count, 6, np.int32)

  def __getitem__(self, index):
    return pack.Item(np.full(7, self._number, np.int32), np.ones(7, np.float32))


class Saved(checkpoint.Checkpointer):
  """Keeps what a checkpoint would hold of the state and of the source."""

  def __init__(self):
    self.found = {}

  def save(self, step, state, metrics, source=types.MappingProxyType({}), used=types.MappingProxyType({})):
    self.found[step] = (state, json.loads(json.dumps(dict(source))))
    return ""

  def finish(self):
    pass


class Stopped(hooks.contracts.Hook):
  """Ends the run when a step is published, and keeps the figures of mixing."""

  def __init__(self, at):
    self.at, self.figures = at, []

  def __call__(self, step, metrics):
    if "loss" not in metrics:
      self.figures.append((step, dict(metrics)))
    elif step == self.at:
      raise KeyboardInterrupt


def run(rule, *, steps=40, begins=None, stop=0):
  """A run whose parameters are how often each source was trained on: what a source still loses falls with it, that of
  `b` faster. `begins`: a checkpoint. Returns (digest of all batches, figures, checkpoints)."""
  feed = feed_lib.Feed(
    {"a": Rows(300, 0), "b": Rows(50, 1)},
    {"a": 0.5, "b": 0.5},
    feed_lib.Packing(row_length=30, rows=4, window=1024),
    seed=3,
  )
  state = state_lib.State({"seen": np.zeros(2)}, (), typing.cast(typing.Any, 0), typing.cast(typing.Any, None))
  if begins is not None:
    state, source = begins
    feed.restore(source)
  seen = []

  def step_fn(state, frozen, batch):
    seen.append((int(state.step), batch.tokens_BT.tobytes()))
    counts = np.bincount(batch.tokens_BT[batch.segments_BT > 0], minlength=2)
    new = state_lib.State({"seen": state.trainable["seen"] + counts}, (), state.step + 1, None)
    return new, {"finite": 1.0, "loss": 1.0, "padding_share": 0.0, "trained_tokens": 1.0}

  measure = lambda state, times: {
    name: 2.0 * math.exp(-rate * state.trainable["seen"][i] / 1e4)
    for i, (name, rate) in enumerate({"a": 0.2, "b": 3.0}.items())
  }
  saved, stopped = Saved(), Stopped(stop)
  made = loop.Loop(
    step_fn=step_fn,
    frozen={},
    source=feed,
    put=lambda batch: batch,
    steps=steps,
    hooks=[stopped, adapting.Mixer(rule, feed, measure)],
    evaluators=(),
    view=lambda trainable: None,
    record=lambda *given: None,
    checkpointer=saved,
    save_every=4,
    early_stop=loop.EarlyStop(),
    asked=lambda step: False,
    run_dir="",
  )
  with contextlib.suppress(KeyboardInterrupt):
    made.run(state)
  return seen, stopped.figures, saved.found, feed


RULE = mixing.ByLoss(every=6, step=8.0, even=0.1)


def test_the_source_that_is_learned_is_drawn_more_and_the_rates_hold_at_once():
  seen, figures, _, feed = run(RULE)
  assert [step for step, _ in figures] == list(range(0, 40, 6)), "measured before the first step and not at the end"
  rates = {"a": 0.5, "b": 0.5}
  for (_, before), (step, now) in zip(figures, figures[1:], strict=False):
    losses = [{n: one[f"mixing/{n}/loss"] for n in "ab"} for one in (before, now)]
    rates = RULE.adapt(rates, losses[1], losses[0])  # the rule is what is followed
    assert {n: now[f"mixing/{n}/rate"] for n in "ab"} == rates and rates["b"] > 0.5
    # Whole windows follow rates; what is trained behind a change does too, though a window is longer than the run.
    shares = [
      np.mean([name == "b" for row in feed.members(k) for name, _ in row]) for k in range(step, min(step + 6, 40))
    ]
    assert np.mean(shares) == pytest.approx(rates["b"], abs=0.12)
  assert len(seen) == 40 and feed.rates == rates


def test_a_run_that_is_stopped_anywhere_goes_on_bit_for_bit():
  seen, figures, _, whole = run(RULE)
  for stop in (5, 7, 13, 26, 31):
    _, first, saved, _ = run(RULE, stop=stop)
    begins = max(saved)
    again, later, _, feed = run(RULE, begins=saved[begins])
    assert again == seen[begins:] and feed.state() == whole.state()
    assert [one for one in first if one[0] <= begins] + later == figures
  # What ends early and is told to go on measures what the longer run would have.
  short = run(RULE, steps=12)
  again, later, _, feed = run(RULE, begins=short[2][12])
  assert again == seen[12:] and feed.state() == whole.state() and short[1] + later == figures


def test_a_figure_that_is_no_number_leaves_the_rates(capsys):
  rule = mixing.ByLoss(every=1)
  feed = run(rule, steps=1)[3]
  mixer = adapting.Mixer(rule, feed, lambda state, times: {"a": math.nan, "b": 1.0})
  before = feed.state()
  assert mixer.between(1, None) == {} and feed.state() == before
  assert "the loss of source a is no number: rates stay as they are" in capsys.readouterr().err


def test_excess_over_a_reference_is_what_moves_rates():
  """DoReMi's update by hand: α ∝ α exp(η max(ℓ - ℓ_ref, 0)), then (1 - c) α + c / n."""
  rates, rule = {"a": 0.5, "b": 0.3, "c": 0.2}, mixing.ByExcess(reference={"a": 1.0, "b": 2.0, "c": 1.5}, step=2.0)
  new = rule.adapt(rates, {"a": 1.25, "b": 1.0, "c": 2.0}, {})
  raw = {"a": 0.5 * math.exp(0.5), "b": 0.3, "c": 0.2 * math.exp(1.0)}
  total = sum(raw.values())
  assert new == pytest.approx({n: 0.9 * value / total + 0.1 / 3 for n, value in raw.items()})
  with pytest.raises(errors.InputError, match="reference has a; the sources are"):
    mixing.ByExcess(reference={"a": 1.0}).adapt(rates, {}, {})
  with pytest.raises(errors.InputError, match="source a is no number"):
    rule.adapt(rates, {"a": math.nan, "b": 1.0, "c": 2.0}, {})


def test_what_cannot_be_measured_is_refused():
  two = mixture.Mixture(name="m", sources=(mixture.Source(name="a", path="a"), mixture.Source(name="b", path="b")))
  alone = mixture.Mixture(name="m", sources=two.sources[:1])
  share = validation.Validation(fraction=0.1)
  with pytest.raises(errors.InputError, match="mixture m has one source"):
    share.measured(alone)
  with pytest.raises(errors.InputError, match="set VAL_FRACTION"):
    validation.Validation(data="task.jsonl").measured(two)
  assert [s.take for s in share.measured(two).sources] == ["held_out", "held_out"]
  (task,) = validation.Validation(data="task.jsonl").measured(two, task=True).sources
  assert task.path == "task.jsonl"


def test_the_report_shows_the_rates_of_each_source():
  lines = [{"step": s, "mixing/a/rate": 0.5 + s / 100, "mixing/b/rate": 0.5 - s / 100} for s in range(3)]
  (one,) = charts.charts(lines)
  assert one["title"] == "Rates of the sources" and one["alt"] == "Rates of the sources over 3 steps"


FLAGS = (
  "--gin_file=recipes/llama_tiny.gin",
  "--gin.VAL_FRACTION=0.2",
  "--gin.feed.Packing.rows=2",
  "--gin.checkpoint.Keep.every=2",
  "--gin.VAL_EVERY=100",
  "--gin.schedule.Schedule.kind='constant'",  # a decaying rate follows the number of steps
  "--gin.schedule.Schedule.warmup=0",
)


def figures_of(run_dir):
  return [line for line in hooks.Jsonl.read(str(run_dir / "metrics.jsonl")) if "mixing/one/rate" in line]


@pytest.mark.heavy
@pytest.mark.parametrize("rule", ["ByLoss", "ByAlignment"])
def test_the_command_changes_rates_and_goes_on_bit_for_bit(rule, tmp_path):
  (tmp_path / "two.gin").write_text(
    "from __gin__ import dynamic_registration\nfrom itune_jax.data import mixture\n"
    "from itune_jax.select import mixing\n"
    "MIXTURE = @mixture.Mixture()\nmixture.Mixture.name = 'two'\n"
    "mixture.Mixture.sources = (@one/mixture.Source(), @other/mixture.Source())\n"
    "one/mixture.Source.name = 'one'\none/mixture.Source.path = 'starter:train'\none/mixture.Source.limit = 60\n"
    "other/mixture.Source.name = 'other'\nother/mixture.Source.path = 'starter:train'\n"
    "other/mixture.Source.skip = 60\nother/mixture.Source.limit = 60\n"
    f"MIXING = @mixing.{rule}()\nmixing.{rule}.every = 2\nmixing.{rule}.step = 20.0\n"
  )
  flags = (*FLAGS, f"--gin_file={tmp_path}/two.gin")
  assert cli.main(["prepare", *flags]) == 0
  assert cli.main(["train", *flags, "--gin.STEPS=6", f"--run_dir={tmp_path}/whole"]) == 0
  for steps in (3, 6):
    assert cli.main(["train", *flags, f"--gin.STEPS={steps}", f"--run_dir={tmp_path}/parts"]) == 0
  whole, parts = figures_of(tmp_path / "whole"), figures_of(tmp_path / "parts")
  assert whole == parts and [line["step"] for line in whole] == [0, 2, 4]
  assert whole[0]["mixing/one/rate"] != whole[1]["mixing/one/rate"]
  if rule == "ByAlignment":
    assert all(-1 <= line["mixing/one/alignment"] <= 1 for line in whole)
