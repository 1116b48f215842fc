"""Distillation across vocabularies over stretches of text: tokens that differ are merged where both meet again."""

from collections.abc import Mapping
import dataclasses
import functools
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp

from itune_jax.core import batch as batch_lib
from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import numerics
from itune_jax.core import common_words
from itune_jax.core import ranges
from itune_jax.objectives.distill import divergences
from itune_jax.objectives.distill import logits as distill

STRETCH = batch_lib.Column("stretch", "int32", (2,))  # tokens of both up to where they begin one together again
_LEAST = math.log(1e-8)  # of a token's log-prob within a stretch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stretches(contracts.Objective):
  """Σ w · Σ_r |a·p_(r) - b·q_(r)| of both distributions' probabilities, largest first, at every stretch of text: the
  tokens between two characters at which both begin a token (GOLD, Patiño et al. 2025, on ULD, Boizard et al. 2024).

  A stretch of several tokens has one distribution: that of one of its tokens, times the probabilities of the others
  (a of the student's, b of the teacher's). "observed" takes the first token's distribution and multiplies by what
  follows; "bayesian" the last one's, multiplied by what leads there (the chain rule).

  With `hybrid` the words that both vocabularies write alike are compared by name, by the generalised Jensen-Shannon
  divergence of a·p and b·q over them, and by rank are compared the other words alone (0 where one side has none). The
  loss is the sum of both parts by their weights.

  merge: one of the two. temperature: what both models' logits are divided by. scale: multiplies the loss. sft: weight
  of the cross-entropy on the tokens at which stretches begin. chunk: positions projected onto the vocabulary at a
  time, by each shard of the batch; 0 for the default. hybrid: whether common words are compared by name. beta: the
  teacher's share in what both are compared with; 0 is KL(teacher || student), 1 is KL(student || teacher). matched:
  weight of common words, None for their share of the teacher's vocabulary. unmatched: weight of the others, None for
  the rest of that share; both are given or neither.
  """

  merge: Literal["observed", "bayesian"] = "observed"
  temperature: float = 1.0
  scale: float = 1.0
  sft: float = 0.0
  chunk: ranges.NonNegativeInt = 0
  hybrid: bool = False
  beta: float = 0.5
  matched: float | None = None
  unmatched: float | None = None

  def __post_init__(self):
    check.check_types(self)
    check.require(self.temperature > 0, f"Stretches.temperature must be positive, not {self.temperature}")
    check.require(self.scale > 0, f"Stretches.scale must be positive, not {self.scale}")
    check.require(self.sft >= 0, f"Stretches.sft must be a weight of 0 or more, not {self.sft}")
    check.require(0 <= self.beta <= 1, f"Stretches.beta must be a share from 0 to 1, not {self.beta}")
    given = [weight for weight in (self.matched, self.unmatched) if weight is not None]
    check.require(len(given) != 1, "Stretches.matched and Stretches.unmatched are two weights: give both, or neither")
    check.require(
      all(weight >= 0 for weight in given) and (not given or any(given)),
      f"Stretches.matched and Stretches.unmatched must be 0 or more, and not both 0: {given}",
    )
    check.require(
      self.hybrid or (self.beta == 0.5 and not given),
      "Stretches.beta, matched and unmatched act on common words: set Stretches.hybrid = True",
    )

  @property
  def needs(self) -> tuple[str, ...]:
    """The teacher."""
    return ("teacher",)

  @property
  def columns(self) -> tuple[batch_lib.Column, ...]:
    """Where the teacher predicts the same, and how long stretches are."""
    return (distill.AHEAD, STRETCH)

  def __call__(self, views: Mapping[str, contracts.View], batch: batch_lib.Batch, key: Any) -> contracts.Sums:
    """Sums over one micro-batch."""
    weights_BT = batch.weights_BT.astype(jnp.float32)
    trained_BT = weights_BT != 0
    ahead_BT = jnp.where(trained_BT, batch.columns["ahead"], 0)
    lengths_BT2 = jnp.where(trained_BT[..., None], batch.columns["stretch"], 1)
    sides = []
    for number, name in enumerate(("policy", "teacher")):
      ctx = views[name].context(batch, key) if name == "policy" else views[name].context(batch)
      hidden_BTD = views[name].hidden(batch.tokens_BT, ctx)[0]
      begins_BT = _places(ahead_BT) if number else _places(jnp.zeros_like(ahead_BT))
      sides.append(_Side(views[name], ctx, hidden_BTD, begins_BT, lengths_BT2[..., number]))
    own, other = (side.others_BT(batch, self) for side in sides)
    policy, teacher = (side.view(self.merge == "bayesian") for side in sides)
    columns = jax.lax.stop_gradient((own, other)), batch.targets_BT
    how: dict[str, Any] = dict(others=[(teacher, sides[1].ctx)], columns=columns, chunk=self.chunk)
    shared = views["teacher"].shared_words if self.hybrid else None
    distance = functools.partial(self.of, shared=shared)
    each_BT, slope_BT, nll_BT, parts = policy.over_vocabulary(distance, batch, sides[0].ctx, **how)
    # Columns carry no gradient: that of the student's factor is put back as a line through the value.
    each_BT += jax.lax.stop_gradient(slope_BT) * (own - jax.lax.stop_gradient(own))
    each = jnp.sum(weights_BT * each_BT)
    if self.sft and self.merge == "bayesian":  # a stretch's last token is at hand there, and not its first
      nll_BT = -sides[0].view(False).token_logprobs(batch, sides[0].ctx, chunk=self.chunk)
    count = trained_BT.astype(jnp.float32).sum()
    mean = lambda x: (jax.lax.stop_gradient(jnp.sum(jnp.where(trained_BT, x, 0))), count)
    metrics = {"divergence": mean(each_BT), "stretch_tokens": mean(lengths_BT2[..., 0].astype(jnp.float32))}
    metrics |= {name: mean(part_BT) for name, part_BT in parts.items()}
    metrics |= {"nll": mean(nll_BT)} if self.merge == "observed" or self.sft else {}
    return contracts.Sums(self.scale * each + self.sft * jnp.sum(weights_BT * nll_BT), weights_BT.sum(), metrics)

  def of(self, logits, columns, shared: common_words.Shared | None = None):
    """The distance of both merged distributions, its slope along the student's factor, the targets' nats, and the
    parts of the distance by name."""
    (own, other), targets = columns
    p, q = (jax.nn.softmax(z / self.temperature, axis=-1) for z in logits)
    apart = functools.partial(self.apart, p, q, other, shared)
    each, slope, parts = jax.jvp(apart, (own,), (jnp.ones_like(own),), has_aux=True)
    nll = numerics.softmax_parts(logits[0])[2] - numerics.at_target(logits[0], targets)
    return each, slope, nll, parts

  def apart(self, p, q, other, shared: common_words.Shared | None, own) -> tuple[Any, dict[str, Any]]:
    """The distance of own · p and other · q, and its parts by name, which no gradient goes through."""
    if shared is None:
      by_rank = divergences.by_rank(p, q)
      return _total(own, by_rank[0], other, by_rank[1]), {}
    rest = shared.others(p.shape[-1], q.shape[-1])
    named = own[..., None] * p[..., shared.own_M], other[..., None] * q[..., shared.other_M]
    matched = self._by_name(*(jnp.log(jnp.maximum(x, math.exp(_LEAST))) for x in named))
    ranked = divergences.by_rank(p[..., rest[0]], q[..., rest[1]]) if all(map(len, rest)) else None
    unmatched = jnp.zeros_like(matched) if ranked is None else _total(own, ranked[0], other, ranked[1])
    share = len(shared.other_M) / q.shape[-1]
    of_matched = share if self.matched is None else self.matched
    of_unmatched = 1 - share if self.unmatched is None else self.unmatched
    return of_matched * matched + of_unmatched * unmatched, {"matched": matched, "unmatched": unmatched}

  def _by_name(self, student, teacher):
    """The divergence of masses over the same words, in nats; they need not sum to one."""
    if self.beta in (0, 1):
      return divergences.kl(student, teacher) if self.beta else divergences.kl(teacher, student)
    return divergences.jsd(student, teacher, self.beta)


