"""Methods that start from data, or from what quantising lost."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax import api
from itune_jax.core import axes
from itune_jax.core import errors
from itune_jax.nn import quant
from itune_jax.objectives import sft
from itune_jax.models import load
from itune_jax.peft import attach as attach_lib
from itune_jax.peft import method as method_lib
from itune_jax.peft import probes as probes_lib
from itune_jax.peft.methods import lora
from itune_jax.run import calibrate
from itune_jax.run import session as session_lib
from itune_jax.train import step as step_lib
from tests import tiny

LORA = lora.Lora(rank=2, batches=2)
BATCHES = [tiny.packed(tiny.examples(6, seed=k), 32, 4) for k in (1, 2)]


def session(method, mesh=None, remat="none", base=None):
  """A session of the tiny model with a method, not yet measured."""
  mesh = mesh or tiny.mesh(1)
  base = base or tiny.base(mesh, remat=remat)
  attached = tiny.attach(base, method, the_mesh=mesh)
  binder = tiny.binder(attached.module, mesh)
  return session_lib.Session(None, mesh, axes.DEFAULT_RULES, None, base, attached, binder, None)


def started(method, micro=1, **how):
  cut = lambda k: jax.tree.map(lambda x: jnp.asarray(x).reshape(micro, -1, *x.shape[1:]), BATCHES[k])
  return calibrate.from_data(session(method, **how), sft.Sft(chunk=16), cut, 0, jnp.float32)


def measured(kind, micro=1, **how):
  s = session(LORA, **how)
  probe = dataclasses.replace(LORA, init={"moments": "eva", "gradient": "lora_ga"}[kind])
  cut = lambda k: jax.tree.map(lambda x: jnp.asarray(x).reshape(micro, -1, *x.shape[1:]), BATCHES[k])
  return calibrate._measured(s, probe, kind, sft.Sft(chunk=16), cut)


@pytest.mark.heavy
def test_the_gradient_is_that_of_the_kernels():
  base = tiny.base()
  batches = [jax.tree.map(lambda x: jnp.asarray(x)[None], b) for b in BATCHES]
  kernels = {n: v for n, v in base.params.items() if n.endswith("/kernel")}
  rest = {n: v for n, v in base.params.items() if n not in kernels}
  run = jax.jit(
    lambda batch: step_lib.gradients(
      tiny.binder(base.module), sft.Sft(chunk=16), kernels, rest, batch, jax.random.key(0)
    )[1]
  )
  total = jax.tree.map(jnp.add, run(batches[0]), run(batches[1]))
  for path, found in measured("gradient", micro=2).items():
    # Two sums of the same numbers in two orders: alike to a few units in the last place of the largest.
    expected = np.asarray(total[f"{path}/kernel"])
    np.testing.assert_allclose(found["change"], expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize(
  "how",
  [pytest.param(dict(remat="full", micro=4), marks=pytest.mark.full), dict(mesh=dict(fsdp=2, tensor=4))],
  ids=["rematerialised", "sharded"],
)
@pytest.mark.heavy
def test_moments_do_not_depend_on_how_they_are_computed(how):
  how = {**how, "mesh": tiny.mesh(8, **how["mesh"])} if "mesh" in how else how
  plain, other = measured("moments"), measured("moments", **how)
  real = sum(int((b.segments_BT != 0).sum()) for b in BATCHES)
  for path, found in plain.items():
    assert np.all(found["count"] == real)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-3), found, other[path])


def test_moments_are_of_the_inputs_that_a_matmul_meets():
  """Σ x xᵀ of a site is seen through a second probe: the gradient of a linear function of its output."""
  found = measured("moments")
  q, k = found["blocks/attn/q"], found["blocks/attn/k"]
  np.testing.assert_array_equal(q["square"], k["square"])  # they read the same inputs
  trace = np.trace(np.asarray(q["square"])[0])
  # RMSNorm with weights of one: every input has a squared length of its width.
  np.testing.assert_allclose(trace, tiny.CONFIG.width * q["count"][0], rtol=1e-3)


@pytest.mark.heavy
def test_eva_takes_the_directions_of_most_variance_and_leaves_the_model_as_it_is():
  s = started(dataclasses.replace(LORA, init="eva"))
  a = np.asarray(s.attached.params["blocks/mlp/down/adapters/lora/a"])
  moments = measured("moments")["blocks/mlp/down"]
  for layer in range(2):
    n = moments["count"][layer]
    mean = np.asarray(moments["total"][layer], np.float64) / n
    covariance = np.asarray(moments["square"][layer], np.float64) / n - np.outer(mean, mean)
    values = np.linalg.eigvalsh(covariance)[::-1]
    np.testing.assert_allclose(np.diag(a[layer].T @ covariance @ a[layer]), values[:2], rtol=1e-3)
    np.testing.assert_allclose(a[layer].T @ a[layer], np.eye(2), atol=1e-5)
  base = tiny.base()
  np.testing.assert_array_equal(tiny.logits(s.attached, BATCHES[0]), tiny.logits(base, BATCHES[0]))


@pytest.mark.heavy
def test_eva_moves_ranks_to_where_a_direction_explains_more():
  method = dataclasses.replace(LORA, init="eva", rho=2.0, alpha_pattern={r".*/attn/q": 8.0})
  s = started(method)
  (after,) = s.attached.methods
  layers = [n for names in attach_lib.layers_of(s.base.module, method).values() for n in names]
  ranks = {n: after.rank_of(n) for n in layers}
  assert sum(ranks.values()) == 2 * len(layers) and max(ranks.values()) <= 4 and len(set(ranks.values())) > 1
  assert all(after.scale_of(n) == method.scale_of(n) for n in layers if ranks[n])
  for path, names in attach_lib.layers_of(s.base.module, after).items():
    mask = np.asarray(s.attached.params[f"{path}/adapters/lora/rank_mask"])
    assert [int(row.sum()) for row in mask] == [ranks[n] for n in names]
  assert np.isfinite(tiny.logits(s.attached, BATCHES[0])).all()


def test_lora_ga_starts_along_the_gradient_and_leaves_the_model_as_it_is():
  method = dataclasses.replace(LORA, init="lora_ga", rank_pattern={r"blocks/1/attn/q": 1})
  s = started(method)
  moved = np.abs(tiny.logits(s.attached, BATCHES[0]) - tiny.logits(tiny.base(), BATCHES[0])).max()
  assert moved <= tiny.rounding(s.attached, BATCHES[0])
  gradients, p = measured("gradient"), s.attached.params
  for layer, rank in ((0, 2), (1, 1)):
    u, _, vt = np.linalg.svd(np.asarray(gradients["blocks/attn/q"]["change"][layer]).reshape(16, 16).T)  # [out, in]
    a = np.asarray(p["blocks/attn/q/adapters/lora/a"])[layer][:, :rank].T
    b = np.asarray(p["blocks/attn/q/adapters/lora/b"])[layer][:rank].reshape(rank, 16).T
    size = 16**0.25 / 16**0.5
    np.testing.assert_allclose(np.abs(np.sum(a * vt[:rank], 1)), size, rtol=1e-4)
    np.testing.assert_allclose(np.abs(np.sum(b * u[:, rank : 2 * rank], 0)), size, rtol=1e-4)


@pytest.mark.heavy
def test_loftq_gives_back_most_of_what_quantising_lost(tmp_path):
  whole = tiny.base()
  load.save_hf(str(tmp_path), whole.module, whole.params)
  packed = load.load(str(tmp_path), mesh=tiny.mesh(1), rules=axes.DEFAULT_RULES, quantised=quant.Quant(kind="nf4"))
  method = lora.Lora(rank=8, init="loftq")
  lost = calibrate.residuals(packed, (method,), lambda: whole)
  attach = lambda method: attach_lib.attach(
    packed.module, packed.params, (method,), jax.random.key(0), mesh=tiny.mesh(1), statistics=lost
  )
  exact = tiny.logits(whole, BATCHES[0])
  error = lambda attached: float(np.abs(tiny.logits(attached, BATCHES[0]) - exact).max())
  assert error(attach(method)) < 0.6 * error(attach(dataclasses.replace(method, init="uniform")))
  for path, found in lost["lora"].items():
    p = {name: np.asarray(attach(method).params[f"{path}/adapters/lora/{name}"]) for name in ("a", "b", "scale")}
    for layer in range(2):
      r = np.asarray(found["kernel"][layer]).reshape(-1, p["b"][layer].reshape(8, -1).shape[1])
      left = r - p["scale"][layer] * p["a"][layer].reshape(-1, 8) @ p["b"][layer].reshape(8, -1)
      np.testing.assert_allclose(np.linalg.norm(left), np.linalg.norm(np.linalg.svd(r)[1][8:]), rtol=1e-3, atol=1e-5)
  with pytest.raises(errors.InputError, match="blocks/attn/k is not quantised"):
    calibrate.residuals(whole, (method,), lambda: whole)


def test_without_its_statistic_a_method_is_not_a_number_and_the_notebook_says_what_to_do():
  attached = tiny.attach(tiny.base(), dataclasses.replace(LORA, init="eva"))
  assert np.isnan(tiny.logits(attached, BATCHES[0])).any()
  with pytest.raises(errors.InputError, match="lora: starts from data or from the whole weights; train it by a recipe"):
    api.Model(session(LORA)).attach(dataclasses.replace(LORA, init="eva"))
  for wrong in (dict(rho=2.0), dict(init="eva", rho=0.5), dict(init="eva", batches=0)):
    with pytest.raises(errors.InputError, match=r"Lora\.(rho|batches)"):
      lora.Lora(**wrong)


def test_probes_are_named_for_what_methods_ask():
  assert set(probes_lib.PROBES) | {"residual", ""} == set(method_lib.Statistic.__args__)
