"""Every loss on pairs, and its gradient with respect to log-probs, against TRL's own trainers on given log-probs."""

import collections
import contextlib
import importlib
import itertools
import types
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from itune_jax.objectives.distill import logits as distill  # noqa: E402
from itune_jax.objectives.preference import cpo  # noqa: E402
from itune_jax.objectives.preference import dpo  # noqa: E402
from itune_jax.objectives.preference import formulas  # noqa: E402
from itune_jax.objectives.preference import orpo  # noqa: E402
from itune_jax.objectives.preference import pairs as pairs_lib  # noqa: E402
from tests.objectives import given  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
LENGTHS = [(4, 7), (5, 2), (3, 3), (8, 5), (2, 6), (6, 4)]
EQUAL = [(4, 7), (4, 2), (4, 3), (4, 5), (4, 6), (4, 4)]  # answers for which a mean over tokens is one over answers
cpo_trainer: Any
dpo_trainer: Any
orpo_trainer: Any
DIVERGENCES = {
  "reverse_kl": "reverse_kl",
  "forward_kl": "forward_kl",
  "js": "js_divergence",
  "alpha": "alpha_divergence",
}


class Model(torch.nn.Module):
  """Gives what TRL's fused head would."""

  def __init__(self, logp, square):
    super().__init__()
    zeros = torch.zeros_like(logp)
    self.out = types.SimpleNamespace(
      log_probs=logp, log_sum_sq_probs=square, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool(), aux_loss=None
    )

  def forward(self, **_):
    return self.out


def theirs(batch, logp, ref, square, **args):
  """TRL's loss, and its gradient with respect to the log-probs [B, T] of the batch."""
  sides = given.by_answer(batch)
  answers = [*sides[1.0], *sides[-1.0]]
  width = max(len(at) for _, at in answers)
  mask = torch.zeros(len(answers), width + 2, dtype=torch.long)  # a prompt of two tokens
  of = lambda values: torch.tensor(np.stack([np.pad(values[at], (1, width - len(at[1]))) for at in answers]))
  for i, (_, at) in enumerate(answers):
    mask[i, 2 : 2 + len(at)] = 1
  own = of(logp).requires_grad_()
  accelerator = types.SimpleNamespace(device="cpu", gather_for_metrics=lambda x: x, gather=lambda x: x)
  defaults = dict(loss_types=["sigmoid"], loss_weights=[1.0], label_smoothing=0.0, beta=0.1, ld_alpha=None)
  defaults |= dict(use_weighting=False, f_divergence_type="reverse_kl", f_alpha_divergence_coef=0.5)
  tau = args.pop("tau", 0.05)
  trainer = types.SimpleNamespace(
    model=Model(own, of(square)),
    ref_model=Model(of(ref), of(square)),
    accelerator=accelerator,
    aux_loss_enabled=False,
    precompute_ref_logps=False,
    _metrics={"train": collections.defaultdict(list), "eval": collections.defaultdict(list)},
    _total_train_tokens=0,
    _tp_size=1,
    args=types.SimpleNamespace(gradient_checkpointing=False, gradient_checkpointing_kwargs=None, discopop_tau=tau),
    **{**defaults, **args},
  )
  inputs = {"input_ids": mask * 0, "attention_mask": mask * 0 + 1, "completion_mask": mask}
  loss = dpo_trainer.DPOTrainer._compute_loss(trainer, trainer.model, inputs, False)
  loss.backward()
  grad = np.zeros_like(logp)
  for i, at in enumerate(answers):
    grad[at] = own.grad[i, 1 : 1 + len(at[1])].numpy()
  return float(loss.detach()), grad, trainer._metrics["train"]


