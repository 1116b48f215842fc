"""What the clock says of steps, pauses and padding."""

import pytest

from itune_jax.train import hooks


def test_the_clock_counts_steps_and_nothing_else(monkeypatch):
  now = [0.0]
  monkeypatch.setattr(hooks.time, "perf_counter", lambda: now[0])
  clock = hooks.Clock(flops=8e12, peak=4e12)
  metrics = {"trained_tokens": 30.0, "padding_share": 0.25}

  def lap(seconds):
    now[0] += seconds
    return clock.lap(metrics)

  assert lap(6.0) == {}  # compilation
  found = lap(2.0)
  assert found["step_s"] == 2.0 and found["trained_tokens_per_s"] == 15.0
  assert found["tflops_per_s"] == 3.0 and found["mfu"] == 0.75  # a quarter of the positions was padding
  assert found["goodput"] == 0.25 and found["memory_gib"] > 0
  clock.pause()
  assert lap(10.0) == {}  # an evaluation, and the step behind it
  assert lap(2.0)["goodput"] == pytest.approx(4 / 20)


def test_a_chip_of_unknown_peak_has_no_utilisation():
  clock = hooks.Clock(flops=1.0)
  clock.lap({"trained_tokens": 1.0, "padding_share": 0.0})
  assert "mfu" not in clock.lap({"trained_tokens": 1.0, "padding_share": 0.0})
