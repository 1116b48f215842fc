"""Sorted probabilities across vocabularies against TRL's GOLD, on given logits."""

import importlib
import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from itune_jax.core import pack  # noqa: E402
from itune_jax.core import common_words  # noqa: E402
from itune_jax.objectives.distill import logits as distill  # noqa: E402
from itune_jax.objectives.distill import stretches  # noqa: E402
from tests.objectives import given  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("sizes", [(11, 7), (7, 11), (9, 9)])
def test_uld_and_its_gradient_are_trls(sizes, monkeypatch):
  monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
  gold = importlib.import_module("trl.experimental.gold.gold_trainer")
  rs, n = np.random.RandomState(0), 5
  student, teacher = (rs.randn(1, n + 1, size).astype(np.float32) for size in sizes)
  config = types.SimpleNamespace(
    uld_crossentropy_weight=0.0,
    uld_distillation_weight=1.0,
    uld_student_temperature=0.9,
    uld_teacher_temperature=0.9,
    uld_skip_student_eos=False,
    uld_skip_teacher_eos=False,
    use_extended_uld=False,
    uld_token_merge_strategy="bayesian",
  )
  labels = torch.tensor([[-100, *range(n)]])
  own = torch.tensor(student, requires_grad=True)
  loss = gold.ULDLoss(config)
  wanted = loss(own, torch.tensor(teacher), labels, labels, labels.clamp(min=0), labels.clamp(min=0))
  wanted.backward()
  objective = distill.Distill(divergence="uld", temperature=0.9)
  each = lambda z: objective.of((z[:, :-1], jnp.asarray(teacher[:, :-1])), jnp.zeros((1, n), jnp.int32))[0].mean()
  value, grad = jax.value_and_grad(each)(jnp.asarray(student))
  np.testing.assert_allclose(value, float(wanted.detach()), rtol=1e-5)
  np.testing.assert_allclose(grad, own.grad.numpy(), atol=1e-6)


# Bytes at which the tokens of an answer end, of the student and of the teacher: they meet at some places alone.
ENDS = ((2, 3, 5, 9, 10, 14), (1, 3, 6, 9, 12, 14))


# GOLD's hybrid: words of both vocabularies, teacher's ids by student's (some, all of the smaller, none left of either).
HYBRIDS = (
  (0.5, None, None, {0: 3, 2: 1, 5: 6}),
  (0.0, 0.7, 0.2, {1: 4, 4: 0}),
  (1.0, 0.0, 1.5, {6: 6}),
  (0.3, 1.0, 0.0, {i: 6 - i for i in range(7)}),
)


class Vocabulary:
  """A tokenizer of which only the words are known."""

  def __init__(self, words):
    self._words = words

  def get_vocab(self):
    return dict(self._words)


@pytest.mark.parametrize("hybrid", [None, *HYBRIDS])
@pytest.mark.parametrize("merge", ["observed", "bayesian"])
@pytest.mark.parametrize("sizes", [(11, 7), (7, 11)])
def test_merged_stretches_and_their_gradient_are_trls(sizes, merge, hybrid, monkeypatch):
  monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
  gold = importlib.import_module("trl.experimental.gold.gold_trainer")
  rs, prompt, n = np.random.RandomState(0), 3, len(ENDS[0])
  ids = [rs.randint(0, size, prompt + n) for size in sizes]
  student, teacher = (rs.randn(1, prompt + n, size).astype(np.float32) for size in sizes)
  config = types.SimpleNamespace(
    uld_crossentropy_weight=0.0,
    uld_distillation_weight=1.0,
    uld_student_temperature=0.9,
    uld_teacher_temperature=0.9,
    uld_skip_student_eos=False,
    uld_skip_teacher_eos=False,
    use_extended_uld=True,
    uld_token_merge_strategy=merge,
  )
  vocabularies, more = (), {}
  if hybrid is not None:
    beta, matched, unmatched, common = hybrid
    own_words = {f"w{i}" if i in common else f"own{i}": i for i in range(sizes[0])}
    their_words = {f"other{i}": i for i in range(sizes[1])}
    for i, j in common.items():
      their_words = {name: k for name, k in their_words.items() if k != j} | {f"w{i}": j}
    vocabularies = own_words, their_words
    weights = dict(uld_hybrid_matched_weight=matched, uld_hybrid_unmatched_weight=unmatched)
    vars(config).update(uld_use_hybrid_loss=True, beta=beta, **weights)
    more = dict(hybrid=True, beta=beta, matched=matched, unmatched=unmatched)
  offsets = [[[0, 0]] * prompt + [[a, b] for a, b in zip((0, *ends), ends, strict=False)] for ends in ENDS]
  labels = torch.tensor([[-100] * prompt + [0] * n])
  own, theirs = (torch.tensor(x) for x in (student, teacher))
  if merge == "observed":  # theirs then reads the distribution at a token, and not the one that predicts it
    own, theirs = (torch.cat([x[:, :1], x[:, :-1]], 1) for x in (own, theirs))
  own = own.clone().requires_grad_()
  given_ids = [torch.tensor(one[None]) for one in ids]
  tokenizers = dict(zip(("student_tokenizer", "teacher_tokenizer"), map(Vocabulary, vocabularies), strict=False))
  loss = gold.ULDLoss(config, **tokenizers)(
    own, theirs, labels, labels, *given_ids, *(torch.tensor([one]) for one in offsets)
  )
  loss.backward()

  place, ahead, stretch = 0, np.zeros(prompt + n, np.int32), np.zeros((prompt + n, 2), np.int32)
  spots = [[0, *(k + 1 for k, end in enumerate(ends) if end in ENDS[1 - side])] for side, ends in enumerate(ENDS)]
  for (j, after), (i, then) in zip(
    zip(spots[0], spots[0][1:], strict=False), zip(spots[1], spots[1][1:], strict=False), strict=True
  ):
    place = prompt + j
    ahead[place], stretch[place] = prompt + n - 1 + i - j, (after - j, then - i)
  item = pack.Item(ids[0].astype(np.int32), (ahead != 0).astype(np.float32), None, {"ahead": ahead, "stretch": stretch})
  nothing = {"ahead": 0, "stretch": np.zeros(2, np.int32)}
  other = pack.Item(ids[1].astype(np.int32), np.zeros(prompt + n, np.float32), None, nothing)
  columns = [distill.AHEAD, stretches.STRETCH]
  batch = pack.fill([[pack.Group((item, other))]], 2 * (prompt + n - 1), columns=columns, grouped=True)

  def ours(z):
    behind = lambda *both: jnp.concatenate([jnp.zeros_like(x[:, :-1]) if blank else x[:, :-1] for x, blank in both], 1)
    own, theirs = (z, False), (jnp.asarray(teacher), False)
    policy = behind(own, (z, True))
    shared = common_words.Shared.of(*vocabularies) if vocabularies else None
    views = {"policy": given.Logits(policy), "teacher": given.Logits(behind((theirs[0], True), theirs), shared)}
    found = stretches.Stretches(temperature=0.9, merge=merge, **more)(views, jax.tree.map(jnp.asarray, batch), None)
    return found.loss / found.weight

  value, grad = jax.value_and_grad(ours)(jnp.asarray(student))
  wanted = own.grad.numpy()
  if merge == "observed":
    wanted = np.concatenate([wanted[:, 1:], np.zeros_like(wanted[:, :1])], 1)
    wanted[:, 0] += own.grad.numpy()[:, 0]
  np.testing.assert_allclose(value, float(loss.detach()), rtol=1e-5)
  np.testing.assert_allclose(grad, wanted, atol=1e-6)
