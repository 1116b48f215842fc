"""A shortest path through a grid of four by four nodes whose 24 costs a model predicts from features told in words."""

from itune_jax.evals.benchmarks.decisions import predicted_costs
from itune_jax.grading import regret

SIDE = 4
ARCS = 2 * SIDE * (SIDE - 1)


def draw(degree: int) -> tuple[regret.Problem, regret.Instances]:
  """The problem with its instances."""
  count = predicted_costs.TRAIN + predicted_costs.TEST
  how = {"degree": degree, "noise": predicted_costs.NOISE, "seed": predicted_costs.SEED}
  return regret.shortest_path(count, predicted_costs.FEATURES, height=SIDE, width=SIDE, **how)


TASK = predicted_costs.Task(
  "shortest_path",
  draw,
  f"What will each of the {ARCS} roads cost today? Answer with {ARCS} numbers and commas between them.",
  3,
)
BENCHMARK = predicted_costs.published(TASK, "Predict, then optimise: shortest path")
