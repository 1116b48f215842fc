"""Held-out preference accuracy, of an engine that says what a table says."""

import dataclasses
import json
import math

import numpy as np
import pytest

from itune_jax.data import mixture
from itune_jax.data.render import chat
from itune_jax.data.render import tokenizer as tokenizer_lib
from itune_jax.evals import preferred
from itune_jax.sampling.score import score as score_lib
from tests.data.render import stand_in
from tests.data.test_doors_fuzz import characters


@dataclasses.dataclass
class Engine:
  """Log-probs by the length of the answer, and a reference of its own."""

  by_token: float
  reference: "Engine | None" = None

  def score(self, pairs):
    return [score_lib.Score(self.by_token * len(answer), False, len(answer)) for _, answer in pairs]

  def rewards(self, texts):
    return np.array([[len(text) * 1.0, len(text) * 3.0] for text in texts])


def test_accuracies_by_likelihood_reference_and_reward(tmp_path):
  rows = [
    {"prompt": "q", "chosen": "yes", "rejected": "no, not at all"},
    {"prompt": "q", "chosen": "ab", "rejected": "cd"},
  ]
  rows += [{"prompt": "q", "chosen": "long enough", "rejected": "x"}, {"prompt": "q", "chosen": "a", "rejected": "a"}]
  (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
  renderer = chat.Renderer(stand_in.With(characters(), tokenizer_lib.named("chatml")), chat.Rendering())
  source = mixture.Source(name="pairs", path=str(tmp_path / "pairs.jsonl"), format="preference")
  bound = lambda by: preferred.Preferred(sources=(source,), by=by, every=1).bind(renderer, 0)
  likely = bound("likelihood").run(Engine(-1.0)).figures
  assert likely["preferred/logp/accuracy"] == 0.5 and likely["preferred/by_token/accuracy"] == 0.5
  assert likely["preferred/dropped"] == 1 and likely["preferred/items"] == 3
  found = bound("implicit").run(Engine(-1.0, Engine(-2.0))).figures
  assert found["preferred/rewards/accuracy"] == 0.5 and found["preferred/rewards/margin"] != 0
  rewarded = bound("reward").run(Engine(0.0))
  assert rewarded.figures["preferred/rewards/accuracy"] == 0.5 and len(rewarded.rows) == 3
  for by in ("likelihood", "implicit", "reward"):
    given = bound(by)
    assert set(given.metrics) <= set(given.run(Engine(-1.0, Engine(-2.0))).figures)
  diverged = bound("likelihood").run(Engine(float("nan")))
  assert math.isnan(diverged.figures["preferred/logp/margin"]) and diverged.rows[0]["values"]["logp/margin"] is None
  with pytest.raises(ValueError, match="none is here"):
    bound("implicit").run(Engine(-1.0))
