"""When a run ends."""

import dataclasses
import signal
import types
import typing

import pytest

from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.parallel import hosts
from itune_jax.train import checkpoint
from itune_jax.train import loop
from itune_jax.train import state as state_lib


class Saved(checkpoint.Checkpointer):
  """Remembers at which steps it was asked to save."""

  def __init__(self):
    self.steps, self.finished = [], False

  def save(self, step, state, metrics, source=types.MappingProxyType({}), result=types.MappingProxyType({})):
    self.steps.append(step)
    return ""

  def finish(self):
    self.finished = True


class Source(contracts.BatchSource):
  def batch(self, k, engine=None):
    return typing.cast(typing.Any, {})


class Constant(contracts.Evaluator):
  """Finds the same every time."""

  def __init__(self, name="val", every=2):
    self.name, self.every = name, every

  @property
  def metrics(self):
    return {f"{self.name}/nll": "lower"}

  def run(self, engine):
    return contracts.EvalResult([contracts.Result(self.name, "nll", 1.0)], [])


def run(
  history,
  *,
  first=0,
  steps=40,
  step_fn=None,
  evaluators=(Constant(),),
  record=lambda *given: None,
  asked=lambda step: False,
  saved=None,
):
  def one(state, frozen, batch):
    return state_lib.State({}, (), state.step + 1, None), {
      "finite": 1.0,
      "loss": 1.0,
      "padding_share": 0.0,
      "trained_tokens": 1.0,
    }

  saved = saved or Saved()
  made = loop.Loop(
    step_fn=step_fn or one,
    frozen={},
    source=Source(),
    put=lambda batch: batch,
    steps=steps,
    hooks=(),
    evaluators=evaluators,
    view=lambda trainable: None,
    record=record,
    checkpointer=saved,
    save_every=0,
    early_stop=loop.EarlyStop(metric="val/nll", mode="min", patience=3),
    asked=asked,
    run_dir="",
    history=history,
  )
  return int(made.run(state_lib.State({}, (), typing.cast(typing.Any, first), None)).step), saved


def test_an_early_stop_is_said_saved_and_stays(capsys):
  history = []
  step, saved = run(history)
  assert step == 8 and saved.steps == [8] and saved.finished and len(history) == 4
  says = "stopped early at step 8: val/nll has not improved for 3 evaluations; raise EarlyStop.patience"
  assert says in capsys.readouterr().err
  step, saved = run(history, first=8)
  assert step == 8 and not saved.steps and says in capsys.readouterr().err


@pytest.mark.parametrize("steps,ends", [(5, 5), (40, 8)])
def test_what_is_measured_at_the_end_is_measured_there_alone(steps, ends):
  """The last step, or the one at which the run stops early; a run that goes on measures nothing again."""
  seen, both = [], (Constant(), Constant("last", -1))
  record = lambda step, name, result: seen.append((step, name))
  assert run([], steps=steps, evaluators=both, record=record)[0] == ends
  assert [step for step, name in seen if name == "last"] == [ends]
  seen.clear()
  run([{"val/nll": 1.0}] * 4, first=ends, steps=steps, evaluators=both, record=record)
  assert not seen


def test_a_finished_run_is_left_alone(capsys):
  step, saved = run([], first=40)
  assert step == 40 and not saved.steps and not capsys.readouterr().err


def test_memory_that_runs_out_is_said_by_its_name():
  def one(state, frozen, batch):
    raise loop.jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 7 bytes")

  with pytest.raises(errors.RunError, match="after step 0: out of memory .*MICRO_BATCHES"):
    run([], step_fn=one)


@pytest.fixture
def in_front():
  """Ctrl-C as a shell leaves it to a job in the foreground; one in the background ignores it."""
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("presses,saves", [(1, [3]), (2, [])])
def test_ctrl_c_saves_the_step_and_a_second_one_does_not_wait(presses, saves, in_front):
  """A newcomer's first way to stop a run must not cost what was trained since the last checkpoint."""

  def one(state, frozen, batch):
    for _ in range(presses if state.step == 2 else 0):
      signal.raise_signal(signal.SIGINT)
    return dataclasses.replace(state, step=state.step + 1), {"finite": 1.0, "padding_share": 0.0, "trained_tokens": 1.0}

  saved, before = Saved(), signal.getsignal(signal.SIGINT)
  with hosts.Stop() as stop, pytest.raises(errors.RunError if saves else KeyboardInterrupt):
    run([], step_fn=one, evaluators=(), asked=stop.due, saved=saved)
  assert saved.steps == saves and saved.finished and signal.getsignal(signal.SIGINT) is before
