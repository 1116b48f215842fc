"""Attention on TPU by the splash kernels of JAX (Mosaic), behind the same rules as `kernels.packed`.

The kernels are called below their own transpose rule, so that the log-sum-exp is a result like any other: partial
attention merges by it, and its cotangent enters the backward pass as a shift of Σ dO∘O.
"""

import contextlib
import functools
from typing import Any

import jax
from jax import ad_checkpoint
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as splash_mask
import jax.numpy as jnp

from itune_jax.nn.attention import mask

LANES = 128


def supports(q_BTNH, window) -> bool:
  """Whether the kernels take this: whole tiles of positions, and no window that differs by layer."""
  return q_BTNH.shape[1] % LANES == 0 and window is None


def packed(how: tuple[float, float], q_BTNH, k_BTKH, v_BTKH, segments_BT, interpret: bool = False) -> tuple[Any, Any]:
  """Causal attention inside segments on one device; heads are grouped without repeating keys.

  Args:
    how: (scale of the scores, softcap or 0). q_BTNH, k_BTKH, v_BTKH, segments_BT: as for `kernels.packed`, T a multiple
      of 128. interpret: run the kernels' own interpreter, for tests without a TPU.

  Returns:
    out [B, T, N, H] in q's dtype, log-sum-exp [B, T, N] float32.
  """
  return _run((True, interpret), how, q_BTNH, k_BTKH, v_BTKH, segments_BT, segments_BT, segments_BT != 0)


def in_front(how, q_BTNH, k_BTKH, v_BTKH, segments_BT, k_segments_BT, interpret: bool = False) -> tuple[Any, Any]:
  """As `packed`, over keys that all lie before the queries of their row: a stretch of equal length in front of them."""
  # Segments do not come back: what the last key belongs to is all that a query behind can share with the stretch.
  sees_BT = (segments_BT != 0) & (segments_BT == k_segments_BT[:, -1:])
  return _run((False, interpret), how, q_BTNH, k_BTKH, v_BTKH, segments_BT, k_segments_BT, sees_BT)


def _run(static, how, q_BTNH, k_BTKH, v_BTKH, segments_BT, k_segments_BT, sees_BT):
  """static: (causal, interpret)."""
  scale, softcap = how
  H = q_BTNH.shape[-1]
  pad = lambda x: jnp.pad(x, [(0, 0)] * 3 + [(0, -H % LANES)])  # heads fill whole lanes
  heads_first = lambda x: pad(x).transpose(0, 2, 1, 3)
  q_BNTH = heads_first(q_BTNH * jnp.asarray(scale, q_BTNH.dtype))
  run = functools.partial(_attend, (softcap, *static))
  given = q_BNTH, heads_first(k_BTKH), heads_first(v_BTKH), segments_BT, k_segments_BT
  out_BNTH, lse_BNT = jax.vmap(run)(*given)
  sees_BT1 = sees_BT[..., None]
  out_BTNH = jnp.where(sees_BT1[..., None], out_BNTH.transpose(0, 2, 1, 3)[..., :H], 0)
  return out_BTNH, jnp.where(sees_BT1, lse_BNT.transpose(0, 2, 1), mask.NEG)


def _tile(T: int) -> int:
  """The largest tile that divides a row: large tiles keep the matrix unit busy."""
  return next(tile for tile in (512, 256, 128) if T % tile == 0)


@functools.lru_cache(maxsize=16)
def _kernel(T: int, N: int, softcap: float, causal: bool, interpret: bool) -> Any:
  """The kernel's constants. Its masks are small tables of blocks, not [T, T]."""
  tile, kind = _tile(T), splash_mask.CausalMask if causal else splash_mask.FullMask
  with jax.ensure_compile_time_eval():
    return splash.make_splash_mha(
      splash_mask.MultiHeadMask([kind((T, T))] * N),
      block_sizes=splash.BlockSizes(
        block_q=tile, block_kv=tile, block_q_dkv=tile, block_kv_dkv=tile, block_q_dq=tile, block_kv_dq=tile
      ),
      attn_logits_soft_cap=softcap or None,
      head_shards=1,
      q_seq_shards=1,
      interpret=interpret,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(static, q_NTH, k_KTH, v_KTH, segments_T, k_segments_T):
  return _forward(static, q_NTH, k_KTH, v_KTH, segments_T, k_segments_T)[0]


def _in_own_dtype(run):
  """bfloat16 is multiplied as it is, whatever JAX is told of float32: Mosaic refuses any other wish."""

  @functools.wraps(run)
  def wrapped(static, *given):
    dtype = jax.tree.leaves(given)[0].dtype
    with jax.default_matmul_precision("default") if dtype == jnp.bfloat16 else contextlib.nullcontext():
      return run(static, *given)

  return wrapped


@_in_own_dtype
def _forward(static, q, k, v, segments, k_segments):
  kernel = _kernel(q.shape[1], q.shape[0], *static)
  out, (lse,) = splash._splash_attention_forward(
    kernel.fwd_mask_info, q, k, v, splash.SegmentIds(segments, k_segments), None, save_residuals=True, **_static(kernel)
  )
  out = ad_checkpoint.checkpoint_name(out, "attn_out")
  lse = ad_checkpoint.checkpoint_name(lse, "attn_lse")
  return (out, lse), (q, k, v, segments, k_segments, out, lse)


@_in_own_dtype
def _backward(static, saved, cotangents):
  q, k, v, segments, k_segments, out, lse = saved
  d_out, d_lse = cotangents
  kernel = _kernel(q.shape[1], q.shape[0], *static)
  shift = jnp.sum(out.astype(jnp.float32) * d_out.astype(jnp.float32), axis=-1) - d_lse
  given = (q, k, v, splash.SegmentIds(segments, k_segments), None, lse, d_out, shift)
  tile = _tile(q.shape[1])
  layouts: dict[str, Any] = {f"{x}_layout": splash.QKVLayout.HEAD_DIM_MINOR for x in "qkv"}
  how: dict[str, Any] = {
    k: v for k, v in _static(kernel).items() if k not in ("block_sizes", "residual_checkpoint_name")
  } | layouts
  _, d_k, d_v = splash._splash_attention_bwd_dkv(
    *given, bq=tile, bkv=tile, bkv_compute=tile, mask_info=kernel.dkv_mask_info, use_fused_bwd_kernel=False, **how
  )
  d_q = splash._splash_attention_bwd_dq(*given, bq=tile, bkv=tile, mask_info=kernel.dq_mask_info, **how)
  return d_q, d_k, d_v, None, None


_attend.defvjp(_forward, _backward)


def _static(kernel) -> dict[str, Any]:
  names = (
    "mask_value",
    "is_mqa",
    "block_sizes",
    "mask_function",
    "attn_logits_soft_cap",
    "interpret",
    "residual_checkpoint_name",
  )
  return {name: kernel.kwargs[name] for name in names}
