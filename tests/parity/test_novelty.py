"""The novelty gate decides as Self-Instruct and Alpaca do, which test `> 0.7` on rouge_score's F1, ties included."""

import numpy as np
import pytest
from rouge_score import rouge_scorer

from itune_jax.synth import gates

pytestmark = pytest.mark.parity


def theirs(scorer, text, before):
  return any(scorer.score(text, one)["rougeL"].fmeasure > 0.7 for one in before)


def ours(text, before):
  return bool(gates.Novel(lambda row: row["text"], before).alike(text))


def test_exact_ties_are_decided_by_rouge_scores_own_arithmetic():
  """All shapes (m, n) of up to 60 words whose F1 is exactly 7/10: half of them are above it in floating point."""
  scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
  shapes = [(m, n, 7 * (m + n) // 20) for m in range(2, 61) for n in range(m, 61) if not 7 * (m + n) % 20]
  shapes = [(m, n, common) for m, n, common in shapes if common <= m]
  decided = []
  for m, n, common in shapes:
    shared = [f"w{i}" for i in range(common)]
    a = " ".join([*shared, *(f"a{i}" for i in range(m - common))])
    b = " ".join([*shared, *(f"b{i}" for i in range(n - common))])
    decided.append((theirs(scorer, a, [b]), ours(a, [b])))
  assert len(decided) == 46 and {one for one, _ in decided} == {True, False}
  assert all(one == other for one, other in decided)


def test_decisions_on_texts_that_resemble_one_another_are_the_same():
  scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
  rng, words = np.random.Generator(np.random.PCG64(5)), [f"word{i}" for i in range(60)]
  pool, same = [], 0
  for _ in range(250):
    text = [words[i] for i in rng.integers(len(words), size=int(rng.integers(3, 18)))]
    if pool and rng.integers(2):
      text = [w if rng.integers(4) else "new" for w in pool[int(rng.integers(len(pool)))].split()]
    text = " ".join(text).capitalize() + "?"
    assert theirs(scorer, text, pool) == ours(text, pool)
    same += ours(text, pool)
    pool.append(text)
  assert 20 < same < 230
