"""Gradients of single examples, many at a time, made small by random signs before they leave the device.

`vmap` of `grad` over rows that hold one example each: the frozen matmuls run over all of them together, and only the
adapter's own gradients have an axis of examples. They are preconditioned as Adam would, if asked, and projected by a
Rademacher matrix of which no more than a piece ever exists: its signs are a function of (seed, parameter, piece).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from itune_jax.core import batch as batch_lib
from itune_jax.core import pack
from itune_jax.core import rng
from itune_jax.core import vocabulary
from itune_jax.parallel import shard

PIECE, BUCKET = 512, 32  # numbers that are projected at a time; positions of a row are a multiple of the second
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


class Moments(NamedTuple):
  """Adam's two moments of each parameter, by name."""

  first: Mapping[str, Any]
  second: Mapping[str, Any]


def batches(examples: Sequence[Sequence[pack.Item]], size: int) -> Iterator[tuple[list[int], batch_lib.Batch]]:
  """(numbers of examples, a batch of `size` rows) over all of them, one a row, alike in length: the items of an example
  are the segments of its row. What is missing in the last batch are empty rows."""
  lengths = [sum(len(item.ids) - 1 for item in one) for one in examples]
  order = sorted(range(len(examples)), key=lambda i: (lengths[i], i))
  for at in range(0, len(order), size):
    members = order[at : at + size]
    row_length = -(-lengths[members[-1]] // BUCKET) * BUCKET
    rows = [list(examples[i]) for i in members] + [[]] * (size - len(members))
    yield members, pack.fill(rows, row_length)


def projected(
  bind: Any,
  trainable: Mapping[str, Any],
  frozen: Mapping[str, Any],
  examples: Sequence[Sequence[pack.Item]],
  *,
  dims: int,
  seed: int = 0,
  moments: Moments | None = None,
  size: int = 16,
  put: Callable = lambda x: x,
  progress: Callable[[int], None] = lambda n: None,
) -> np.ndarray:
  """Projected gradients [N, dims] float32 of the mean nats of each example, or with moments of Adam's steps.

  dims: a multiple of 32; inner products are kept in expectation. size: examples that run together; each value is the
  same whatever it is, to the last bits.
  """
  run = program(bind, dims, moments is not None)
  found = np.zeros((len(examples), dims), np.float32)
  for members, batch in batches(examples, size):
    made = jax.device_get(run(dict(trainable), dict(frozen), put(batch), moments and _trees(moments), rng.root(seed)))
    found[members] = made[: len(members)]
    progress(len(members))
  return found


def per_example(bind: Any, trainable: Mapping[str, Any], frozen: Mapping[str, Any], batch: batch_lib.Batch) -> Any:
  """Inside a trace: gradients by name, each [B, ...], of the mean nats of every row of a batch."""
  rows = batch.tokens_BT.shape[0]
  chunk = max(1, vocabulary.CHUNK // rows)  # logits of all rows together, no more than one row has elsewhere

  def loss(trainable, row):
    one = jax.tree.map(lambda x: x[None], row)
    model = bind({**trainable, **frozen})
    ctx = model.context(one)
    hidden_BTD, _ = model.hidden(one.tokens_BT, ctx)
    weights_BT = one.weights_BT.astype(jnp.float32)
    project = lambda h, at: model.project(h, ctx.replace(at_BT=at))
    total, _, _ = vocabulary.cross_entropy(project, hidden_BTD, one.targets_BT, weights_BT, chunk=chunk)
    return total / jnp.maximum(weights_BT.sum(), 1e-9)

  return jax.vmap(jax.grad(loss), (None, 0))(dict(trainable), batch)


def adam(gradient: Any, first: Any, second: Any) -> Any:
  """Adam's direction of a gradient [B, ...] by moments, as LESS has it: ε inside of the root, no correction of bias."""
  m = BETA1 * first + (1 - BETA1) * gradient
  v = BETA2 * second + (1 - BETA2) * gradient**2
  return m / jnp.sqrt(v + EPS)


def signs(key: Any, piece: Any, dims: int) -> Any:
  """A piece [PIECE, dims] of the Rademacher matrix, of +1 and -1 in float32."""
  bits = jax.random.bits(jax.random.fold_in(key, piece), (PIECE, dims // 32), jnp.uint32)
  each = (bits[..., None] >> jnp.arange(32, dtype=jnp.uint32)[None, None]) & 1
  return each.reshape(PIECE, dims).astype(jnp.float32) * 2 - 1


def project(gradients: Mapping[str, Any], dims: int, key: Any) -> Any:
  """Σ over parameters of gradient · signs / √dims: [B, dims]."""
  total = jnp.zeros((next(iter(gradients.values())).shape[0], dims), jnp.float32)
  for name in sorted(gradients):
    flat = gradients[name].reshape(gradients[name].shape[0], -1).astype(jnp.float32)
    pieces = -(-flat.shape[1] // PIECE)
    flat = jnp.pad(flat, ((0, 0), (0, pieces * PIECE - flat.shape[1])))
    own = rng.named(key, name)

    def body(i, total, flat=flat, own=own):
      part = jax.lax.dynamic_slice_in_dim(flat, i * PIECE, PIECE, axis=1)
      return total + jnp.dot(part, signs(own, i, dims), precision=jax.lax.Precision.HIGHEST)

    total = jax.lax.fori_loop(0, pieces, body, total)
  return total / math.sqrt(dims)


@functools.lru_cache(maxsize=16)
def program(bind: Any, dims: int, with_adam: bool) -> Callable:
  """`(trainable, frozen, batch, moments, key) -> [B, dims]`."""

  @jax.jit
  def run(trainable, frozen, batch, moments, key):
    found = per_example(bind, trainable, frozen, batch)
    if with_adam:
      first, second = moments
      found = {name: adam(found[name].astype(jnp.float32), first[name][None], second[name][None]) for name in found}
    return shard.everywhere(project(found, dims, key), bind.mesh)

  return run


def _trees(moments: Moments) -> tuple[dict[str, Any], dict[str, Any]]:
  return dict(moments.first), dict(moments.second)
