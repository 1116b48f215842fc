"""The facade, on the tiny model: train, load, generate, score, attach, save, export."""

import numpy as np
import pytest

from itune_jax import api
from itune_jax.peft import lora


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  return api.train("recipes/llama_tiny.gin", {"STEPS": 3}, run_dir=str(tmp_path_factory.mktemp("api") / "run"))


def test_train_and_use(run, tmp_path):
  assert run.metrics["steps"] == 3 and run.report_path.endswith("report.html")
  model = run.model()
  tokens = np.array([[5, 6, 7, 8]])
  assert model.logits(tokens).shape == (1, 4, 49152) and model.logits(tokens).dtype == np.float32
  answers = model.generate(["Hi", [{"role": "user", "content": "Hello"}]], max_new_tokens=4)
  assert len(answers) == 2 and answers == model.generate(["Hi", "Hello"], max_new_tokens=4)
  ((logprob, greedy),) = model.loglikelihood([("a b", " c")])
  assert logprob < 0 and greedy in (True, False)
  manifest = api.export_hf(model, str(tmp_path / "hf"))
  assert manifest["logit_parity"] < 1e-4
  np.testing.assert_allclose(api.load(str(tmp_path / "hf")).logits(tokens), model.logits(tokens), atol=1e-4)


def test_attach_save_load_and_peft(run, tmp_path):
  base = run.model()
  api.export_hf(base, str(tmp_path / "hf"))
  model = api.load(str(tmp_path / "hf")).attach(lora.Lora(rank=2))
  arrays = {n: v + 0.1 for n, v in model.session.trainable.items()}
  model = api.Model(model.session.with_arrays(arrays))
  tokens = np.array([[5, 6, 7, 8]])
  model.save(str(tmp_path / "saved"))
  np.testing.assert_array_equal(api.load(str(tmp_path / "saved")).logits(tokens), model.logits(tokens))
  api.export_peft(model, str(tmp_path / "peft"))
  np.testing.assert_allclose(api.load(str(tmp_path / "peft")).logits(tokens), model.logits(tokens), atol=1e-5)
  assert np.abs(model.logits(tokens) - base.logits(tokens)).max() > 1e-3


def test_stop_strings_cut():
  assert api._cut("one\ntwo", ["\n"]) == "one" and api._cut("one", ["\n"]) == "one"
