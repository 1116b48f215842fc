"""The examples of the documentation run as they stand there."""

import importlib
import pathlib
import re
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from itune_jax.core import errors
from itune_jax.evals import suite
from itune_jax.peft import attach
from itune_jax.peft import registry
from itune_jax.synth import runner
from tests import tiny
from tests.docs import blocks
from tests.objectives import table
from tests.objectives import test_contract
from tests.parts import generator

DOCS = pathlib.Path(__file__).parent.parent.parent / "docs"
BATCH = tiny.packed(tiny.examples(4, longest=16), 32, 2)


def block(document: str, section: str, level: str = "##") -> str:
  """The first block of Python behind a heading."""
  text = (DOCS / document).read_text(encoding="utf-8").split(f"\n{level} {section}\n")[1]
  return re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]


def module(section, tmp_path, monkeypatch, level="##"):
  """The example of a section of docs/extend.md, as a module of a user's own."""
  code = block("extend.md", section, level)
  assert len(code.splitlines()) <= 40, section
  found = types.ModuleType(section.replace(" ", "_"))
  monkeypatch.setitem(sys.modules, found.__name__, found)
  monkeypatch.chdir(tmp_path)
  exec(compile(code, section, "exec"), found.__dict__)
  return found


@pytest.mark.heavy
def test_the_loss_of_all_logits_keeps_the_contract(tmp_path, monkeypatch):
  smooth = module("A loss of all logits", tmp_path, monkeypatch, level="###")
  monkeypatch.setitem(table.ALL_ROWS, "smooth", table.Row(smooth.Smooth(chunk=16), table.texts))
  row = table.ALL_ROWS["smooth"]
  test_contract.same(test_contract.run(row, tiny.mesh(1), row.batch(), cuts=2), "smooth")
  losses = {}
  for epsilon in (0.0, 0.5, 1.0):
    plain = table.Row(smooth.Smooth(epsilon=epsilon), table.texts)
    losses[epsilon] = float(test_contract.run(plain, tiny.mesh(1), plain.batch())[0].loss)
  np.testing.assert_allclose(losses[0.0], test_contract.expected("sft")[0].loss, rtol=1e-5)
  np.testing.assert_allclose(losses[0.5], (losses[0.0] + losses[1.0]) / 2, rtol=1e-5)
  assert losses[1.0] > losses[0.0]


@pytest.mark.heavy
def test_the_loss_of_the_example_keeps_the_contract(tmp_path, monkeypatch):
  focal = module("Add a loss", tmp_path, monkeypatch)
  monkeypatch.setitem(table.ALL_ROWS, "focal", table.Row(focal.Focal(chunk=16), table.texts))
  row = table.ALL_ROWS["focal"]
  test_contract.same(test_contract.run(row, tiny.mesh(1), row.batch(), cuts=2), "focal")
  plain = table.Row(focal.Focal(gamma=0.0), table.texts)
  sums, grads = test_contract.run(plain, tiny.mesh(1), plain.batch())
  wanted, theirs = test_contract.expected("sft")
  np.testing.assert_allclose(sums.loss, wanted.loss, rtol=1e-5)
  for name, grad in theirs.items():  # without its factor it is cross-entropy
    np.testing.assert_allclose(grads[name], grad, rtol=1e-4, atol=1e-5 * max(np.abs(grad).max(), 1e-6))
  with pytest.raises(ValueError, match="Focal.gamma must be 0 or more, not -1"):
    focal.Focal(gamma=-1.0)


def test_the_benchmark_of_the_example_runs(tmp_path, monkeypatch):
  (tmp_path / "sums.csv").write_text("id,question,answer,level\na,1 + 1?,2,easy\nb,17 * 3?,51,hard\n", encoding="utf-8")
  sums = module("Add a benchmark", tmp_path, monkeypatch)
  stub = module("Add a responder", tmp_path, monkeypatch)
  found = suite.measure(sums.BENCHMARK, stub.Stub({"a": "That makes 2.", "b": "50"}))
  with pytest.raises(errors.InputError, match="gives no log-probabilities"):
    stub.Stub({}).score([])
  figures = {r.name: r.value for r in found.results}
  wanted = {"sums/right": 0.5, "sums/level=easy/right": 1, "sums/level=hard/right": 0}
  assert wanted.items() <= figures.items()


