"""Attention on CPU by a kernel of our own (`native.cc`), behind the same rules as `kernels.packed`.

XLA on CPU runs a loop over blocks on one core, and the small products in it at a third of a large one's speed. The
kernel takes stretches of the rows on all cores. Where no compiler can build it, that loop is what runs.
"""

import functools
import pathlib
from typing import Any

import jax
from jax import ad_checkpoint
import jax.numpy as jnp
import numpy as np

from itune_jax.core import foreign
from itune_jax.nn.attention import mask

LANES = 16  # numbers of a head that fill vectors of any processor


def supports(q_BTNH) -> bool:
  """Whether the kernel takes this: whole vectors, and a compiler that could build it."""
  return q_BTNH.shape[-1] % LANES == 0 and _targets() is not None


def packed(how: tuple[float, float], q_BTNH, k_BTKH, v_BTKH, rows: mask.Rows, window) -> tuple[Any, Any]:
  """Attention of packed rows on one device, made in float32. What is kept has the dtype of what is given.

  Args:
    how: (scale of the scores, softcap or 0). q_BTNH, k_BTKH, v_BTKH, rows: as for `kernels.packed`, H a multiple of 16.
      window: positions that a query sees, itself included, or None.

  Returns:
    out [B, T, N, H] in q's dtype, log-sum-exp [B, T, N] float32.
  """
  attend: Any = _attend
  return attend(how, q_BTNH, k_BTKH, v_BTKH, mask.spans(rows, window))


def _targets() -> tuple[str, ...] | None:
  source = pathlib.Path(__file__).with_name("native.cc")
  return foreign.handlers(str(source), "attention_forward", "attention_backward")


def _call(which: int, how, results, spans: mask.Spans, *given):
  """results: (shape, dtype) of what is made. given: q, k, v and what else the handler takes behind the spans. Axes that
  a batched call adds are rows to the kernel."""
  scale, softcap = how
  none = jnp.zeros((0,), jnp.int32)  # says that no row has groups
  ranges = (none if x is None else x for x in spans)
  shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape, _ in results]
  call = jax.ffi.ffi_call((_targets() or ())[which], shapes, vmap_method="broadcast_all")
  q, k, v, *more = (x.astype(jnp.float32) for x in given)
  found = call(q, k, v, *ranges, *more, scale=np.float32(scale), softcap=np.float32(softcap))
  return tuple(x.astype(dtype) for x, (_, dtype) in zip(found, results, strict=True))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(how, q_BTNH, k_BTKH, v_BTKH, spans):
  return _forward(how, q_BTNH, k_BTKH, v_BTKH, spans)[0]


def _forward(how, q_BTNH, k_BTKH, v_BTKH, spans):
  given = q_BTNH, k_BTKH, v_BTKH
  results = (q_BTNH.shape, q_BTNH.dtype), (q_BTNH.shape[:-1], jnp.float32)
  out_BTNH, lse_BTN = _call(0, how, results, spans, *given)
  # Named, so that a rematerialisation policy can keep them and never run the kernel twice.
  out_BTNH = ad_checkpoint.checkpoint_name(out_BTNH, "attn_out")
  lse_BTN = ad_checkpoint.checkpoint_name(lse_BTN, "attn_lse")
  return (out_BTNH, lse_BTN), (spans, *given, out_BTNH, lse_BTN)


def _backward(how, saved, cotangents):
  spans, *given = saved
  return *_call(1, how, [(x.shape, x.dtype) for x in given[:3]], spans, *given, *cotangents), None


_attend.defvjp(_forward, _backward)
