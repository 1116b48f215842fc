"""A source that asks the live policy: killed and resumed, it gives what it would have given, bit for bit."""

import hashlib
import os
import signal
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest

from itune_jax.core import contracts
from itune_jax.parallel import shard
from itune_jax.peft.methods import lora
from itune_jax.sampling import engine as engine_lib
from itune_jax.train import checkpoint
from itune_jax.train import loop
from itune_jax.train import state as state_lib
from itune_jax.train import step as step_lib
from tests import tiny
from tests.parts import on_policy
from tests.parts import policy_gradient

PROMPTS = tuple(tuple(np.random.RandomState(i).randint(8, 64, 5 + i).tolist()) for i in range(3))
STEPS = 20


class Fault(contracts.Hook):
  """Ends the process, or the run, at a step."""

  def __init__(self, step: int, how: str):
    self._step, self._how = step, how

  def __call__(self, step, metrics):
    if step == self._step:
      if self._how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
      raise KeyboardInterrupt


def train(run_dir: str, fault: contracts.Hook | None = None) -> str:
  """Trains to STEPS from what `run_dir` holds; returns a digest of the parameters."""
  mesh = tiny.mesh(1)
  attached = tiny.attach(tiny.base(mesh), lora.Lora(rank=4, alpha=16.0))
  trainable = {n: attached.params[n] for n in attached.trainable}
  frozen = {n: v for n, v in attached.params.items() if n not in trainable}
  optimizer, bind = optax.adam(0.03), tiny.binder(attached.module, mesh)
  state = state_lib.create(trainable, optimizer, 0, mesh)
  where = {n: v.sharding for n, v in state.trainable.items()}
  step_fn = step_lib.make_step(bind, policy_gradient.PolicyGradient(), optimizer, lambda _: 0.03, where)
  keep = checkpoint.Checkpointer(run_dir, checkpoint.Keep(every=6), {"base": "tiny", "base_digest": "0"})
  source = on_policy.OnPolicy(PROMPTS)
  if latest := keep.latest():
    state, _ = keep.restore(latest, state)
  engine = engine_lib.Engine(bind, attached.params, 64, (0,))
  done = loop.Loop(
    step_fn=step_fn,
    frozen=frozen,
    source=source,
    put=lambda b: shard.same_batch(jax.tree.map(lambda x: x[None], b), mesh, dict(bind.rules)),
    steps=STEPS,
    hooks=[fault] if fault else [],
    evaluators=[],
    view=lambda trainable: engine.with_params({**trainable, **frozen}),
    record=lambda *_: None,
    checkpointer=keep,
    save_every=6,
    early_stop=loop.EarlyStop(),
    asked=lambda step: False,
    run_dir=run_dir,
  ).run(state)
  arrays = (np.asarray(done.trainable[n]).tobytes() for n in sorted(done.trainable))
  return hashlib.sha256(b"".join(arrays)).hexdigest()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """A run straight through: its folder and digest."""
  folder = str(tmp_path_factory.mktemp("whole"))
  return folder, train(folder)


def test_stopped_and_resumed_is_straight_through(whole, tmp_path):
  with pytest.raises(KeyboardInterrupt):
    train(str(tmp_path), Fault(15, "stop"))
  found = checkpoint.committed(str(tmp_path / "checkpoints"))
  assert os.path.basename(found[-1]) == "000012"
  assert train(str(tmp_path)) == whole[1]


@pytest.mark.full
def test_killed_and_resumed_is_straight_through(whole, tmp_path):
  program = f"from tests.train import test_live as t; t.train({str(tmp_path)!r}, t.Fault(15, 'kill'))"
  done = subprocess.run([sys.executable, "-c", program], check=False)
  assert done.returncode == -signal.SIGKILL
  assert train(str(tmp_path)) == whole[1]


def test_it_learns(whole):
  """What is rewarded is said more often after training: the policy's gradient points where it should."""
  mesh = tiny.mesh(1)
  attached = tiny.attach(tiny.base(mesh), lora.Lora(rank=4, alpha=16.0))
  bind, source = tiny.binder(attached.module, mesh), on_policy.OnPolicy(PROMPTS)
  found = checkpoint.committed(os.path.join(whole[0], "checkpoints"))[-1]
  after = checkpoint.restore_trainable(found, {n: attached.params[n] for n in attached.trainable})
  engine = lambda params: engine_lib.Engine(bind, params, 64, (0,))
  batches = lambda params: (source.batch(k, engine(params)).targets_BT for k in range(100, 108))
  said = lambda params: sum((targets_BT == source.wanted).sum() for targets_BT in batches(params))
  assert said({**attached.params, **after}) > 2 * said(attached.params) + 5