def test_the_generator_of_the_example_resumes(tmp_path, monkeypatch):
  paraphrase = module("Add a generator", tmp_path, monkeypatch)
  one = paraphrase.Paraphrase(seeds=("List three fruits.", "Sort these words."))
  manifest = runner.run(one, generator.Hashes(), str(tmp_path / "whole"), identity={})
  assert manifest["items"] == 8 and manifest["rows"] > 0

  def stop(request):
    if request.id == "paraphrase/5/other":
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    runner.run(one, generator.Hashes(stop), str(tmp_path / "cut"), identity={})
  runner.run(one, generator.Hashes(), str(tmp_path / "cut"), identity={})
  read = lambda name: (tmp_path / name / "rows.jsonl").read_bytes()
  assert read("cut") == read("whole")


@pytest.fixture
def method(tmp_path, monkeypatch):
  """The method of the example, in a module of its own as a user would have it."""
  code = block("methods.md", "Adding a method")
  assert len(code.splitlines()) <= 40
  (tmp_path / "lora_fa.py").write_text(code, encoding="utf-8")
  monkeypatch.syspath_prepend(str(tmp_path))
  yield importlib.import_module("lora_fa").LoraFa(rank=2)
  monkeypatch.delitem(sys.modules, "lora_fa")


def test_the_method_of_the_example_trains_merges_and_comes_back_from_a_checkpoint(method):
  base = tiny.base()
  attached = tiny.attach(base, method)
  plain = np.asarray(tiny.logits(base, BATCH))
  np.testing.assert_array_equal(tiny.logits(attached, BATCH), plain)
  assert len(attached.constants) == len(attached.trainable) == 7

  bind = tiny.binder(attached.module)
  trainable = {name: attached.params[name] for name in attached.trainable}

  @jax.jit
  @jax.value_and_grad
  def loss(trainable, params, batch):
    model = bind({**params, **trainable})
    ctx = model.context(batch)
    logits = model.project(model.hidden(batch.tokens_BT, ctx)[0], ctx)
    nll = optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets_BT)
    return jnp.sum(nll * batch.weights_BT) / jnp.sum(batch.weights_BT)

  before, gradient = loss(trainable, attached.params, jax.tree.map(jnp.asarray, BATCH))
  assert all(np.abs(np.asarray(g)).max() > 0 for g in gradient.values())
  params = {**attached.params, **{name: p - 0.1 * gradient[name] for name, p in trainable.items()}}
  after, _ = loss({name: params[name] for name in trainable}, params, jax.tree.map(jnp.asarray, BATCH))
  assert after < before
  stepped = attach.Attached(attached.module, params, attached.trainable, attached.methods)
  logits = np.asarray(tiny.logits(stepped, BATCH))
  merged = tiny.logits(base, BATCH, params=attach.merge(stepped))
  np.testing.assert_allclose(merged, logits, atol=1e-5 * np.ptp(plain))

  data = registry.to_json(method)
  assert data == {"type": "lora_fa:LoraFa", "rank": 2, "alpha": 16.0, "sites": method.sites, "name": "lora_fa"}
  assert registry.from_json(data) == method


def test_the_method_that_needs_the_weight_starts_as_the_base_and_merges(tmp_path, monkeypatch):
  (tmp_path / "lengths.py").write_text(block("methods.md", "A method that needs the weight", "###"), encoding="utf-8")
  monkeypatch.syspath_prepend(str(tmp_path))
  found, base = importlib.import_module("lengths").Lengths(), tiny.base()
  monkeypatch.delitem(sys.modules, "lengths")
  attached, plain = tiny.attach(base, found), np.asarray(tiny.logits(base, BATCH))
  np.testing.assert_array_equal(tiny.logits(attached, BATCH), plain)
  moved = tiny.randomise(attached)
  logits = np.asarray(tiny.logits(moved, BATCH))
  assert np.abs(logits - plain).max() > 1e-3 * np.ptp(plain)
  merged = tiny.logits(base, BATCH, params=attach.merge(moved))
  np.testing.assert_allclose(merged, logits, atol=1e-5 * np.ptp(plain))


@pytest.mark.parametrize("page", blocks.PAGES, ids=lambda page: str(page.relative_to(blocks.ROOT)))
def test_files_that_a_page_names_are_there(page):
  text = page.read_text(encoding="utf-8")
  named = set(re.findall(r"`([a-z_0-9]+/[a-z_0-9/]+\.(?:py|cc|gin|sh|md|ipynb))`", text))
  folders = (blocks.ROOT, blocks.ROOT / "itune_jax", blocks.ROOT / "gin_configs")
  adds = set(
    re.findall(r"`([a-z_0-9/]+/(?:focal|lines|lora_fa)\.(?:gin|py))`", text)
  )  # files that docs/extend.md tells to write
  missing = [name for name in named - adds if not any((folder / name).exists() for folder in folders)]
  assert not missing
