"""The examples of the documentation run as they stand there."""

import importlib
import pathlib
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from itune_jax.peft import attach
from itune_jax.peft import registry
from tests import tiny

DOCS = pathlib.Path(__file__).parent.parent.parent / "docs"
BATCH = tiny.packed(tiny.examples(4, longest=16), 32, 2)


def block(document: str, section: str) -> str:
  """The first block of Python behind a heading."""
  text = (DOCS / document).read_text(encoding="utf-8").split(f"\n## {section}\n")[1]
  return re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]


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