def _total(own, p, other, q):
  """Σ |own · p - other · q|."""
  return jnp.sum(jnp.abs(own[..., None] * p - other[..., None] * q), axis=-1)


def _places(offset_BT):
  """Places of a row, each moved on; never behind its end."""
  T = offset_BT.shape[1]
  return jnp.clip(jnp.arange(T)[None] + offset_BT, 0, T - 1)


@dataclasses.dataclass(frozen=True)
class _Side:
  """One model's side of all stretches: at the place where the student's begins stands where its own begins, and how
  many tokens it has."""

  inner: contracts.View
  ctx: batch_lib.Ctx
  hidden_BTD: Any
  begins_BT: Any
  length_BT: Any

  def others_BT(self, batch: batch_lib.Batch, objective: Stretches):
    """Where a stretch begins, the probability of those of its tokens whose distribution is not taken."""
    first = 0 if objective.merge == "bayesian" else 1
    begins_BT, B = self.begins_BT + first, batch.tokens_BT.shape[0]
    ends_BT = begins_BT + self.length_BT - 1
    rows_B1, several_BT = jnp.arange(B)[:, None], (self.length_BT > 1).astype(jnp.int32)
    marks = jnp.zeros((B, batch.tokens_BT.shape[1] + 2), jnp.int32)
    begun = jnp.cumsum(marks.at[rows_B1, begins_BT].add(several_BT), axis=1)  # stretches of several tokens up to here
    ended = jnp.cumsum(marks.at[rows_B1, ends_BT].add(several_BT), axis=1)
    inside_BT = (begun > ended)[:, :-2]
    read = dataclasses.replace(batch, weights_BT=inside_BT.astype(jnp.float32))
    how: dict[str, Any] = dict(temperature=objective.temperature, chunk=objective.chunk)
    logp_BT = _Seen(self.inner, self.hidden_BTD).token_logprobs(read, self.ctx, **how)
    each_BT = jnp.where(inside_BT, jnp.maximum(logp_BT, _LEAST), 0)
    sums = jnp.zeros(marks.shape, jnp.float32).at[rows_B1, begun[:, :-2]].add(each_BT)
    number_BT = jnp.take_along_axis(begun, begins_BT, axis=1)
    return jnp.where(self.length_BT > 1, jnp.exp(jnp.take_along_axis(sums, number_BT, axis=1)), 1.0)

  def view(self, last: bool) -> contracts.View:
    """The model with the hidden state of a stretch's first token, or of its last one, where the stretch begins."""
    at_BT = self.begins_BT + (self.length_BT - 1 if last else 0)
    return _Seen(self.inner, jnp.take_along_axis(self.hidden_BTD, at_BT[..., None], axis=1))


class _Seen(contracts.View):
  """A model whose hidden states are known."""

  def __init__(self, inner: contracts.View, hidden_BTD: Any):
    self._inner, self._hidden_BTD = inner, hidden_BTD

  def context(self, batch: batch_lib.Batch, key: Any = None) -> batch_lib.Ctx:
    """The model's."""
    return self._inner.context(batch, key)

  def hidden(self, tokens_BT: Any, ctx: batch_lib.Ctx) -> tuple[Any, Any]:
    """What is known."""
    return self._hidden_BTD, {}

  def project(self, hidden: Any, ctx: Any = None) -> Any:
    """The model's."""
    return self._inner.project(hidden, ctx)