def ours(objective, batch, logp, ref, square):
  batch = jax.tree.map(jnp.asarray, batch)

  def loss(logp_BT):
    over = (jnp.where(batch.weights_BT != 0, logp_BT, 0), jnp.where(batch.weights_BT != 0, square, 0))
    views = {"policy": given.View(logp_BT, over), "reference": given.View(jnp.asarray(ref))}
    sums = objective(views, batch, None)
    return sums.loss / sums.weight, sums.metrics

  (value, metrics), grad = jax.value_and_grad(loss, has_aux=True)(jnp.asarray(logp))
  return float(value), np.asarray(grad), {name: float(a / b) for name, (a, b) in metrics.items()}


def numbers(batch, seed=0):
  rs = np.random.RandomState(seed)
  shape = batch.tokens_BT.shape
  logp = -rs.gamma(2.0, 1.0, shape).astype(np.float32)
  return logp, (logp + rs.randn(*shape) * 0.7).clip(max=-0.01).astype(np.float32), -rs.rand(*shape).astype(np.float32)


def same(a, b, what):
  scale = max(abs(b[0]), 1.0)
  assert abs(a[0] - b[0]) <= 1e-5 * scale, (what, a[0], b[0])
  distance = np.abs(a[1] - b[1]).max() / max(np.abs(b[1]).max(), 1e-6)
  assert distance <= 1e-5, (what, distance)
  return max(abs(a[0] - b[0]) / scale, distance)


@pytest.fixture(autouse=True)
def peers(monkeypatch):
  """TRL takes seconds to import: not where tests are only collected."""
  monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
  pytest.importorskip("trl")
  global cpo_trainer, dpo_trainer, orpo_trainer
  cpo_trainer = importlib.import_module("trl.experimental.cpo.cpo_trainer")
  orpo_trainer = importlib.import_module("trl.experimental.orpo.orpo_trainer")
  dpo_trainer = importlib.import_module("trl.trainer.dpo_trainer")
  monkeypatch.setattr(dpo_trainer, "disable_gradient_checkpointing", lambda *_: contextlib.nullcontext())
  monkeypatch.setattr(dpo_trainer, "is_peft_model", lambda *_: False)


TRLS = [name for name in formulas.LOSSES if name != "cdpo"]


@pytest.mark.parametrize("name", TRLS)
def test_every_loss_and_flag_is_trls(name):
  """Every loss type, with every flag that it takes."""
  worst = 0.0
  smoothings = (0.0, 0.2) if name in formulas.SMOOTHED else (0.0,)
  kinds = DIVERGENCES if name in formulas.DIVERGENT else ("reverse_kl",)
  # TRL's weights fail in place on the last two: torch refuses to differentiate that.
  weighted = (False,) if name in (*formulas.RANKED, "hinge", "sft") else (False, True)
  lengths = EQUAL if name == "sft" else LENGTHS
  batch = given.pairs(lengths)
  for smoothing, kind, tail, by_weight in itertools.product(smoothings, kinds, (1.0, 0.4), weighted):
    if name == "exo_pair" and not smoothing or kind != "reverse_kl" and tail != 1:
      continue
    if name == "sft" and tail != 1:
      continue  # TRL's has all tokens count there; so does the table of differences
    how = dict(label_smoothing=smoothing, beta=0.3)
    logp, ref, square = numbers(batch)
    objective = dpo.Dpo(losses=(name,), divergence=kind, tail=tail, weighted=by_weight, **how)
    wanted = theirs(
      batch,
      logp,
      ref,
      square,
      loss_types=[name],
      f_divergence_type=DIVERGENCES[kind],
      ld_alpha=None if tail == 1 else tail,
      use_weighting=by_weight,
      **how,
    )
    got = ours(objective, batch, logp, ref, square)
    worst = max(worst, same(got, wanted, (name, smoothing, kind, tail, by_weight)))
    for mine, trl in (("rewards/chosen", "rewards/chosen"), ("rewards/margin", "rewards/margins")):
      np.testing.assert_allclose(got[2][mine], wanted[2][trl][0], rtol=1e-5)
    np.testing.assert_allclose(got[2]["rewards/accuracy"], wanted[2]["rewards/accuracies"][0])
    np.testing.assert_allclose(got[2]["logps/rejected"], wanted[2]["logps/rejected"][0], rtol=1e-5)
  print(f"\n{name}: {worst:.1e} from TRL at most")


