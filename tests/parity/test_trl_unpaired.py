"""Losses of single answers and of triples against TRL's own trainers, on given log-probs."""

import collections
import contextlib
import dataclasses
import importlib
import types
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import jax.numpy as jnp  # noqa: E402

from itune_jax.objectives.preference import tpo  # noqa: E402
from itune_jax.objectives.preference import labelled  # noqa: E402
from tests.objectives import given  # noqa: E402
from tests.parity import test_trl_preferences as pairs_of  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
kto_trainer: Any
tpo_trainer: Any
ANSWERS = [(4, 7, 1.0), (5, 2, -1.0), (3, 3, 1.0), (8, 5, 1.0), (2, 6, -1.0)]  # own length, the other's, label


@pytest.fixture(autouse=True)
def peers(monkeypatch):
  monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
  pytest.importorskip("trl")
  global kto_trainer, tpo_trainer
  kto_trainer = importlib.import_module("trl.trainer.kto_trainer")
  tpo_trainer = importlib.import_module("trl.experimental.tpo.tpo_trainer")
  monkeypatch.setattr(kto_trainer, "disable_gradient_checkpointing", lambda *_: contextlib.nullcontext())
  monkeypatch.setattr(kto_trainer, "is_peft_model", lambda *_: False)


def kto_batch(mismatched: bool):
  own = lambda n, label: (n, {"label": label, "mismatch": 0.0})
  group = lambda n, m, label: [own(n, label), *([(m, {"label": 0.0, "mismatch": 1.0})] if mismatched else [])]
  return given.judged([group(*one) for one in ANSWERS], ("label", "mismatch"))


def their_kto(batch, logp, ref, **how):
  """TRL's loss, and its gradient with respect to the log-probs [B, T]."""
  places = given.segments(batch)
  value = lambda at, name: float(batch.columns[name][at[0][0], at[1][0]])
  own = [at for at in places if value(at, "label") != 0]
  other = [at for at in places if value(at, "label") == 0]
  width = max(len(at[1]) for at in own)
  of = lambda values: torch.tensor(np.stack([np.pad(values[at], (1, width - len(at[1]))) for at in own]))
  mask = torch.zeros(len(own), width + 2, dtype=torch.long)
  for i, at in enumerate(own):
    mask[i, 2 : 2 + len(at[1])] = 1
  mine = of(logp).requires_grad_()
  policy, reference = pairs_of.Model(mine, of(logp)), pairs_of.Model(of(ref), of(ref))
  sums = {id(m): torch.tensor([x[at].sum() for at in other]) for m, x in ((policy, logp), (reference, ref))}
  same = lambda x: x
  trainer = types.SimpleNamespace(
    model=policy,
    ref_model=reference,
    accelerator=types.SimpleNamespace(device="cpu", gather_for_metrics=same, gather=same),
    aux_loss_enabled=False,
    precompute_ref_logps=False,
    _metrics={"train": collections.defaultdict(list), "eval": collections.defaultdict(list)},
    _total_train_tokens=0,
    _tp_size=1,
    args=types.SimpleNamespace(gradient_checkpointing=False, gradient_checkpointing_kwargs=None),
    _compute_kl_logps=lambda model, batch: sums[id(model)],
    calculate_KL=how["loss_type"] == "kto",
    **how,
  )
  label = torch.tensor([value(at, "label") > 0 for at in own])
  inputs = {"input_ids": mask * 0, "attention_mask": mask * 0 + 1, "completion_mask": mask, "label": label}
  loss = kto_trainer.KTOTrainer._compute_loss(trainer, policy, inputs, False)
  loss.backward()
  grad = np.zeros_like(logp)
  for i, at in enumerate(own):
    grad[at] = mine.grad[i, 1 : 1 + len(at[1])].numpy()
  return float(loss.detach()), grad, trainer._metrics["train"]


@pytest.mark.parametrize("name", ["kto", "apo_zero"])
@pytest.mark.parametrize("far", [False, True])
def test_kto_and_unpaired_apo_are_trls(name, far):
  batch = kto_batch(name == "kto")
  logp, ref, _ = pairs_of.numbers(batch)
  logp = (ref + np.abs(logp - ref)).astype(np.float32) if far else logp  # z above 0, and z cut off at 0
  objective = labelled.Kto(loss=name, beta=0.3, desirable=1.5, undesirable=0.7)
  how = dict(beta=0.3, desirable_weight=1.5, undesirable_weight=0.7)
  wanted = their_kto(batch, logp, ref, loss_type=name if name == "kto" else "apo_zero_unpaired", **how)
  got = pairs_of.ours(objective, batch, logp, ref, logp)
  print(f"\n{name}: {pairs_of.same(got, wanted, name):.1e} from TRL")
  for metric in ("rewards/chosen", "rewards/rejected", "logps/chosen"):
    np.testing.assert_allclose(got[2][metric], wanted[2][metric][0], rtol=1e-5)
  if name == "kto":
    np.testing.assert_allclose(got[2]["kl"], wanted[2]["kl"][0], rtol=1e-5)
    assert (got[2]["kl"] > 0) == far


