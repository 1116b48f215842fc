"""How stored scores of texts agree with people, with intervals: FRANK, QAGS, SummEdits, AggreFact, FaithDial.

ITUNE_DATA=DIR python scripts/bench_faithfulness.py [--limit N] [--only qags,frank] [--variant alignscore]

Of FRANK the released outputs of metrics (all stored rows) against its judgements; of the other sets a baseline that
needs no model, the share of the text's words that stand in the source. A model's figures are `itune eval
--suite=qags,summedits,aggrefact,faithdial`.
"""

import argparse
import os
import re

from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import suite
from itune_jax.evals.benchmarks import registry
from itune_jax.grading.statistics import human_agreement
from itune_jax.grading.statistics import pair_metrics
from itune_jax.sampling import requests as requests_lib

SETS = ("qags", "summedits", "aggrefact", "faithdial")
RELEASED = (
  "Bleu",
  "Meteor",
  "Rouge 1",
  "Rouge 2",
  "Rouge L",
  "BertScore P Art",
  "FEQA",
  "QAGS",
  "Dep Entail",
  "FactCC",
)
MEASURES = {
  "partial Pearson": human_agreement.PartialPearson(),
  "partial Spearman": human_agreement.PartialSpearman(),
  "Pearson": pair_metrics.Pearson(),
  "Spearman": pair_metrics.Spearman(),
}


class Overlap(requests_lib.Responder):
  """Says yes by the share of a claim's words that its source has: a judge that reads nothing."""

  def answer(self, requests, progress=lambda n: None):
    raise NotImplementedError

  def score(self, pairs, progress=lambda n: None):
    return [requests_lib.Score(self._logprob(pair), False, 1) for pair in pairs]

  def _logprob(self, pair):
    source, _, claim = pair.context.messages[-1]["content"].partition("\n\n# Claim\n")
    words = re.findall(r"\w+", claim.partition("\n\nDoes the text")[0].lower())
    there = set(re.findall(r"\w+", source.lower()))
    share = sum(word in there for word in words) / max(len(words), 1)
    return 8 * (share - 0.8) if pair.continuation.strip() == "yes" else 0.0


def released(folder):
  """FRANK's released scores against its judgements."""
  found = folders.Folder(folder)
  human = {
    (row["hash"], row["model_name"]): row for _, row in folders.objects(found.files("human_annotations*.json")[0])
  }
  outputs = [row for _, row in folders.objects(found.files("*metric*outputs*.json")[0])]
  for name in RELEASED:
    rows = [row for row in outputs if row.get(name) is not None and row["model_name"] != "reference"]
    triples = [[human[r["hash"], r["model_name"]]["Factuality"], r[name], r["model_name"]] for r in rows]
    clusters = [row["hash"] for row in rows]
    told = []
    for measure, metric in MEASURES.items():
      values = triples if "partial" in measure else [one[:2] for one in triples]
      figure = metric(values, clusters)
      told.append(f"{measure} {figure.value:+.3f} [{figure.low:+.3f}, {figure.high:+.3f}]")
    print(f"FRANK {name:16} n={len(rows)}: " + "; ".join(told), flush=True)


def main():
  """Prints the figures."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--limit", type=int, default=0, help="items of each set, 0 for all")
  parser.add_argument("--only", default="", help="sets, by name (default: all)")
  parser.add_argument("--variant", default="alignscore", help="how support is aggregated")
  args = parser.parse_args()
  root = os.environ["ITUNE_DATA"]
  chosen = [one for one in args.only.split(",") if one] or ["frank", *SETS]
  if "frank" in chosen:
    released(os.path.join(root, "frank"))
  for name in (one for one in SETS if one in chosen):
    settings = official.Settings(variant=args.variant, limit=args.limit)
    benchmark = registry.find(name).benchmark((root,), settings)
    for one in suite.measure(benchmark, Overlap()).results:
      if one.low is not None and (not one.tag or one.metric == registry.find(name).metric):
        print(f"{name} {one.tag} {one.metric}: {one.value:.3f} [{one.low:.3f}, {one.high:.3f}], n={one.n}", flush=True)


if __name__ == "__main__":
  main()
