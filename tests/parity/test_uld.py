"""Sorted probabilities across vocabularies against TRL's GOLD, on given logits."""

import importlib
import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from itune_jax.objectives.distill import logits as distill  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("sizes", [(11, 7), (7, 11), (9, 9)])
def test_uld_and_its_gradient_are_trls(sizes, monkeypatch):
  monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
  gold = importlib.import_module("trl.experimental.gold.gold_trainer")
  rs, n = np.random.RandomState(0), 5
  student, teacher = (rs.randn(1, n + 1, size).astype(np.float32) for size in sizes)
  config = types.SimpleNamespace(
    uld_crossentropy_weight=0.0,
    uld_distillation_weight=1.0,
    uld_student_temperature=0.9,
    uld_teacher_temperature=0.9,
    uld_skip_student_eos=False,
    uld_skip_teacher_eos=False,
    use_extended_uld=False,
    uld_token_merge_strategy="bayesian",
  )
  labels = torch.tensor([[-100, *range(n)]])
  own = torch.tensor(student, requires_grad=True)
  loss = gold.ULDLoss(config)
  wanted = loss(own, torch.tensor(teacher), labels, labels, labels.clamp(min=0), labels.clamp(min=0))
  wanted.backward()
  objective = distill.Distill(divergence="uld", temperature=0.9)
  each = lambda z: objective.of((z[:, :-1], jnp.asarray(teacher[:, :-1])), jnp.zeros((1, n), jnp.int32))[0].mean()
  value, grad = jax.value_and_grad(each)(jnp.asarray(student))
  np.testing.assert_allclose(value, float(wanted.detach()), rtol=1e-5)
  np.testing.assert_allclose(grad, own.grad.numpy(), atol=1e-6)
