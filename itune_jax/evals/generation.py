"""Exact match by generation: a user's own items, decoded and judged by each item's own check."""

from collections.abc import Sequence
import dataclasses
import functools

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import conversation
from itune_jax.core import errors
from itune_jax.evals import ask
from itune_jax.evals import items as items_lib
from itune_jax.evals import protocol
from itune_jax.evals import suite
from itune_jax.grading import checkers
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests as requests_lib
from itune_jax.sampling.decode import decode as decode_lib
from itune_jax.sampling.responders import on_mesh


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generation(contracts.Evaluation):
  """The evaluator as a value; `bind` gives it the renderer of the run.

  items: what is asked. decode: how answers are generated. every: steps between two evaluations in training; 0 for none
  (then only `itune eval` runs it), -1 for one at its end. name: under which its figures stand.
  """

  items: items_lib.Items
  decode: decode_lib.Decode = decode_lib.Decode()
  every: int = 0
  name: str = "generation"

  def __post_init__(self):
    check.check_types(self)
    check.require(self.every >= -1, f"{self.name}: every must be a number of steps, 0 or -1, not {self.every}")

  @property
  def benchmark(self) -> protocol.Benchmark:
    """The same as a benchmark."""
    return protocol.Benchmark(
      name=self.name,
      items=self.items.items,
      ask=ask.Generate(),
      grade=protocol.each(functools.partial(judged, own=self.items.checkers)),
      metrics={"exact_match": metrics_lib.Mean(), "stopped": metrics_lib.Mean()},
    )

  def bind(self, renderer: conversation.Renderer, seed: int) -> suite.Bound:
    """The evaluator, ready to run. Raises InputError with file and line of an item that cannot be asked."""
    del seed  # decoding has its own
    for item in self.items.items():
      asked(item, renderer)
    return suite.Bound(self.benchmark, self.every, lambda engine: on_mesh.MeshResponder(engine, renderer, self.decode))


def asked(item: protocol.Item, renderer: conversation.Renderer) -> None:
  """Renders a question before any work begins. Raises InputError naming the item that the template refuses."""
  try:
    renderer.prompt(conversation.of(item.question))
  except errors.InputError as e:
    raise errors.InputError(f"{item.called}: {e}") from None


def judged(item: protocol.Item, answer: requests_lib.Response, own: Sequence[str] = ()) -> protocol.Graded:
  """Whether the answer passes the item's check, and whether it ended by itself. own: import paths of own checkers."""
  correct = checkers.judge(answer.text, item.shown["check"], own)
  stopped = answer.samples[0].finish != "length"
  return protocol.Graded({"exact_match": correct, "stopped": stopped}, {"correct": correct})
