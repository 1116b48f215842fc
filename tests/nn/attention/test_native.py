"""The CPU kernel against the full score matrix and against XLA's loop; both results and their gradients."""

import os
import platform
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from itune_jax.core import axes
from itune_jax.core import batch as batch_lib
from itune_jax.core import foreign
from itune_jax.nn.attention import kernels
from itune_jax.nn.attention import mask
from itune_jax.nn.attention import native
from itune_jax.nn.attention import ring
from tests import tiny

NAMES = "attention_forward", "attention_backward"
needs_compiler = pytest.mark.skipif(
  not any(shutil.which(name) for name in foreign._COMPILERS), reason="no C++ compiler: XLA's loop runs in its place"
)


def segments_of(rs, T, longest, padded):
  ids, s = [0] * padded[0], 0
  while len(ids) < T - padded[1]:
    s += 1
    ids += [s] * rs.randint(1, longest)
  return ids[: T - padded[1]] + [0] * padded[1]


def draw(T, heads, H, longest, dtype="float32"):
  """Two rows; one with padding before, between and behind its segments."""
  rs, (N, K) = np.random.RandomState(T), heads
  make = lambda *shape: jnp.asarray(rs.randn(*shape), dtype)
  segments = np.asarray([segments_of(rs, T, longest, (0, 0)), segments_of(rs, T, longest, (T // 9, T // 6))], np.int32)
  segments[1, T // 2 : T // 2 + T // 16] = 0
  segments[1, T // 2 + T // 16 :] += 1000 * (segments[1, T // 2 + T // 16 :] != 0)
  return (
    (make(2, T, N, H), make(2, T, K, H), make(2, T, K, H)),
    jnp.asarray(segments),
    (make(2, T, N, H), make(2, T, N)),
  )


def both(attend, given, segments, cotangents):
  """(out, lse) where something is seen, and the gradients of both."""

  def loss(*given):
    out, lse = attend(*given)
    seen = (segments != 0)[..., None]
    total = jnp.sum(out.astype(jnp.float32) * cotangents[0]) + jnp.sum(jnp.where(seen, lse * cotangents[1], 0))
    return total, (out, lse)

  (_, found), grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))(*given)
  return *found, *grads


@needs_compiler
@pytest.mark.parametrize(
  "T, heads, H, longest, window, softcap",
  [
    (1, (2, 2), 16, 2, None, 0.0),
    (33, (2, 1), 48, 9, None, 0.0),
    (300, (6, 2), 64, 200, None, 0.0),
    (700, (4, 1), 16, 700, None, 0.0),
    (700, (3, 3), 80, 150, 40, 0.0),
    (260, (4, 2), 128, 100, None, 3.0),
    (300, (2, 1), 16, 300, 1, 0.0),
  ],
)
@pytest.mark.by_default(3)
def test_it_equals_the_full_score_matrix_and_xlas_loop(T, heads, H, longest, window, softcap):
  given, segments, cotangents = draw(T, heads, H, longest)
  how, reach = (H**-0.5, softcap), None if window is None else jnp.int32(window)
  ours = both(lambda *x: native.packed(how, *x, mask.Rows(segments), reach), given, segments, cotangents)
  loop = both(lambda *x: kernels._packed(how, *x, mask.spans(mask.Rows(segments), reach)), given, segments, cotangents)
  full = lambda *x: kernels.reference(*x, mask.Rows(segments), window=window, scale=how[0], softcap=softcap)
  exact = both(full, given, segments, cotangents)
  for found, other, wanted in zip(ours, loop, exact, strict=True):
    np.testing.assert_allclose(found, wanted, atol=3e-5)
    np.testing.assert_allclose(other, wanted, atol=3e-5)


@needs_compiler
def test_it_is_what_runs_on_cpu_and_gives_the_same_bits_every_time():
  given, segments, cotangents = draw(600, (6, 2), 32, 200)
  run = lambda: both(lambda *x: kernels.packed(*x, mask.Rows(segments)), given, segments, cotangents)
  assert "itune_attention_forward" in str(jax.make_jaxpr(lambda *x: kernels.packed(*x, mask.Rows(segments)))(*given))
  first = run()
  for _ in range(5):  # which thread takes what differs
    for a, b in zip(first, run(), strict=True):
      np.testing.assert_array_equal(a, b)


@needs_compiler
def test_a_batched_call_is_more_rows():
  given, segments, _ = draw(40, (2, 1), 16, 20)
  twice = tuple(jnp.stack([x, x[::-1]]) for x in given)
  how = (0.25, 0.0)
  both_ways = jax.vmap(lambda q, k, v, s: native.packed(how, q, k, v, mask.Rows(s), None))
  out, lse = both_ways(*twice, jnp.stack([segments, segments[::-1]]))
  one, one_lse = native.packed(how, *given, mask.Rows(segments), None)
  np.testing.assert_array_equal(out, jnp.stack([one, one[::-1]]))
  np.testing.assert_array_equal(lse, jnp.stack([one_lse, one_lse[::-1]]))


@needs_compiler
def test_bfloat16_is_made_in_float32():
  given, segments, _ = draw(100, (4, 2), 64, 60, "bfloat16")
  found, lse = native.packed((0.125, 0.0), *given, mask.Rows(segments), None)
  wanted, _ = native.packed((0.125, 0.0), *(x.astype(jnp.float32) for x in given), mask.Rows(segments), None)
  assert found.dtype == jnp.bfloat16 and lse.dtype == jnp.float32
  np.testing.assert_array_equal(found, wanted.astype(jnp.bfloat16))


@needs_compiler
def test_what_is_not_a_number_stays_one():
  given, segments, _ = draw(64, (2, 1), 16, 40)
  bad = given[0].at[0, 10].set(jnp.nan)
  out, lse = native.packed((0.25, 0.0), bad, *given[1:], mask.Rows(segments), None)
  assert np.isnan(np.asarray(out)[0, 10]).all() and np.isnan(np.asarray(lse)[0, 10]).all()
  assert np.isfinite(np.delete(np.asarray(out)[0], 10, axis=0)).all()


def test_where_nothing_can_build_it_the_loop_runs(monkeypatch):
  monkeypatch.setattr(native, "_targets", lambda: None)
  given, segments, _ = draw(40, (2, 1), 16, 20)
  text = str(jax.make_jaxpr(lambda *x: kernels.packed(*x, mask.Rows(segments)))(*given))
  assert "ffi_call" not in text and "while" in text


@needs_compiler
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the flags are those of x86")
@pytest.mark.parametrize("flags", [(), ("-mavx2", "-mfma")], ids=["4 lanes", "8 lanes"])
@pytest.mark.heavy
def test_shorter_vectors_give_the_same_and_no_compiler_warns(flags, monkeypatch, tmp_path):
  with open("/proc/cpuinfo", encoding="utf-8") as f:
    if "avx2" not in f.read():
      pytest.skip("this processor has no AVX2")
  monkeypatch.setattr(foreign, "_TUNED", (flags,))
  monkeypatch.setattr(foreign, "_FLAGS", (*foreign._FLAGS, "-Wall", "-Werror"))
  monkeypatch.setattr(foreign, "_kept_in", str(tmp_path))
  given, segments, cotangents = draw(150, (4, 2), 48, 100)
  attend = lambda *x: native.packed((48**-0.5, 2.0), *x, mask.Rows(segments), jnp.int32(60))
  wanted = both(attend, given, segments, cotangents)
  targets = foreign.handlers.__wrapped__(native.__file__.replace(".py", ".cc"), *NAMES)
  assert targets is not None and targets != native._targets()
  monkeypatch.setattr(native, "_targets", lambda: targets)
  jax.clear_caches()
  for a, b in zip(both(attend, given, segments, cotangents), wanted, strict=True):
    np.testing.assert_allclose(a, b, atol=2e-5)


@needs_compiler
@pytest.mark.parametrize("shape", [dict(data=2, fsdp=1, tensor=2), dict(data=2, fsdp=1, sequence=2)])
def test_it_runs_on_a_mesh_and_in_the_ring(shape):
  given, segments, cotangents = draw(256, (4, 2), 16, 200)
  mesh = tiny.mesh(devices=4, **shape)
  ctx = batch_lib.Ctx(None, segments, mesh=mesh, rules=tuple(axes.DEFAULT_RULES.items()))
  attend = ring.packed if "sequence" in shape else kernels.packed
  found = both(lambda *x: attend(*x, mask.Rows(segments), ctx, window=100), given, segments, cotangents)
  wanted = both(lambda *x: kernels.reference(*x, mask.Rows(segments), window=100), given, segments, cotangents)
  for a, b in zip(found, wanted, strict=True):
    np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize("compilers", [foreign._COMPILERS, ("no-such-compiler",)])
def test_a_file_that_cannot_be_built_says_so_in_one_line_and_leaves_nothing(compilers, monkeypatch, tmp_path, capfd):
  monkeypatch.setattr(foreign, "_COMPILERS", compilers)
  monkeypatch.setattr(foreign, "_kept_in", str(tmp_path / "kept"))
  source = tmp_path / "broken.cc"
  source.write_text("int f() { return nothing; }\n")
  assert foreign.handlers(str(source), "f") is None
  said = capfd.readouterr().err
  assert said.count("\n") == 1 and "broken.cc: a slower form is used" in said
  assert list((tmp_path / "kept").iterdir()) == []


@needs_compiler
def test_a_file_that_cannot_be_loaded_or_kept_says_so_in_one_line(monkeypatch, tmp_path, capfd):
  source = tmp_path / "empty.cc"
  source.write_text("\n")
  monkeypatch.setattr(foreign, "_kept_in", str(tmp_path))
  built = foreign._built(source, str(tmp_path))
  os.truncate(built, 0)
  assert foreign.handlers(str(source), "f") is None
  assert capfd.readouterr().err.count("\n") == 1
  monkeypatch.setattr(foreign, "_kept_in", str(source / "kept"))
  assert foreign.handlers.__wrapped__(str(source), "f") is None
  assert capfd.readouterr().err.count("\n") == 1
