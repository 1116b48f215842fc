"""Benchmarks whose answers are programs: how they are graded, and `pass@k`."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from itune_jax.core import check
from itune_jax.core import log
from itune_jax.evals import protocol
from itune_jax.grading import code
from itune_jax.grading.sandbox import sandbox as sandbox_lib
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests as requests_lib

AT = (1, 10, 100)  # the k that are published (Chen et al. 2021)


@dataclasses.dataclass(frozen=True)
class Passes(protocol.Grade):
  """Runs every sample of every answer in a sandbox; the values of an item are (samples, passed) for each k.

  rule: how an answer becomes a program, of `code.RULES`. at: the k.
  """

  rule: str
  at: tuple[int, ...]
  sandbox: sandbox_lib.Sandbox

  def __post_init__(self):
    check.check_types(self)
    check.require(self.rule in code.RULES, f"Passes.rule = {self.rule!r}; rules are {', '.join(code.RULES)}")

  def __call__(self, items: Sequence[protocol.Item], answers: Sequence[requests_lib.Response]) -> list[protocol.Graded]:
    """What each answer is worth, and a verdict for each sample of it."""
    problems = [code.Problem(**item.answer) for item in items]
    pairs = [(problem, one.text) for problem, answer in zip(problems, answers, strict=True) for one in answer.samples]
    programs = [code.RULES[self.rule](text, problem) for problem, text in pairs]
    log.info(f"{len(programs)} programs run in a sandbox of tier {self.sandbox.tier()}")
    judged = iter(code.judge([problem for problem, _ in pairs], programs, self.sandbox))
    return [self._graded([next(judged) for _ in answer.samples]) for answer in answers]

  def _graded(self, judged: Sequence[code.Judged]) -> protocol.Graded:
    counts = (len(judged), sum(one.passed for one in judged))
    shown: dict[str, Any] = {"judged": judged[0].verdict, "why": judged[0].detail}
    if len(judged) > 1:
      shown = {"judged": [one.verdict for one in judged], "why": [one.detail for one in judged]}
    values: dict[str, Any] = {f"pass@{k}": counts for k in self.at}
    return protocol.Graded(values, shown)


def at(samples: int) -> tuple[int, ...]:
  """The published k that so many samples allow."""
  return tuple(k for k in AT if k <= max(1, samples))


def metrics(ks: Sequence[int]) -> Mapping[str, metrics_lib.Metric]:
  """`pass@k` for each k."""
  return {f"pass@{k}": metrics_lib.PassAtK(k=k) for k in ks}
