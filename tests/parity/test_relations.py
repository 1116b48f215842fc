"""Attention relations against the maps of transformers: "qk" with as many relation heads as heads is attention."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from itune_jax.core import contracts  # noqa: E402
from itune_jax.objectives.distill import relations  # noqa: E402
from tests import tiny  # noqa: E402
from tests.parity.families import common  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
HEADS, T = 4, 24
STUDENT = dict(
  model_type="llama",
  vocab_size=50,
  hidden_size=32,
  intermediate_size=48,
  num_hidden_layers=2,
  num_attention_heads=HEADS,
  num_key_value_heads=2,
  tie_word_embeddings=True,
)
TEACHER = STUDENT | dict(hidden_size=48, num_hidden_layers=3, num_key_value_heads=4)
LAYERS = ((1, 2), (0, 1))


class Nothing(contracts.Objective):
  """A loss of 0."""

  def __call__(self, views, batch, key):
    return contracts.Sums(jnp.float32(0), batch.weights_BT.sum(), {})


def test_maps_of_attention_and_the_gradient_are_transformers(tmp_path):
  """KL(teacher || student) of the maps at weighted places of two packed texts, and its gradient at the embeddings."""
  rs = np.random.RandomState(0)
  tokens = rs.randint(3, 50, (2, T)).astype(np.int32)
  weights = rs.choice([0.0, 0.5, 1.0], (2, T)).astype(np.float32)
  theirs, ours = [], []
  for name, fields in (("student", STUDENT), ("teacher", TEACHER)):
    theirs.append(common.make_theirs(fields, transformers.AutoModelForCausalLM))
    theirs[-1].save_pretrained(tmp_path / name)
    ours.append(common.open_ours(tmp_path / name))
  own, other = (model(torch.tensor(tokens).long(), output_attentions=True).attentions for model in theirs)
  loss = torch.zeros(())
  for i, j in LAYERS:
    p, q = own[i], other[j].detach()
    each = torch.where(q > 0, q * (q.clamp_min(1e-30).log() - p.clamp_min(1e-30).log()), 0.0)
    loss = loss + (torch.tensor(weights) * each.sum(-1).mean(1)).sum()
  loss.backward()
  wanted = theirs[0].get_input_embeddings().weight.grad.numpy()

  batch = common.rows_of(tokens)
  batch = dataclasses.replace(batch, targets_BT=tokens, weights_BT=weights)
  one = relations.Relations(objective=Nothing(), layers=LAYERS, heads=HEADS, relations=("qk",), query_chunk=7)

  def distance(params):
    views = {"policy": tiny.binder(ours[0].module)(params), "teacher": tiny.binder(ours[1].module)(ours[1].params)}
    return one(views, jax.tree.map(jnp.asarray, batch), None).loss

  value, grads = jax.jit(jax.value_and_grad(distance))(ours[0].params)
  (table,) = (grad for name, grad in grads.items() if name.startswith("embed"))
  found = abs(float(value) / float(loss.detach()) - 1)
  apart = common.relative(table, wanted)
  print(f"\nmaps of attention against transformers: loss {found:.1e}, gradient {apart:.1e} (limits 1e-4)")
  assert found <= 1e-4 and apart <= 1e-4 and np.abs(wanted).max() > 0
