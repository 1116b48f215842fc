"""Attention on TPU by the splash kernels of JAX (Mosaic), behind the same rules as `kernels.packed`.

The kernels are called below their own transpose rule, so that the log-sum-exp is a result like any other: partial
attention merges by it, and its cotangent enters the backward pass as a shift of Σ dO∘O.

They know of one number a token, and a query sees the keys of its own. So they run once for segments and, where rows
have groups, again for trunks; both runs are one operation, which keeps the merged result alone: the gradients of either
need no more than that. Their walk over blocks is fixed beforehand: neither run skips what is of other segments.
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


def packed(how: tuple[float, float], q_BTNH, k_BTKH, v_BTKH, rows: mask.Rows, interpret: bool = False) -> Any:
  """Attention of packed rows on one device; heads are grouped without repeating keys.

  Args:
    how: (scale of the scores, softcap or 0). q_BTNH, k_BTKH, v_BTKH, rows: as for `kernels.packed`, T a multiple of
      128. interpret: run the kernels' own interpreter, for tests without a TPU.

  Returns:
    out [B, T, N, H] in q's dtype, log-sum-exp [B, T, N] float32.
  """
  return _run((True, interpret), how, q_BTNH, k_BTKH, v_BTKH, rows, rows)


def in_front(how, q_BTNH, k_BTKH, v_BTKH, rows: mask.Rows, k_rows: mask.Rows, interpret: bool = False) -> Any:
  """As `packed`, over keys that all lie before the queries of their row: a stretch of equal length in front of them."""
  return _run((False, interpret), how, q_BTNH, k_BTKH, v_BTKH, rows, k_rows)


def _numbers(rows: mask.Rows, k_rows: mask.Rows) -> tuple[tuple[Any, Any], ...]:
  """What queries and keys go by in each run, [B, T]: -1 is of keys that no query sees, 0 of queries that see none."""
  keys = lambda numbers_BT: jnp.where(numbers_BT > 0, numbers_BT, -1)
  own = rows.segments_BT, keys(k_rows.segments_BT)
  return (own,) if rows.groups_BT is None else (own, (jnp.maximum(-rows.groups_BT, 0), keys(k_rows.groups_BT)))


def _run(static, how, q_BTNH, k_BTKH, v_BTKH, rows, k_rows):
  """static: (causal, interpret)."""
  scale, softcap = how
  H = q_BTNH.shape[-1]
  pad = lambda x: jnp.pad(x, [(0, 0)] * 3 + [(0, -H % LANES)])  # heads fill whole lanes
  heads_first = lambda x: pad(x).transpose(0, 2, 1, 3)
  q_BNTH = heads_first(q_BTNH * jnp.asarray(scale, q_BTNH.dtype))
  run = functools.partial(_attend, (softcap, *static))
  out_BNTH, lse_BNT = jax.vmap(run)(q_BNTH, heads_first(k_BTKH), heads_first(v_BTKH), _numbers(rows, k_rows))
  # A query that sees nothing comes back with the mean of all values, and a log-sum-exp far below any other.
  sees_BTN = lse_BNT.transpose(0, 2, 1) > mask.NEG
  out_BTNH = jnp.where(sees_BTN[..., None], out_BNTH.transpose(0, 2, 1, 3)[..., :H], 0)
  return out_BTNH, jnp.where(sees_BTN, lse_BNT.transpose(0, 2, 1), mask.NEG)


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
def _attend(static, q_NTH, k_KTH, v_KTH, numbers):
  return _forward(static, q_NTH, k_KTH, v_KTH, numbers)[0]


def _in_own_dtype(run):
  """bfloat16 is multiplied as it is, whatever JAX is told of float32: Mosaic refuses any other wish."""

  @functools.wraps(run)
  def wrapped(static, *given):
    dtype = jax.tree.leaves(given)[0].dtype
    with jax.default_matmul_precision("default") if dtype == jnp.bfloat16 else contextlib.nullcontext():
      return run(static, *given)

  return wrapped


@_in_own_dtype
def _forward(static, q, k, v, numbers):
  kernel, parts = _kernel(q.shape[1], q.shape[0], *static), []
  for ids in numbers:
    given = kernel.fwd_mask_info, q, k, v, splash.SegmentIds(*ids), None
    part, (lse,) = splash._splash_attention_forward(*given, save_residuals=True, **_static(kernel))
    parts.append((part, lse))
  out, lse = functools.reduce(_merged, parts)
  out = ad_checkpoint.checkpoint_name(out, "attn_out")
  lse = ad_checkpoint.checkpoint_name(lse, "attn_lse")
  return (out, lse), (q, k, v, numbers, out, lse)


def _merged(one, other):
  """Attention (out, log-sum-exp) over both sets of keys, in float32 however the parts are kept."""
  lse = jnp.logaddexp(one[1], other[1])
  share = lambda part: part[0].astype(jnp.float32) * jnp.exp(part[1] - lse)[..., None]
  return (share(one) + share(other)).astype(one[0].dtype), lse


@_in_own_dtype
def _backward(static, saved, cotangents):
  q, k, v, numbers, out, lse = saved
  d_out, d_lse = cotangents
  kernel = _kernel(q.shape[1], q.shape[0], *static)
  shift = jnp.sum(out.astype(jnp.float32) * d_out.astype(jnp.float32), axis=-1) - d_lse
  tile = _tile(q.shape[1])
  layouts: dict[str, Any] = {f"{x}_layout": splash.QKVLayout.HEAD_DIM_MINOR for x in "qkv"}
  how: dict[str, Any] = {
    k: v for k, v in _static(kernel).items() if k not in ("block_sizes", "residual_checkpoint_name")
  } | layouts
  by_keys = dict(bq=tile, bkv=tile, bkv_compute=tile, mask_info=kernel.dkv_mask_info, use_fused_bwd_kernel=False)

  def gradients(ids):
    given = (q, k, v, splash.SegmentIds(*ids), None, lse, d_out, shift)
    _, d_k, d_v = splash._splash_attention_bwd_dkv(*given, **by_keys, **how)
    return splash._splash_attention_bwd_dq(*given, bq=tile, bkv=tile, mask_info=kernel.dq_mask_info, **how), d_k, d_v

  return *functools.reduce(lambda a, b: jax.tree.map(jnp.add, a, b), map(gradients, numbers)), None


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
