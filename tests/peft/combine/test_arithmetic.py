"""Adapters are combined by what they do to the weights, and made LoRAs with what is lost."""

import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.peft.combine import arithmetic
from itune_jax.peft.combine import factors
from itune_jax.peft.methods import hira
from itune_jax.peft.methods import lora
from itune_jax.peft.methods import prefix
from itune_jax.peft.methods import vera
from tests import tiny

BATCH = tiny.packed(tiny.examples(6), 32)


@pytest.fixture(scope="module")
def base(mesh1):
  return tiny.base(mesh1)


def moved(base, method, seed=1):
  return tiny.randomise(tiny.attach(base, method), seed=seed)


def updates(base, *ranks):
  """Updates of LoRAs on sites that are not all the same."""
  sites = (r"blocks/\d+/attn/(q|v)", r"blocks/\d+/(attn/v|mlp/down)")
  made = [moved(base, lora.Lora(rank=r, sites=sites[i]), seed=i) for i, r in enumerate(ranks)]
  return made, [arithmetic.update_of(one, base.params) for one in made]


def lost(base, update, rank):
  attached, residual = arithmetic.factorise(base.module, base.params, update, rank, mesh=tiny.mesh(1))
  back = arithmetic.update_of(attached, base.params)
  # The figure is what a second measurement finds.
  total = lambda u: np.sqrt(sum(np.sum(np.square(v, dtype=np.float64)) for v in u.values()))
  left = {n: update[n] - back[n] for n in update}
  np.testing.assert_allclose(residual, total(left) / total(update), atol=1e-5)
  return attached, residual


def test_a_weighted_sum_of_loras_is_exact_at_the_sum_of_their_ranks(base):
  made, given = updates(base, 2, 3)
  total = arithmetic.Combine(weights=(0.7, 0.3))(given)
  for name in total:
    parts = [w * u[name] for w, u in zip((0.7, 0.3), given, strict=True) if name in u]
    np.testing.assert_allclose(total[name], sum(parts), atol=1e-6)
  _, residual = lost(base, total, 5)
  assert residual < 1e-6
  assert 0.05 < lost(base, total, 1)[1] < 1


def test_any_linear_method_becomes_a_lora(base):
  for method, rank in (
    (vera.Vera(rank=4, sites=r"blocks/\d+/attn/q"), 4),
    (hira.Hira(rank=2, sites=r"blocks/\d+/.*/v"), 8),
  ):
    attached = moved(base, method)
    again, residual = lost(base, arithmetic.update_of(attached, base.params), rank)
    assert residual < 1e-5
    found = np.asarray(tiny.logits(attached, BATCH))
    np.testing.assert_allclose(tiny.logits(again, BATCH), found, atol=1e-5 * np.ptp(found))
  with pytest.raises(errors.InputError, match="prefix"):
    arithmetic.update_of(moved(base, prefix.Prefix()), base.params)
  with pytest.raises(errors.InputError, match="LoRA holds projections only"):
    arithmetic.factorise(base.module, base.params, {"norm/scale": np.ones(16)}, 2, mesh=tiny.mesh(1))


def test_ties_trims_over_the_whole_model_elects_signs_and_averages_who_agrees():
  a = {"x/kernel": np.array([[4.0, -3.0], [0.1, 2.0]], np.float32), "y/kernel": np.array([[0.2, 0.3]], np.float32)}
  b = {"x/kernel": np.array([[-1.0, -5.0], [6.0, 0.2]], np.float32), "y/kernel": np.array([[0.1, 7.0]], np.float32)}
  found = arithmetic.Combine(how="ties", density=0.5)([a, b])
  # Half of the six values stay, by size over both tensors: a keeps 4, -3, 2; b keeps -5, 6, 7.
  np.testing.assert_allclose(found["x/kernel"], [[4.0, -4.0], [6.0, 2.0]])
  np.testing.assert_allclose(found["y/kernel"], [[0.0, 7.0]])
  doubled = arithmetic.Combine(how="ties", density=0.5, scale=2.0)([a, b])
  np.testing.assert_allclose(doubled["x/kernel"], 2 * found["x/kernel"])


def test_dare_keeps_its_share_and_its_mean():
  a = {"x/kernel": np.ones((200, 200), np.float32)}
  (found,) = arithmetic.Combine(how="dare", density=0.1, seed=3)([a]).values()
  np.testing.assert_allclose(np.unique(found), [0, 10], rtol=1e-6)
  assert abs(found.mean() - 1) < 0.05
  again = arithmetic.Combine(how="dare", density=0.1, seed=4)([a])["x/kernel"]
  assert (found != again).any()


def test_slerp_goes_along_the_arc():
  a, b = {"x/kernel": np.array([[1.0, 0.0]], np.float32)}, {"x/kernel": np.array([[0.0, 1.0]], np.float32)}
  found = arithmetic.Combine(how="slerp", weights=(2.0, 1.0))([a, b])["x/kernel"]
  np.testing.assert_allclose(found, [[np.cos(np.pi / 6), np.sin(np.pi / 6)]], atol=1e-6)
  np.testing.assert_allclose(arithmetic.Combine(how="slerp")([a, a])["x/kernel"], a["x/kernel"], atol=1e-6)
  soup = arithmetic.Combine(how="soup", weights=(2.0, 1.0))([a, b])["x/kernel"]
  np.testing.assert_allclose(soup, [[2 / 3, 1 / 3]], atol=1e-6)


def test_what_cannot_be_combined_is_refused():
  one = {"x/kernel": np.ones((2, 2), np.float32)}
  with pytest.raises(errors.InputError, match="2 adapters and 1 weights"):
    arithmetic.Combine(weights=(1.0,))([one, one])
  with pytest.raises(errors.InputError, match="slerp joins two"):
    arithmetic.Combine(how="slerp")([one])
  with pytest.raises(errors.InputError, match="must be one of linear"):
    arithmetic.Combine(how="mean")


def test_weights_that_sum_to_zero_are_no_share_of_the_way():
  update = {"blocks/attn/q/kernel": np.ones((2, 2), np.float32)}
  with pytest.raises(errors.InputError, match="which sum to zero"):
    arithmetic.Combine(how="slerp", weights=(1.0, -1.0))([update, update])


@pytest.mark.parametrize(
  "kind,change",
  [
    (arithmetic.Combine, {"weights": (float("nan"), 1.0)}),
    (arithmetic.Combine, {"scale": float("inf")}),
    (arithmetic.Combine, {"seed": -1}),
    (factors.Combine, {"weights": (float("inf"),)}),
  ],
)
def test_numbers_that_are_none_are_refused_before_anything_is_loaded(kind, change):
  with pytest.raises(errors.InputError, match="must be finite|it takes"):
    kind(**change)
