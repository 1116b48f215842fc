"""The evaluators of a run, checked before any work: names that differ, and metrics that something gives."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from itune_jax.core import contracts
from itune_jax.core import conversation
from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.run import suites


def require(evals: Sequence[Any]) -> None:
  """Raises InputError for a value of EVALS that measures nothing."""
  for one in evals:
    if not isinstance(one, contracts.Evaluation):
      raise errors.InputError(
        f"EVALS holds {one!r}, which measures nothing: it is a tuple of values such as @generation.Generation()"
      )


def bound(evals: Sequence[Any], renderer: conversation.Renderer, seed: int) -> list[contracts.Evaluator]:
  """The evaluators, ready to run. Raises InputError for what is none, and for two of one name, whose files and figures
  would be one's."""
  require(evals)
  found = [one.bind(renderer, seed) for one in suites.completed(evals)]
  names = [one.name for one in found]
  if len(set(names)) < len(names):
    raise errors.InputError(f"evaluators need different names, these are {', '.join(names)}: set `name` of each")
  return found


def say_idle(evals: Sequence[contracts.Evaluator]) -> None:
  """Says which evaluators do not run in training: a cadence of 0 may come from a macro that is not set."""
  if idle := [one.name for one in evals if not one.every]:
    log.info(f"not evaluated in training (every = 0), only by `itune eval`: {', '.join(idle)}")


def with_mode(value: Any, evaluators: Sequence[contracts.Evaluator], asked_by: str) -> Any:
  """A value with `metric` and `mode`, whose mode is the metric's own unless it is given.

  Raises InputError when no evaluator gives such a metric.
  """
  if not value.metric:
    return value
  mode = "max" if better(value.metric, evaluators, asked_by) == "higher" else "min"
  return dataclasses.replace(value, mode=value.mode or mode)


def better(metric: str, evaluators: Sequence[contracts.Evaluator], asked_by: str) -> contracts.Better:
  """Which way a metric is better. Raises InputError when no evaluator at a cadence gives a metric of this name."""
  known: Mapping[str, contracts.Better] = {k: v for e in evaluators if e.every for k, v in e.metrics.items()}
  if metric not in known:
    names = ", ".join(sorted(known)) or "none: no evaluator of EVALS has a cadence (`every`)"
    raise errors.InputError(f"{asked_by} = {metric!r} is no figure of this run's evaluators; they give {names}")
  return known[metric]
