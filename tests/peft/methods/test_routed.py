"""Mixtures of LoRAs: MixLoRA is its experts run one by one, and the balance of experts reaches the objective."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.core import batch as batch_lib
from itune_jax.nn import mlp
from itune_jax.nn import moe
from itune_jax.nn import site
from itune_jax.objectives import sft
from itune_jax.peft.methods import lora
from itune_jax.peft.combine import mixed
from itune_jax.peft.methods import mixlora
from itune_jax.peft.methods import routed
from tests import tiny

BATCH = tiny.packed(tiny.examples(8, longest=16), 32, 4)


@pytest.mark.parametrize("layout", ["gated", "gated_fused"])
def test_mixlora_is_its_experts_run_one_by_one(layout):
  D, F, E, R, top = 8, 12, 4, 3, 2
  block = mlp.LAYOUTS[layout](D, F, jax.random.key(0))
  method = mixlora.MixLora(experts=E, rank=R, top=top, alpha=6.0)
  adapter = method.make(block.mix.spec("blocks/0/mlp/mix", ("blocks/0/mlp/mix",)), jax.random.key(1))
  names = ("router", "gate_a", "gate_b", "up_a", "up_b", "down_a", "down_b")
  for name, key in zip(names, jax.random.split(jax.random.key(2), len(names)), strict=True):
    setattr(adapter, name, site.AdapterParam(0.5 * jax.random.normal(key, getattr(adapter, name)[...].shape), axes=()))
  block.mix.adapters["mixlora"] = adapter
  x = jax.random.normal(jax.random.key(3), (2, 5, D))
  ctx = batch_lib.Ctx(None, jnp.ones((2, 5), jnp.int32))
  read = {name: np.asarray(getattr(adapter, name)[...], np.float64) for name in names}
  if layout == "gated":
    gate, up = (np.asarray(p.kernel[...], np.float64) for p in (block.gate, block.up))
  else:
    gate, up = np.moveaxis(np.asarray(block.gate_up.kernel[...], np.float64), 1, 0)
  down, x64 = np.asarray(block.down.kernel[...], np.float64), np.asarray(x, np.float64)
  logits, expected = x64 @ read["router"], 0.0
  gates = np.where(logits >= np.sort(logits, axis=-1)[..., -top, None], np.exp(logits), 0)
  gates /= gates.sum(-1, keepdims=True)
  for e in range(E):
    cut, scale = slice(e * R, (e + 1) * R), 6.0 / R
    hidden = x64 @ (gate + scale * read["gate_a"][:, cut] @ read["gate_b"][e])
    hidden = hidden / (1 + np.exp(-hidden)) * (x64 @ (up + scale * read["up_a"][:, cut] @ read["up_b"][e]))
    expected += gates[..., e, None] * (hidden @ (down + scale * read["down_a"][e] @ read["down_b"][cut]))
  np.testing.assert_allclose(block(x, ctx), expected, rtol=2e-4, atol=2e-4)


def loss(attached, objective, trainable, batch):
  view = tiny.binder(attached.module)({**attached.params, **trainable})
  sums = objective({"policy": view}, batch, jax.random.key(0))
  return sums.loss / sums.weight, sums.metrics


@pytest.mark.parametrize(
  "method", [mixlora.MixLora(experts=3, rank=2), routed.Routed(experts=3, rank=2, sites=r"blocks/\d+/attn/(q|o)")]
)
@pytest.mark.by_default(1)
def test_balance_is_one_where_experts_share_evenly_and_more_where_they_do_not(method):
  attached = tiny.attach(tiny.base(), method)
  of = lambda scale: {n: v * scale for n, v in attached.params.items() if n.endswith("router")}
  objective = sft.Sft(router_balance=1.0)
  run = jax.jit(jax.value_and_grad(lambda *given: loss(attached, objective, *given), has_aux=True))
  found = {scale: run(of(scale), BATCH) for scale in (1e-4, 300.0)}
  figure = {
    scale: float(metrics["router_balance"][0] / metrics["router_balance"][1])
    for scale, ((_, metrics), _) in found.items()
  }
  # Gates that are even: E Σ f P = Σ f = how many experts a token takes, 2.
  assert abs(figure[1e-4] - 2) < 1e-3 and figure[300.0] > 2.1
  assert all(np.abs(np.asarray(g)).max() > 0 for g in found[300.0][1].values())
  plain = tiny.attach(tiny.base(), lora.Lora(rank=2))
  with pytest.raises(Exception, match="nothing routes"):
    loss(plain, objective, {}, jax.tree.map(jnp.asarray, BATCH))


def test_the_balance_of_a_layer_is_that_of_its_router():
  """Two layers, alike but for their inputs: what arrives is the sum of both terms, by segment."""
  attached = tiny.randomise(tiny.attach(tiny.base(), mixlora.MixLora(experts=3, rank=2)), scale=0.3)
  view = tiny.binder(attached.module)(attached.params)
  _, aux = view.hidden(BATCH.tokens_BT, view.context(BATCH).replace(aux={}))
  assert float(aux["routed3_layers"]) == 2
  assert float(aux["routed3_sent_E"].sum()) == 2 * 2 * int((np.asarray(BATCH.segments_BT) != 0).sum())


@pytest.mark.parametrize("kind", ["mixlora", "routed"])
@pytest.mark.heavy
def test_a_layer_that_is_off_counts_for_nothing(kind):
  made = {
    "mixlora": lambda layers: mixlora.MixLora(experts=3, rank=2, sites=rf"blocks/{layers}/mlp/mix"),
    "routed": lambda layers: routed.Routed(experts=3, rank=2, sites=rf"blocks/{layers}/attn/q"),
  }[kind]
  attached = tiny.randomise(tiny.attach(tiny.base(), made("1")), scale=0.3)
  trained = {n: attached.params[n] for n in attached.trainable}
  run = jax.jit(jax.grad(lambda *given: loss(attached, sft.Sft(router_balance=1.0), *given)[0]))
  router = next(g for n, g in run(trained, BATCH).items() if n.endswith("router"))
  assert np.abs(router[1]).max() > 0 and np.abs(router[0]).max() == 0
  view = tiny.binder(attached.module)(attached.params)
  _, aux = view.hidden(BATCH.tokens_BT, view.context(BATCH).replace(aux={}))
  assert float(aux["routed3_layers"]) == 1


@pytest.mark.heavy
def test_the_balance_of_adapters_stands_beside_that_of_the_models_own_experts():
  cfg = dataclasses.replace(tiny.CONFIG, moe=moe.MoeSpec(experts=4, top_k=2))
  own, adapters = tiny.base(cfg=cfg), routed.Routed(experts=3, rank=2, sites=r"blocks/\d+/attn/q")
  objective, batch = sft.Sft(router_balance=1.0), jax.tree.map(jnp.asarray, BATCH)
  figure = lambda attached: float(loss(attached, objective, {}, batch)[1]["router_balance"][0])
  both, alone = tiny.attach(own, adapters), tiny.attach(own, lora.Lora(rank=2))
  beside = figure(tiny.attach(tiny.base(), adapters))
  assert figure(both) > figure(alone) + 0.5 * beside  # before, the one took the place of the other


@pytest.mark.heavy
def test_rows_of_one_batch_take_their_own_experts():
  base = tiny.base()
  one = tiny.randomise(tiny.attach(base, mixlora.MixLora(experts=3, rank=2)), scale=0.3, seed=1)
  two = tiny.randomise(tiny.attach(base, lora.Lora(rank=2)), scale=0.3, seed=2)
  both = mixed.combine(base.module, base.params, {"one": one, "two": two}, mesh=tiny.mesh(1))
  numbers = np.asarray([0, 1, -1, 0])[:, None] * np.ones_like(BATCH.tokens_BT)
  found = np.asarray(tiny.logits(both, dataclasses.replace(BATCH, adapters_BT=numbers.astype(np.int32))))
  for row, alone in enumerate((one, two, base, one)):
    np.testing.assert_allclose(found[row], np.asarray(tiny.logits(alone, BATCH))[row], atol=2e-5)
