"""The contract table of objectives: one row each, with the batch that it reads and the views that it asks for."""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any

import numpy as np

from itune_jax.core import pack
from itune_jax.core import common_words
from itune_jax.data import made
from itune_jax.objectives import kept
from itune_jax.objectives import sft
from itune_jax.objectives.distill import divergences
from itune_jax.objectives.distill import logits as distill
from itune_jax.objectives.distill import relations
from itune_jax.objectives.distill import states
from itune_jax.objectives.distill import stretches
from itune_jax.objectives.distill import top_k
from itune_jax.objectives.preference import cpo
from itune_jax.objectives.preference import dpo
from itune_jax.objectives.preference import formulas
from itune_jax.objectives.preference import orpo
from itune_jax.objectives.preference import ranked
from itune_jax.objectives.preference import tdpo
from itune_jax.objectives.preference import tpo
from itune_jax.objectives.preference import labelled
from itune_jax.objectives.reward import bradley_terry
from itune_jax.objectives.reward import pointwise
from itune_jax.peft.methods import regressor
from tests import tiny
from tests.parts import policy_gradient

V = tiny.CONFIG.vocab


@dataclasses.dataclass(frozen=True)
class Row:
  """An objective, what it trains on, and where its other views come from: "base" (adapters off), "tree" (a frozen copy
  of other arrays), or "model" (another, wider model, laid out by rules of its own)."""

  objective: Any
  given: Callable[[], Sequence[Any]]
  others: str = ""
  scores: int = 0  # outputs of a head that scores, in place of the vocabulary's
  same_as: str = ""  # a row whose figures and gradients these must be
  methods: tuple[Any, ...] = ()  # that train beside the others
  words: common_words.Shared | None = None  # of the policy and the other view

  def batch(self, row_length: int = 64, rows: int = 8):
    """The examples in packed rows."""
    given = self.given()
    size = lambda one: one.positions if isinstance(one, pack.Group) else len(one.ids) - 1
    members = pack.best_fit_decreasing(list(map(size, given)), row_length)
    members += [[]] * (rows - len(members))
    grouped = any(isinstance(one, pack.Group) for one in given)
    packed = [[given[i] for i in row] for row in members]
    return pack.fill(packed, row_length, columns=self.objective.columns, grouped=grouped)


def texts(count: int = 16) -> list[pack.Item]:
  """Random conversations."""
  return [pack.Item(*one) for one in tiny.examples(count)]


def with_columns(make: Callable[[np.random.RandomState, int], dict[str, Any]]) -> Callable[[], list[pack.Item]]:
  """Random conversations with columns of so many ids each."""

  def made():
    rs = np.random.RandomState(7)
    return [item._replace(columns=make(rs, len(item.ids))) for item in texts()]

  return made


def pairs(share: bool) -> Callable[[], list[pack.Group]]:
  """Pairs of answers to common prompts, which stand once or in front of each."""

  def make():
    rs = np.random.RandomState(3)
    found = []
    for _ in range(9):
      prompt = rs.randint(0, V, rs.randint(3, 9))
      items, margin = [], rs.rand() + 0.1
      for side in (1.0, -1.0):
        answer = rs.randint(0, V, rs.randint(2, 8))
        ids = np.concatenate([prompt, answer]).astype(np.int32)
        weights = np.repeat([0.0, 1.0], [len(prompt), len(answer)]).astype(np.float32)
        items.append(pack.Item(ids, weights, columns={"side": side, "margin": margin}))
      group = pack.grouped(items)
      found.append(group if share else group.repeated())
    return found

  return make


def judged(make: Callable[[np.random.RandomState], Sequence[dict[str, float]]], share: bool = True):
  """Groups of answers to common prompts, of each what is said of it."""

  def made():
    rs, found = np.random.RandomState(5), []
    for _ in range(9):
      prompt, items = rs.randint(0, V, rs.randint(3, 7)), []
      for values in make(rs):
        answer = rs.randint(0, V, rs.randint(2, 7))
        ids = np.concatenate([prompt, answer]).astype(np.int32)
        weights = np.repeat([0.0, 1.0], [len(prompt), len(answer)]).astype(np.float32)
        items.append(pack.Item(ids, weights, columns=values))
      group = pack.grouped(items) if len(items) > 1 else pack.Group(tuple(items))
      found.append(group if share else group.repeated())
    return found

  return made


