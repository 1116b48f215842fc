"""A knapsack of twelve items in two dimensions whose values a model predicts from features told in words."""

from itune_jax.evals.benchmarks.decisions import predicted_costs
from itune_jax.grading import regret

ITEMS = 12


def draw(degree: int) -> tuple[regret.Problem, regret.Instances]:
  """The problem with its instances."""
  count = predicted_costs.TRAIN + predicted_costs.TEST
  how = {"degree": degree, "noise": predicted_costs.NOISE, "seed": predicted_costs.SEED}
  return regret.knapsack(count, predicted_costs.FEATURES, ITEMS, dimensions=2, capacity=20.0, **how)


TASK = predicted_costs.Task(
  "knapsack",
  draw,
  f"What will each of the {ITEMS} items be worth today? Answer with {ITEMS} numbers and commas between them.",
  0,
)
BENCHMARK = predicted_costs.published(TASK, "Predict, then optimise: knapsack")