class Called:
  """A model that gives these logits."""

  training = True

  def __init__(self, logits):
    self._logits = logits

  def __call__(self, **_):
    return types.SimpleNamespace(logits=self._logits)


@pytest.mark.parametrize("loss", ["sigmoid", "hinge", "ipo", "tpo_l"])
def test_tpo_is_trls(loss):
  """On logits: TRL's SFT term is a mean over the tokens of a micro-batch, which is ours at equal lengths."""
  sides = ({"side": 1.0, "gold": 0.0}, {"side": -1.0, "gold": 0.0}, {"side": 0.0, "gold": 1.0})
  batch = given.judged([[(n, v) for n, v in zip((4, m, 5), sides, strict=True)] for m in (7, 2, 4)], ("side", "gold"))
  places, V = given.segments(batch), 9
  kinds = [
    [at for at in places if tuple(float(batch.columns[c][at[0][0], at[1][0]]) for c in ("side", "gold")) == k]
    for k in ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0))
  ]
  order = [at for kind in kinds for at in kind]
  width, rs = max(len(at[1]) for at in order), np.random.RandomState(0)
  logits = torch.tensor(rs.randn(len(order), width + 2, V), dtype=torch.float32, requires_grad=True)
  ids = torch.tensor(rs.randint(0, V, (len(order), width + 2)))
  mask = torch.zeros(len(order), width + 2, dtype=torch.long)
  for i, at in enumerate(order):
    mask[i, 2 : 2 + len(at[1])] = 1
  how = dict(beta=0.3, label_smoothing=0.1 if loss in ("sigmoid", "tpo_l") else 0.0)
  trainer = types.SimpleNamespace(
    tpo_alpha=0.6,
    tpo_l_gamma=0.7,
    loss_type=loss.replace("_", "-"),
    _total_train_tokens=0,
    _tp_size=1,
    accelerator=types.SimpleNamespace(device="cpu", gather_for_metrics=lambda x: x, gather=lambda x: x),
    _metrics={"train": collections.defaultdict(list)},
    **how,
  )
  trainer.model = Called(logits)
  inputs = {"input_ids": ids, "attention_mask": mask * 0 + 1, "completion_mask": mask}
  wanted = tpo_trainer.TPOTrainer._compute_loss(trainer, trainer.model, inputs, False)
  wanted.backward()
  chosen = torch.log_softmax(logits, -1)[:, :-1].gather(-1, ids[:, 1:, None])[..., 0].detach()
  logp = np.zeros(batch.tokens_BT.shape, np.float32)
  for i, at in enumerate(order):
    logp[at] = chosen[i, 1 : 1 + len(at[1])].numpy()
  value, grad, _ = pairs_of.ours(tpo.Tpo(loss=loss, alpha=0.6, gamma=0.7, **how), batch, logp, logp, logp)
  assert abs(value - float(wanted.detach())) <= 1e-5 * max(1, abs(value))
  for i, at in enumerate(order):  # d/d logit of the target = d/d logp · (1 - p)
    theirs = logits.grad[i, 1 : 1 + len(at[1])].gather(-1, ids[i, 2 : 2 + len(at[1]), None])[:, 0].numpy()
    np.testing.assert_allclose(grad[at] * (1 - np.exp(logp[at])), theirs, rtol=1e-4, atol=1e-6)


def test_bco_is_the_papers_formula_with_the_mean_of_all_rewards_so_far():
  batch = kto_batch(False)
  logp, ref, _ = pairs_of.numbers(batch)
  before = {"mean": jnp.float32(0.4), "count": jnp.float32(7)}
  remembered = dataclasses.replace(batch, memory=before)
  value, _, metrics = pairs_of.ours(labelled.Bco(beta=0.3), remembered, logp, ref, logp)
  places = given.segments(batch)
  rewards = np.array([0.3 * (logp - ref)[at].sum() for at in places])
  labels = np.array([batch.columns["label"][at[0][0], at[1][0]] for at in places])
  shift = (7 * 0.4 + rewards.sum()) / (7 + len(rewards))
  np.testing.assert_allclose(value, np.mean(np.log1p(np.exp(-labels * (rewards - shift)))), rtol=1e-5)
  np.testing.assert_allclose(metrics["shift"], shift, rtol=1e-5)
  after = labelled.Bco(beta=0.3).remember(before, {"rewards/all": (rewards.sum(), float(len(rewards)))})
  np.testing.assert_allclose([after["mean"], after["count"]], [shift, 7 + len(rewards)], rtol=1e-6)