def ended(make: Callable[[], Sequence[pack.Group]]) -> Callable[[], list[pack.Group]]:
  """Groups whose one weight is behind each answer."""
  return lambda: [pack.Group(tuple(map(made.ended, group.items)), group.shared) for group in make()]


def steps(rs: np.random.RandomState, n: int) -> dict[str, Any]:
  """A verdict at some tokens."""
  return {"label": rs.choice([-1.0, 0.0, 1.0], n).astype(np.float32)}


def labels(rs: np.random.RandomState) -> list[dict[str, float]]:
  """One answer, wanted or not."""
  return [{"label": float(rs.choice([-1, 1]))}]


def mismatched(rs: np.random.RandomState) -> list[dict[str, float]]:
  """The same beside an answer to another prompt."""
  return [{**labels(rs)[0], "mismatch": 0.0}, {"label": 0.0, "mismatch": 1.0}]


def scores(rs: np.random.RandomState) -> list[dict[str, float]]:
  """Some answers with scores, of which two may be the same."""
  return [{"score": float(rs.randint(0, 4))} for _ in range(rs.randint(2, 5) - 1)] + [{"score": 5.0}]


def triples(rs: np.random.RandomState) -> list[dict[str, float]]:
  """Two answers and a third one."""
  del rs
  return [{"side": 1.0, "gold": 0.0}, {"side": -1.0, "gold": 0.0}, {"side": 0.0, "gold": 1.0}]


def told(context: bool) -> Callable[[], list[pack.Group]]:
  """Conversations beside what a teacher reads of them: behind a longer prompt, or in other tokens."""

  def made_():
    rs, found = np.random.RandomState(11), []
    for ids, weights in tiny.examples(8, longest=12):
      front = rs.randint(0, V, 3).astype(np.int32)
      theirs = np.r_[front, ids] if context else rs.randint(0, V, len(ids) + 2).astype(np.int32)
      ahead = np.where(np.arange(len(ids)) > 0, len(ids) - 1 + (3 if context else 1), 0).astype(np.int32)
      own = pack.Item(ids, weights, None, {"ahead": ahead})
      found.append(pack.Group((own, pack.Item(theirs, np.zeros(len(theirs), np.float32), None, {"ahead": 0}))))
    return found

  return made_


def stretched() -> list[pack.Group]:
  """Conversations beside what a teacher reads of them, in tokens that meet at some places alone."""
  rs, found = np.random.RandomState(13), []
  for _ in range(8):
    prompt, pieces = rs.randint(2, 5, 2), [rs.randint(1, 4, 2) for _ in range(rs.randint(2, 5))]
    ids, theirs = (
      rs.randint(0, V, n + sum(int(one[k]) for one in pieces)).astype(np.int32) for k, n in enumerate(prompt)
    )
    ahead, stretch = np.zeros(len(ids), np.int32), np.zeros((len(ids), 2), np.int32)
    j, i = map(int, prompt)
    for n, m in pieces:
      ahead[j], stretch[j] = len(ids) - 1 + i - j, (n, m)
      j, i = j + int(n), i + int(m)
    weights = np.where(ahead != 0, rs.choice([0.5, 1.0]), 0).astype(np.float32)
    own = pack.Item(ids, weights, None, {"ahead": ahead, "stretch": stretch})
    nothing = {"ahead": 0, "stretch": np.zeros(2, np.int32)}
    found.append(pack.Group((own, pack.Item(theirs, np.zeros(len(theirs), np.float32), None, nothing))))
  return found


def top(rs: np.random.RandomState, n: int) -> dict[str, Any]:
  """The likeliest three tokens of a teacher."""
  ids = np.stack([rs.choice(V, 3, replace=False) for _ in range(n)])
  return {
    "top_ids": ids.astype(np.int32),
    "top_logprobs": np.log(rs.dirichlet(np.ones(4), n)[:, :3]).astype(np.float32),
  }