def test_weighted_sums_are_trls():
  batch = given.pairs(LENGTHS)
  logp, ref, square = numbers(batch)
  names, weights = ("sigmoid", "bco_pair", "ipo"), (0.8, 0.2, 1.5)
  wanted = theirs(batch, logp, ref, square, loss_types=list(names), loss_weights=list(weights))
  same(ours(dpo.Dpo(losses=names, weights=weights), batch, logp, ref, square), wanted, "mpo")


def test_the_mean_over_answers_of_the_sft_term_differs_from_trls_mean_over_tokens():
  """What the table of differences says: TRL's is over the tokens of a micro-batch, and so hangs on the cut."""
  batch = given.pairs(LENGTHS)
  logp, ref, square = numbers(batch)
  wanted = theirs(batch, logp, ref, square, loss_types=["sft"])
  got = ours(dpo.Dpo(losses=("sft",)), batch, logp, ref, square)
  at = [logp[where] for where in given.by_answer(batch)[1.0]]
  np.testing.assert_allclose(wanted[0], -np.concatenate(at).mean(), rtol=1e-5)
  np.testing.assert_allclose(got[0], -np.mean([one.mean() for one in at]), rtol=1e-5)
  print(f"\nsft of answers of {[len(one) for one in at]} tokens: {got[0]:.4f} here, {wanted[0]:.4f} in TRL")


def sums_of(batch, logp, by_token):
  reduce = np.mean if by_token else np.sum
  sides = given.by_answer(batch)
  return [torch.tensor([reduce(logp[at]) for at in sides[side]], dtype=torch.float32) for side in (1.0, -1.0)]


def with_nll(trainer_loss, batch, logp, by_token, nll_weight):
  """The loss of a trainer on sums of both sides plus an nll of preferred answers of equal length, and its gradient."""
  own = torch.tensor(logp, requires_grad=True)
  reduce = (lambda x: x.mean()) if by_token else (lambda x: x.sum())
  sides = given.by_answer(batch)
  chosen, rejected = (torch.stack([reduce(own[at]) for at in sides[side]]) for side in (1.0, -1.0))
  nll = -torch.cat([own[at] for at in sides[1.0]]).mean()
  loss = trainer_loss(chosen, rejected).mean() + nll_weight * nll
  loss.backward()
  return float(loss.detach()), own.grad.numpy()


CPO = {
  "sigmoid": cpo.Cpo(beta=0.3, label_smoothing=0.1),
  "hinge": cpo.Cpo(beta=0.3, loss="hinge", sft=0.5),
  "ipo": cpo.Cpo(beta=0.3, loss="ipo", sft=0.0),
  "simpo": cpo.Simpo(beta=2.0, gamma=0.7, label_smoothing=0.1),
  "alpha": cpo.Simpo(beta=2.0, gamma=0.7, alpha=0.25, sft=0.3),
}


@pytest.mark.parametrize("name", CPO)
def test_cpo_simpo_alphapo_are_trls(name):
  objective, batch = CPO[name], given.pairs(EQUAL)
  logp, ref, square = numbers(batch)
  trainer = types.SimpleNamespace(
    alpha=getattr(objective, "alpha", 0.0),
    beta=objective.beta,
    loss_type="simpo" if name == "alpha" else name,
    simpo_gamma=getattr(objective, "gamma", 0.0),
    label_smoothing=getattr(objective, "label_smoothing", 0.0),
    accelerator=types.SimpleNamespace(device="cpu"),
  )
  loss = lambda chosen, rejected: cpo_trainer.CPOTrainer.cpo_loss(trainer, chosen, rejected)[0]
  wanted = with_nll(loss, batch, logp, name in ("ipo", "simpo", "alpha"), objective.sft)
  got = ours(objective, batch, logp, ref, square)
  print(f"\n{name}: {same(got, wanted, name):.1e} from TRL")


