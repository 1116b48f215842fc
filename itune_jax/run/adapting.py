"""Rates that follow what the run learns: the hook of `itune train` that measures every source and moves the rates.

Every so many steps, the first time before the first one, each source is measured on fixed batches of its own, by the
objective of the run. All processes measure the same and come to the same rates. The feed books figures and rates; they
are in every checkpoint, so that a run that is resumed goes on bit for bit.
"""

from collections.abc import Callable, Mapping, Sequence
import math
from typing import Any, NamedTuple

import jax

from itune_jax.core import batch as batch_lib
from itune_jax.core import contracts
from itune_jax.core import log
from itune_jax.core import rng
from itune_jax.data import feed as feed_lib
from itune_jax.data import mixture as mixture_lib
from itune_jax.data import tokenised
from itune_jax.data import validation as validation_lib
from itune_jax.select import mixing
from itune_jax.train import measured
from itune_jax.train import state as state_lib
from itune_jax.train import step as step_lib

BATCHES = 8  # of held-out rows that a loss is taken over, at most

Opened = tuple[dict[str, tokenised.Examples], tuple[batch_lib.Column, ...], dict[str, Any]]
Measure = Callable[[state_lib.State, int], dict[str, float]]  # (state, how often it was measured before) -> figures


class Mixer(contracts.Hook):
  """Changes the rates of a feed by a rule."""

  def __init__(self, rule: mixing.Adaptive, feed: feed_lib.Feed, measure: Measure):
    self._rule, self._feed, self._measure = rule, feed, measure

  def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
    """Metrics of steps do not move rates."""

  def due(self, step: int) -> bool:
    """Every so many steps, and not twice at one."""
    booked = self._feed.booked
    return step % self._rule.every == 0 and (booked is None or booked[0] < step)

  def between(self, step: int, state: state_lib.State) -> dict[str, float]:
    """Measures the sources; their rates change from the second time on."""
    figures, booked = self._measure(state, step // self._rule.every), self._feed.booked
    if bad := sorted(name for name, value in figures.items() if not math.isfinite(value)):
      log.info(f"step {step}: the {self._rule.follows} of source {', '.join(bad)} is no number: rates stay as they are")
      return {}
    self._feed.book(step, figures)
    if booked is not None:
      self._feed.change_rates(step, self._rule.adapt(self._feed.rates, figures, booked[1]))
    said = {f"mixing/{name}/rate": rate for name, rate in self._feed.rates.items()}
    return said | {f"mixing/{name}/{self._rule.follows}": value for name, value in figures.items()}


class Given(NamedTuple):
  """What measuring needs of a run: what its step is made of, and how its batches come to be.

  where: the shardings of what trains. rows: which rows of a global batch are this process's. opened: the sources of a
  prepared mixture with the columns that the objective reads, and its manifest. put: lays a batch onto the mesh.
  """

  bind: Any
  objective: contracts.Objective
  others: Mapping[str, step_lib.FrozenView]
  where: Mapping[str, Any]
  frozen: Mapping[str, Any]
  packing: feed_lib.Packing
  rows: Sequence[int]
  opened: Callable[[mixture_lib.Mixture], Opened]
  put: Callable[[Any], Any]
  seed: int


def manifest_of(
  rule: mixing.Adaptive | None,
  mixture: mixture_lib.Mixture,
  validation: validation_lib.Validation,
  opened: Callable[[mixture_lib.Mixture], Opened],
) -> dict[str, Any]:
  """What a run's rates follow, beside the manifest of its data: nothing without a rule. Raises InputError where it is
  not prepared, or cannot be."""
  if rule is None:
    return {}
  sources = opened(validation.measured(mixture, rule.follows == "alignment"))[2]["sources"]
  return {"measured": {one["name"]: one["key"] for one in sources}}


def make(
  rule: mixing.Adaptive,
  feed: feed_lib.Packed,
  mixture: mixture_lib.Mixture,
  validation: validation_lib.Validation,
  given: Given,
) -> Mixer:
  """The hook of a run. Raises InputError for a mixture whose rates cannot change, or that is not prepared."""
  held_out = given.opened(validation.measured(mixture, rule.follows == "alignment"))
  assert isinstance(feed, feed_lib.Feed)  # `measured` refuses a dataset of Grain
  if rule.follows == "loss":
    return Mixer(rule, feed, _losses(_feeds(held_out, given), given))
  trained = given.opened(validation.trained(mixture))
  return Mixer(rule, feed, _alignments(_feeds(trained, given), _feeds(held_out, given), given))


def _feeds(opened: Opened, given: Given) -> dict[str, feed_lib.Feed]:
  """A feed of each source alone."""
  sources, columns, _ = opened
  how: dict[str, Any] = dict(seed=given.seed, rows=given.rows, columns=columns, is_part=True)
  return {name: feed_lib.Feed({name: source}, {name: 1.0}, given.packing, **how) for name, source in sources.items()}


def _key(given: Given) -> Any:
  """What dropout and noise draw by: the same every time, so that figures differ by what was learned."""
  return rng.named(rng.root(given.seed), "mixing")


def _losses(held_out: Mapping[str, feed_lib.Feed], given: Given) -> Measure:
  """The loss on the held-out rows of each source, BATCHES batches of them at most, the same ones every time."""
  run = measured.make_loss(given.bind, given.objective, given.others)
  counts = {name: min(BATCHES, math.ceil(feed.steps_per_epoch())) for name, feed in held_out.items()}

  def measure(state: state_lib.State, times: int) -> dict[str, float]:
    del times
    key, found = _key(given), {}
    for name, feed in held_out.items():
      sums = [run(state, dict(given.frozen), given.put(feed.batch(k)), key) for k in range(counts[name])]
      loss, weight = (math.fsum(map(float, each)) for each in zip(*jax.device_get(sums), strict=True))
      found[name] = loss / weight if weight > 0 else math.nan
    return found

  return measure


def _alignments(trained: Mapping[str, feed_lib.Feed], held_out: Mapping[str, feed_lib.Feed], given: Given) -> Measure:
  """Cosines of the gradient on a batch of each source, another one every time, with that of the task: the mean of the
  gradients on the held-out rows of all sources, or on those of the task's file."""
  run = measured.make_gradient(given.bind, given.objective, given.where, given.others)

  def measure(state: state_lib.State, times: int) -> dict[str, float]:
    gradient = lambda feed, k: run(state, dict(given.frozen), given.put(feed.batch(k)), _key(given))
    task = measured.mean([gradient(feed, 0) for feed in held_out.values()])
    cosines = {name: measured.cosine(gradient(feed, times), task) for name, feed in trained.items()}
    return {name: float(value) for name, value in jax.device_get(cosines).items()}

  return measure
