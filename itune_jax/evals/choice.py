"""Multiple choice by log-likelihood: the choice that the model finds likeliest, as text and per character."""

from collections.abc import Sequence
import dataclasses
import functools

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import conversation
from itune_jax.core import errors
from itune_jax.evals import ask
from itune_jax.evals import generation
from itune_jax.evals import items as items_lib
from itune_jax.evals import protocol
from itune_jax.evals import suite
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests as requests_lib
from itune_jax.sampling.decode import decode as decode_lib
from itune_jax.sampling.responders import on_mesh


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice(contracts.Evaluation):
  """Items whose check lists `choices`; others of the source are passed over.

  items: what is asked. every: steps between two evaluations in training; 0 for none (then only `itune eval` runs it),
  -1 for one at its end. name: under which its figures stand.
  """

  items: items_lib.Items
  every: int = 0
  name: str = "choice"

  def __post_init__(self):
    check.check_types(self)
    check.require(self.every >= -1, f"{self.name}: every must be a number of steps, 0 or -1, not {self.every}")

  @property
  def benchmark(self) -> protocol.Benchmark:
    """The same as a benchmark. acc: argmax of the sum of log-probabilities; acc_norm: per character (as lm-eval)."""
    return protocol.Benchmark(
      name=self.name,
      items=functools.partial(self.items.items, choices=True),
      ask=ask.Choose(),
      grade=protocol.each(graded),
      metrics={"acc": metrics_lib.Mean(), "acc_norm": metrics_lib.Mean()},
    )

  def bind(self, renderer: conversation.Renderer, seed: int) -> suite.Bound:
    """The evaluator, ready to run. Raises InputError when no item has choices, or an answer is none of them."""
    del seed
    items = list(self.benchmark.items())
    for item in items:
      generation.asked(item, renderer)
      right_of(item)
    if not items:
      raise errors.InputError(f"{self.name}: no item of {self.items.source.path} has check.choices")
    decode = decode_lib.Decode()
    return suite.Bound(self.benchmark, self.every, lambda engine: on_mesh.MeshResponder(engine, renderer, decode))


def right_of(item: protocol.Item) -> int:
  """Which choice is right. Raises InputError when the answer is none of them, or two are equal."""
  texts = all(isinstance(choice, str) for choice in item.choices)
  if not texts or item.answer not in item.choices or len(set(item.choices)) < len(item.choices):
    raise errors.InputError(
      f"{item.called}: check.answer {item.answer!r} must be one of check.choices, which must be texts that differ: "
      f"{item.choices}"
    )
  return item.choices.index(item.answer)


def graded(item: protocol.Item, answer: Sequence[requests_lib.Score]) -> protocol.Graded:
  """Whether the right choice is strictly the likeliest, as a sum and per character."""
  right, logprobs = right_of(item), [score.logprob for score in answer]
  normed = [lp / len(choice) for lp, choice in zip(logprobs, item.choices, strict=True)]
  acc, acc_norm = wins(logprobs, right), wins(normed, right)
  return protocol.Graded({"acc": acc, "acc_norm": acc_norm}, {"correct": acc, "correct_norm": acc_norm})


def wins(scores: Sequence[float], right: int) -> bool:
  """Strictly: a tie is wrong, whichever comes first."""
  return all(scores[right] > s for i, s in enumerate(scores) if i != right)
