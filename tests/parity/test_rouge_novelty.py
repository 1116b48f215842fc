"""The greedy filter decides as the package rouge_score does, pair by pair, over instructions and copies of them."""

import random

import pytest

from itune_jax.select.duplicates import novelty

rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")
pytestmark = pytest.mark.parity

WORDS = (
  "Write a short story about the old man's café, in 3 sentences; then translate it into French and count words"
WORDS = TEXT.split()
)


def test_no_decision_differs():
  rng, texts = random.Random(0), []
  for _ in range(250):
    words = [rng.choice(WORDS) for _ in range(rng.randint(6, 14))]
    if texts and rng.random() < 0.6:
      words = rng.choice(texts).split()
      for _ in range(rng.randint(1, 4)):
        words[rng.randrange(len(words))] = rng.choice(WORDS)
    texts.append(" ".join(words))
  scorer, kept, wanted = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False), [], []
  for text in texts:
    new = all(scorer.score(text, other)["rougeL"].fmeasure <= 0.7 for other in kept)
    wanted.append(new)
    kept += [text] if new else []
  rows = [{"instruction": text} for text in texts]
  found = [one.row is not None for one in novelty.RougeNovelty(workers=1).apply(rows, {})]
  assert found == wanted and 50 < sum(wanted) < 230
