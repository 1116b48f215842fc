"""A low-rank change added to the kernel is the one added to the outputs, with the same gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.nn import site
from itune_jax.objectives import sft
from itune_jax.peft.methods import ia3
from itune_jax.peft.methods import lora
from itune_jax.peft import low_rank
from itune_jax.train import step as step_lib
from tests import tiny

METHODS = {
  "lora": [lora.Lora(rank=4)],
  "dora": [lora.Lora(rank=4, dora=True)],
  "pissa": [lora.Lora(rank=4, init="pissa")],
  "dropout": [lora.Lora(rank=4, dropout=0.5)],
  "two": [lora.Lora(rank=4), ia3.Ia3(sites=r"blocks/\d+/attn/(k|v)")],
}


@pytest.mark.parametrize("with_ratio", [False, True])
def test_outputs_and_all_gradients_are_those_of_the_formula(with_ratio):
  with jax.enable_x64(True):
    rs = np.random.RandomState(0)
    draw = lambda *shape: jnp.asarray(rs.randn(*shape))
    x, w, u, b, ratio, d_y = (
      draw(3, 7, 2, 4),
      draw(2, 4, 5, 3),
      draw(2, 4, 6),
      draw(6, 5, 3),
      draw(5, 3),
      draw(3, 7, 5, 3),
    )
    given = (x, w, u, b, *[ratio] * with_ratio)

    def ours(x, w, u, b, ratio=None):
      return jnp.sum(d_y * low_rank.contract(x, site.Weight(lambda: w, w.shape), u, b, 2, ratio))

    def formula(x, w, u, b, ratio=None):
      y = jnp.einsum("btij,ijno->btno", x, w) + jnp.einsum("btij,ijr,rno->btno", x, u, b)
      return jnp.sum(d_y * (y if ratio is None else y * ratio[None, None]))

    found, expected = (jax.value_and_grad(f, argnums=range(len(given)))(*given) for f in (ours, formula))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11), found, expected)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.by_default("dora")
def test_a_step_is_the_same_either_way(name, monkeypatch):
  model = tiny.randomise(tiny.attach(tiny.base(), *METHODS[name]), scale=0.05)
  params = {n: v for n, v in model.params.items() if n in model.trainable}
  frozen = {n: v for n, v in model.params.items() if n not in model.trainable}
  batch = jax.tree.map(lambda x: jnp.asarray(x)[None], tiny.packed(tiny.examples(6, seed=1), 32, 4))
  chosen, real = [], low_rank.pays

  def gradients(pays):
    monkeypatch.setattr(low_rank, "pays", pays)
    make = lambda: step_lib.gradients(
      tiny.binder(model.module), sft.Sft(chunk=16), params, frozen, batch, jax.random.key(0)
    )
    return jax.device_get(jax.jit(make)()[:2])

  (sums, found), (others, expected) = (
    gradients(lambda *a: chosen.append(real(*a)) or chosen[-1]),
    gradients(lambda *a: False),
  )
  assert any(chosen) == (name != "dropout")
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6), sums, others)
  for path, g in expected.items():
    assert np.linalg.norm(found[path] - g) <= 1e-4 * max(np.linalg.norm(g), 1e-6), path


def test_it_pays_for_many_inputs_in_float32_on_a_kernel_as_it_is():
  w = site.Weight(lambda: jnp.ones((8, 4)), (8, 4))
  assert low_rank.pays(jnp.ones((3, 3, 8)), w, 1)
  assert not low_rank.pays(jnp.ones((2, 4, 8)), w, 1)
  assert not low_rank.pays(jnp.ones((3, 3, 8), jnp.bfloat16), w, 1)
  assert not low_rank.pays(jnp.ones((3, 3, 8)), site.PackedWeight(None, (8, 4), jnp.float32), 1)