def advantages(rs: np.random.RandomState, n: int) -> dict[str, Any]:
  """One advantage for all of an answer, and log-probs of those who sampled it."""
  return {"advantage": rs.randn(), "old_logprob": (-4 + 0.2 * rs.randn(n)).astype(np.float32)}


ROWS = {
  "sft": Row(sft.Sft(chunk=16), texts),
  "sft by example": Row(sft.Sft(chunk=16, normalise="example", z_loss=0.1), texts),
  "dpo, adapters off": Row(dpo.Dpo(chunk=16), pairs(False), "base"),
  "dpo, prompt once": Row(dpo.Dpo(chunk=16), pairs(True), "base", same_as="dpo, adapters off"),
  "orpo over prompts, prompt once": Row(orpo.Orpo(chunk=16, nll="prompt_and_answer"), pairs(True)),
  "distillation by jsd": Row(distill.Distill(chunk=16, divergence="jsd", beta=0.3, sft=0.5), texts, "model"),
  "top-k of a teacher": Row(top_k.TopK(chunk=16, k=3), with_columns(top)),
  "a reward of pairs": Row(bradley_terry.BradleyTerry(chunk=16, margin=0.5, centre=0.1), ended(pairs(True)), scores=1),
  "sft kept near the base": Row(kept.Kept(chunk=16, objective=sft.Sft(chunk=16), kl=0.3), texts, "base"),
  "kto": Row(labelled.Kto(chunk=16), judged(mismatched), "base"),
  "lists": Row(ranked.Ranked(chunk=16), judged(scores), "base"),
  "policy gradient": Row(policy_gradient.PolicyGradient(chunk=16), with_columns(advantages)),
}

