"""The facade, on the tiny model: train, load, generate, score, attach, save, export."""

import json

import numpy as np
import pytest

from itune_jax import api
from itune_jax.core import errors
from itune_jax.peft.methods import lora
from itune_jax.run import cli


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


@pytest.mark.heavy
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
  both = api.load(str(tmp_path / "hf")).with_adapters({"mine": str(tmp_path / "saved"), "peft": str(tmp_path / "peft")})
  pair = ("a b", " c")
  scores = both.loglikelihood([pair] * 3, adapters=["mine", None, "peft"])
  expected = [m.loglikelihood([pair])[0] for m in (model, base, model)]
  np.testing.assert_allclose([s for s, _ in scores], [s for s, _ in expected], rtol=1e-4)
  assert len(both.generate(["Hi", "Ho"], max_new_tokens=2, adapters=["peft", None])) == 2
  with pytest.raises(errors.InputError, match="no adapter is called 'law'; adapters of this model: mine, peft"):
    both.generate(["Hi", "Ho"], adapters=["peft", "law"])
  with pytest.raises(errors.InputError, match="2 prompts take 2 adapters' names or None: 1"):
    both.generate(["Hi", "Ho"], adapters=["peft"])
  for write in (both.save, lambda folder: api.export_peft(both, folder), lambda folder: api.export_hf(both, folder)):
    with pytest.raises(errors.InputError, match="takes one adapter, this model has mine, peft: load it with one"):
      write(str(tmp_path / "nothing"))
  assert not (tmp_path / "nothing").exists()
  np.testing.assert_array_equal(both.attach(()).logits(tokens), api.load(str(tmp_path / "hf")).logits(tokens))


@pytest.mark.heavy
def test_generate_is_told_how(run):
  """Samples, stop strings, begun answers and streams through the chat template."""
  model, said = run.model(), []
  how = dict(max_new_tokens=12, temperature=1.0, seed=1)
  (free,) = model.generate(["Hi"], **how, n=3, on_text=said.append)
  assert len(set(free)) == 3 and [piece.text for piece in said if piece.finish] == free
  stop = free[1][4:6]
  (first,), (cut,) = model.generate(["Hi"], **how), model.generate(["Hi"], **how, n=3, stop=stop)
  assert first == free[0], "the first sample is that of a call for one"
  assert cut == [text.split(stop)[0] for text in free] and cut[1] != free[1]
  assert model.generate(["Hi"], **how, n=3, stop=[stop, "never there"]) == [cut], "a string is one stop string"
  begun = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": free[0][:3]}]
  assert model.generate([begun], max_new_tokens=4) != model.generate([begun[:1]], max_new_tokens=4)
  assert model.generate(["Hi"], max_new_tokens=4, top_k=1, temperature=1.0) == model.generate(["Hi"], max_new_tokens=4)


@pytest.mark.full
def test_frozen_random_arrays_are_those_of_the_run_and_adapters_combine(tmp_path, capsys):
  """VeRA's bank is drawn from the run's seed, which whoever loads the run does not give; and two runs make one LoRA."""
  recipe = tmp_path / "vera.gin"
  recipe.write_text('include "recipes/llama_tiny.gin"\ninclude "peft/vera.gin"\nvera.Vera.rank = 8\n')
  run = api.train(str(recipe), {"STEPS": 2, "SEED": 3}, run_dir=str(tmp_path / "run"))
  model = run.model()
  drawn = model.attach(model.session.attached.methods, seed=3).session.attached.params
  assert model.session.constants.keys() == {"bank/vera_a", "bank/vera_b"}
  for name, value in model.session.constants.items():
    np.testing.assert_array_equal(np.asarray(value), np.asarray(drawn[name]))
  tokens = np.array([[5, 6, 7, 8]])
  lora_model, residual = model.as_lora(8)
  assert residual < 1e-3
  np.testing.assert_allclose(lora_model.logits(tokens), model.logits(tokens), atol=1e-4)
  argv = [f"--adapter={tmp_path / 'run'}", f"--adapter={tmp_path / 'run'}", "--weight=2", "--weight=-1"]
  assert cli.main(["merge", *argv, "--format=lora", "--rank=8", f"--out={tmp_path / 'lora'}"]) == 0
  said = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
  assert said["rank"] == 8 and said["residual"] < 1e-3 and said["logit_parity"] < 1e-5


@pytest.mark.full
def test_several_adapters_become_one_model(run, tmp_path):
  argv = [f"--adapter={run.run_dir}", f"--adapter={run.run_dir}", "--how=ties", "--density=0.5"]
  assert cli.main(["merge", *argv, f"--out={tmp_path / 'hf'}"]) == 0
  assert np.isfinite(api.load(str(tmp_path / "hf")).logits(np.array([[5, 6, 7, 8]]))).all()
  recipe = tmp_path / "lora.gin"
  recipe.write_text('include "recipes/llama_tiny.gin"\ninclude "peft/lora.gin"\n')
  lora_run = api.train(str(recipe), {"STEPS": 2}, run_dir=str(tmp_path / "run"))
  argv = [f"--adapter={lora_run.run_dir}"] * 2 + ["--factors", "--format=lora", "--weight=0.25", "--weight=0.25"]
  assert cli.main(["merge", *argv, f"--out={tmp_path / 'peft'}"]) == 0  # √¼ A + √¼ A and √¼ B + √¼ B are A and B
  merged = api.load(str(tmp_path / "peft")).logits(np.array([[5, 6, 7, 8]]))
  np.testing.assert_allclose(merged, lora_run.model().logits(np.array([[5, 6, 7, 8]])), atol=1e-5)


def test_a_command_as_in_a_shell(tmp_path, capsys):
  """Its result, what is meant for a person, and a failure that is told above."""
  (tmp_path / "theirs.yaml").write_text(
    "model_name_or_path: org/m\nlearning_rate: 1.0e-4\nmax_steps: 5\ntrainer_x: 1\n"
  )
  with pytest.raises(errors.RunError, match="itune convert ended with 2"):
    api.command(f"itune convert {tmp_path}/theirs.yaml --tool=trl --out={tmp_path}/mine.gin")
  assert "trainer_x" in capsys.readouterr().err
  found = api.command(f"convert {tmp_path}/theirs.yaml --tool=trl --partial --out={tmp_path}/mine.gin")
  assert (tmp_path / "mine.gin").exists() and isinstance(found, dict)
  assert api.command("config lora.Lora.rank") is None and "rank" in capsys.readouterr().out