def orpo_loss(beta):
  trainer = types.SimpleNamespace(beta=beta, accelerator=types.SimpleNamespace(device="cpu"))
  return lambda c, r: -orpo_trainer.ORPOTrainer.odds_ratio_loss(trainer, c, r)[0]


def test_orpo_over_answers_has_trls_odds_ratio():
  """With the nll of LLaMA-Factory, the mean over the tokens of the preferred answer."""
  batch = given.pairs(EQUAL)
  logp, ref, square = numbers(batch)
  got = ours(orpo.Orpo(beta=0.4), batch, logp, ref, square)
  same(got, with_nll(orpo_loss(0.4), batch, logp, True, 1.0), "orpo")


@pytest.mark.parametrize("share", [False, True])
def test_orpo_over_prompts_too_is_trls(share):
  """TRL's nll is over prompt and answer; a prompt that stands once gives the same."""
  batch = given.pairs(EQUAL, share)
  logp, _, _ = numbers(batch)
  wide = orpo._with_prompts(jax.tree.map(jnp.asarray, batch))
  own = torch.tensor(logp, requires_grad=True)
  sides = given.by_answer(batch)
  chosen, rejected = (torch.stack([own[at].mean() for at in sides[side]]) for side in (1.0, -1.0))
  read = np.asarray(wide.weights_BT != 0) & np.asarray(orpo._of_chosen(batch))
  loss = orpo_loss(0.4)(chosen, rejected).mean() - own[torch.tensor(read)].mean()
  loss.backward()
  got = ours(orpo.Orpo(beta=0.4, nll="prompt_and_answer"), batch, logp, logp, logp)
  assert read.sum() == sum(2 + chosen for chosen, _ in EQUAL)  # each token but the first of the text
  same(got, (float(loss.detach()), own.grad.numpy()), "orpo")


def test_targets_of_a_prompt_that_stands_once_are_those_of_repeating_it():
  once, twice = (orpo._with_prompts(jax.tree.map(jnp.asarray, given.pairs(LENGTHS, share))) for share in (True, False))
  for batch in (once, twice):
    read = (np.asarray(batch.weights_BT) != 0) & np.asarray(orpo._of_chosen(batch))
    found = sorted(np.asarray(batch.targets_BT)[read].tolist())
    assert found == sorted(np.asarray(twice.targets_BT)[(np.asarray(twice.columns["side"]) > 0)].tolist())


def test_log1mexp_is_theirs():
  x = -np.logspace(-6, 1.5, 60).astype(np.float32)
  np.testing.assert_allclose(pairs_lib.log1mexp(jnp.asarray(x)), orpo_trainer.log1mexp(torch.tensor(x)), rtol=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.5, 1.0])
def test_divergences_are_those_of_gkd(beta):
  """Its ends are the two KL; between them it is our jsd."""
  gkd = importlib.import_module("trl.experimental.gkd.gkd_trainer")
  rs = np.random.RandomState(0)
  student, teacher = (rs.randn(2, 5, 11).astype(np.float32) for _ in range(2))
  own = torch.tensor(student, requires_grad=True)
  wanted = gkd.GKDTrainer.generalized_jsd_loss(own, torch.tensor(teacher), beta=beta, temperature=0.9, reduction="sum")
  wanted.backward()
  kind = {0.0: "forward_kl", 1.0: "reverse_kl"}.get(beta, "jsd")
  objective = distill.Distill(divergence=kind, beta=beta if kind == "jsd" else 0.5, temperature=0.9)
  loss = lambda z: objective.of((z, jnp.asarray(teacher)), jnp.zeros((2, 5), jnp.int32))[0].sum()
  value, grad = jax.value_and_grad(loss)(jnp.asarray(student))
  print(f"\n{kind}: {same((float(value), np.asarray(grad)), (float(wanted.detach()), own.grad.numpy()), kind):.1e}")