_SMOOTH = dict.fromkeys(formulas.SMOOTHED, 0.1)
# The same of all members of the families, by `scripts/test.sh full`.
FULL_ROWS = {
  "dpo, separate tree": Row(dpo.Dpo(chunk=16), pairs(False), "tree"),
  **{
    f"dpo: {name}": Row(
      dpo.Dpo(chunk=16, losses=(name,), beta=0.3, label_smoothing=_SMOOTH.get(name, 0.0)), pairs(True), "tree"
    )
    for name in formulas.LOSSES
  },
  "mpo": Row(dpo.Dpo(chunk=16, losses=("sigmoid", "bco_pair", "sft"), weights=(0.8, 0.2, 1.0)), pairs(True), "base"),
  "wpo": Row(dpo.Dpo(chunk=16, weighted=True), pairs(True), "tree"),
  "ld-dpo": Row(dpo.Dpo(chunk=16, tail=0.4), pairs(True), "tree"),
  "odpo": Row(dpo.Dpo(chunk=16, offset=0.5), pairs(True), "base"),
  "β-dpo": Row(dpo.Dpo(chunk=16, beta_gain=0.6), pairs(True), "tree"),
  "f-dpo": Row(dpo.Dpo(chunk=16, divergence="alpha"), pairs(True), "base"),
  "tdpo1": Row(tdpo.Tdpo(chunk=16, alpha=0.0), pairs(True), "tree"),
  "tdpo2": Row(tdpo.Tdpo(chunk=16), pairs(False), "tree"),
  "cpo": Row(cpo.Cpo(chunk=16), pairs(True)),
  "simpo": Row(cpo.Simpo(chunk=16), pairs(True)),
  "alphapo": Row(cpo.Simpo(chunk=16, alpha=0.25), pairs(True)),
  "slic": Row(cpo.Slic(chunk=16), pairs(True)),
  "kto, prompts repeated": Row(labelled.Kto(chunk=16), judged(mismatched, False), "base", same_as="kto"),
  "apo, unpaired": Row(labelled.Kto(chunk=16, loss="apo_zero", desirable=1.5), judged(labels), "tree"),
  "bco": Row(labelled.Bco(chunk=16), judged(labels), "tree"),
  "lists, pairwise": Row(ranked.Ranked(chunk=16, loss="pairwise", by_gap=True), judged(scores), "tree"),
  "a reward of pairs, two outputs": Row(
    bradley_terry.BradleyTerry(chunk=16, label_smoothing=0.1), ended(pairs(False)), scores=2
  ),
  "a reward by regression": Row(pointwise.Regression(chunk=16, centre=1, scale=2), ended(judged(scores)), scores=1),
  "a reward by huber": Row(  # two answers of each: three whole ones are longer than a row of the table's
    pointwise.Regression(chunk=16, loss="huber"), ended(judged(lambda rs: scores(rs)[:2], False)), scores=1
  ),
  "outcomes": Row(pointwise.Verdict(chunk=16), ended(judged(labels)), scores=1),
  "steps": Row(pointwise.Verdict(chunk=16, steps=True), with_columns(steps), scores=1),
  "tpo": Row(tpo.Tpo(chunk=16, beta=0.5), judged(triples)),
  "tpo-l": Row(tpo.Tpo(chunk=16, beta=0.5, loss="tpo_l"), judged(triples, False)),
  "orpo": Row(orpo.Orpo(chunk=16), pairs(True)),
  "orpo over prompts": Row(
    orpo.Orpo(chunk=16, nll="prompt_and_answer"), pairs(False), same_as="orpo over prompts, prompt once"
  ),
  **{
    f"distillation, {name}": Row(distill.Distill(chunk=16, divergence=name, temperature=1.5), texts, "model")
    for name in divergences.DIVERGENCES
  },
  "distillation of a context": Row(distill.Distill(chunk=16, beside=True, sft=0.3), told(True), "model"),
  "distillation across tokens": Row(distill.Distill(chunk=16, beside=True, divergence="uld"), told(False), "model"),
  "hidden states": Row(
    states.States(objective=distill.Distill(chunk=16), layers=((0, 1), (1, 0)), weight=0.5),
    texts,
    "model",
    methods=(regressor.Regressor(width=24, pairs=2),),
  ),
  "hidden states by cosine, beside sft": Row(
    states.States(objective=sft.Sft(chunk=16), layers=((1, 1),), distance="cosine", regressor=""), texts, "tree"
  ),
  "relations of attention": Row(
    relations.Relations(objective=distill.Distill(chunk=16), layers=((0, 1), (1, 0)), heads=2, query_chunk=16),
    texts,
    "model",
  ),
  "maps of attention, beside sft": Row(
    relations.Relations(
      objective=sft.Sft(chunk=16), layers=((1, 1),), heads=4, relations=("qk", "vv"), distance="mse", query_chunk=24
    ),
    pairs(False),
    "tree",
  ),
  "maps of attention, prompt once": Row(
    relations.Relations(
      objective=sft.Sft(chunk=16), layers=((1, 1),), heads=4, relations=("qk", "vv"), distance="mse", query_chunk=24
    ),
    pairs(True),
    "tree",
    same_as="maps of attention, beside sft",
  ),
  "relations beside hidden states": Row(
    states.States(
      objective=relations.Relations(objective=sft.Sft(chunk=16), layers=((1, 0),), heads=1, relations=("kk",)),
      layers=((0, 1),),
    ),
    texts,
    "model",
    methods=(regressor.Regressor(width=24),),
  ),
  "stretches, observed": Row(stretches.Stretches(chunk=16, sft=0.3, temperature=1.2), stretched, "model"),
  "stretches, bayesian": Row(stretches.Stretches(chunk=16, sft=0.3, merge="bayesian"), stretched, "model"),
  "stretches, hybrid": Row(
    stretches.Stretches(chunk=16, hybrid=True, sft=0.3),
    stretched,
    "model",
    words=common_words.Shared.of({str(i): i for i in range(V)}, {str(i): V - i for i in range(20, 50)}),
  ),
  "top-k, reverse": Row(top_k.TopK(chunk=16, k=3, divergence="reverse_kl"), with_columns(top)),
  "top-k of a teacher that runs": Row(top_k.TopK(chunk=16, k=3, live=True, temperature=1.5), texts, "model"),
  "top-k, no tail": Row(top_k.TopK(chunk=16, k=3, tail="drop"), with_columns(top)),
}
ALL_ROWS = ROWS | FULL_ROWS
