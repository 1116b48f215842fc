"""Reward models against transformers (scores, folders in both directions) and TRL (the loss of pairs)."""

import collections
import dataclasses
import importlib
import json
import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from itune_jax.models import load as load_lib  # noqa: E402
from itune_jax.models import reward_head  # noqa: E402
from itune_jax.objectives.reward import bradley_terry  # noqa: E402
from itune_jax.sampling.score import rewards as rewards_lib  # noqa: E402
from tests import tiny  # noqa: E402
from tests.objectives import given  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
FIELDS = {
  "llama": dict(
    model_type="llama",
    vocab_size=64,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    pad_token_id=0,
  ),
  "gpt2": dict(model_type="gpt2", vocab_size=64, n_embd=16, n_layer=2, n_head=4, n_positions=64, pad_token_id=0),
}
TEXTS = [[5, 9, 3, 22], [7], [11, 2, 63, 40, 8, 17, 30]]


def theirs_of(model, texts):
  with torch.no_grad():
    return np.stack([model(input_ids=torch.tensor([text])).logits[0].numpy() for text in texts])


def ours_of(base, texts):
  bind = tiny.binder(base.module)
  return rewards_lib.rewards(bind, base.params, texts, max_length=64)


@pytest.mark.parametrize("family", FIELDS)
@pytest.mark.parametrize("outputs", [1, 3])
def test_scores_are_transformers_both_ways(family, outputs, tmp_path):
  transformers = importlib.import_module("transformers")
  common = importlib.import_module("tests.parity.families.common")
  auto = transformers.AutoModelForSequenceClassification
  model = common.make_theirs({**FIELDS[family], "num_labels": outputs}, auto)
  model.save_pretrained(tmp_path / "theirs")
  base = common.open_ours(tmp_path / "theirs")
  assert base.cfg.scores == outputs and base.params["head/kernel"].shape == (16, outputs)
  wanted = theirs_of(model, TEXTS)
  distance = common.relative(ours_of(base, TEXTS), wanted)
  load_lib.save_hf(str(tmp_path / "ours"), base.module, base.params, config_json=None, tokens={"pad_token_id": 0})
  again = theirs_of(common.reload(auto, tmp_path / "ours"), TEXTS)
  assert json.loads((tmp_path / "ours" / "config.json").read_text())["architectures"][0].endswith("Classification")
  print(f"\n{family}, {outputs} outputs: {distance:.1e} read, {common.relative(again, wanted):.1e} written")
  assert distance <= 1e-4 and common.relative(again, wanted) <= 1e-4
  assert common.open_ours(tmp_path / "ours").cfg == base.cfg


def test_a_new_head_on_a_model_of_language_scores_0(tmp_path):
  transformers = importlib.import_module("transformers")
  common = importlib.import_module("tests.parity.families.common")
  auto = transformers.AutoModelForCausalLM
  common.make_theirs({**FIELDS["llama"], "tie_word_embeddings": True}, auto).save_pretrained(tmp_path / "lm")
  base = reward_head.scoring(common.open_ours(tmp_path / "lm"), 1)
  assert not ours_of(base, TEXTS).any()
  with pytest.raises(ValueError, match="has 1 outputs, and Model.scores is 2"):
    reward_head.scoring(base, 2)
  head = jnp.asarray(np.random.RandomState(0).randn(16, 1), jnp.float32)
  trained = dataclasses.replace(base, params={**base.params, "head/kernel": head})
  how = dict(config_json=base.config_json, tokens={"pad_token_id": 0})
  load_lib.save_hf(str(tmp_path / "reward"), trained.module, trained.params, **how)
  theirs = common.reload(transformers.AutoModelForSequenceClassification, tmp_path / "reward")
  assert common.relative(ours_of(trained, TEXTS), theirs_of(theirs, TEXTS)) <= 1e-4


@pytest.mark.parametrize("margin", [0.0, 1.0])
def test_the_loss_of_pairs_is_trls(margin, monkeypatch):
  monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
  trainer_lib = pytest.importorskip("trl.trainer.reward_trainer")
  batch = given.pairs([(1, 1)] * 6, margins=[0.5, 1.0, 0.2, 2.0, 0.1, 0.7])
  rs = np.random.RandomState(0)
  scores = rs.randn(*batch.tokens_BT.shape).astype(np.float32)
  sides = given.by_answer(batch)
  at = [*sides[1.0], *sides[-1.0]]
  own = torch.tensor([scores[a][0] for a in at])[:, None].requires_grad_()
  same = lambda x: x
  trainer = types.SimpleNamespace(
    model=types.SimpleNamespace(training=True),
    args=types.SimpleNamespace(center_rewards_coefficient=0.3),
    accelerator=types.SimpleNamespace(gather_for_metrics=same, gather=same),
    _metrics={"train": collections.defaultdict(list)},
    _total_train_tokens=0,
    _tp_size=1,
  )
  inputs = {"attention_mask": torch.ones(12, 2)}
  if margin:
    inputs["margin"] = torch.tensor([batch.columns["margin"][a][0] for a in sides[1.0]])
  model = lambda **_: types.SimpleNamespace(logits=own)
  if margin:
    model = lambda margin=None, **_: types.SimpleNamespace(logits=own)
  wanted = trainer_lib.RewardTrainer.compute_loss(trainer, model, inputs)
  wanted.backward()
  objective = bradley_terry.BradleyTerry(centre=0.3, margin=margin)

  def loss(scores_BT):
    over = jnp.where(batch.weights_BT != 0, scores_BT, 0)
    sums = objective({"policy": given.View(scores_BT, over)}, jax.tree.map(jnp.asarray, batch), None)
    return sums.loss / sums.weight

  value, grad = jax.value_and_grad(loss)(jnp.asarray(scores))
  np.testing.assert_allclose(value, float(wanted.detach()), rtol=1e-5)
  np.testing.assert_allclose([grad[a][0] for a in at], own.grad[:, 0].numpy(), rtol=1e-5, atol=1e-7)
