"""A part of the joints: benchmarks in one file, one for each way of asking."""

import math

from itune_jax.core import conversation
from itune_jax.evals import ask
from itune_jax.evals import choice
from itune_jax.evals import protocol
from itune_jax.grading.statistics import metrics as metrics_lib

CAPITALS = (("France", "Paris", "Europe"), ("Peru", "Lima", "America"), ("Chad", "N'Djamena", "Africa"))


def capitals():
  """Items from what would be the official file."""
  names = tuple(capital for _, capital, _ in CAPITALS)
  for land, capital, continent in CAPITALS:
    yield protocol.Item(
      id=land,
      question=conversation.of(f"What is the capital of {land}?"),
      answer=capital,
      choices=names,
      tags={"continent": continent},
    )


def texts():
  """Plain text, longer than a context."""
  return (
    protocol.Item(id=land, question=f"{capital} is the capital of {land}. " * 12) for land, capital, _ in CAPITALS
  )


def per_byte(item, score):
  """Bits a byte of a whole text."""
  return {"bits": -score.logprob / math.log(2) / len(item.question.encode())}


def best_of(item, response):
  """Whether any of the samples is right."""
  return {"any": any(sample.text.strip() == item.answer for sample in response.samples)}


MEAN = metrics_lib.Mean()
GENERATE = protocol.Benchmark(
  name="generate",
  items=capitals,
  ask=ask.Generate(n=2, limit=6, stop=(".",)),
  grade=protocol.each(best_of),
  metrics={"any": MEAN},
  tags=("continent",),
)
CHOOSE = protocol.Benchmark(
  name="choose", items=capitals, ask=ask.Choose(), grade=protocol.each(choice.graded), metrics={"acc": MEAN}
)
SCORE = protocol.Benchmark(
  name="score",
  items=capitals,
  ask=ask.Score(),
  grade=protocol.each(lambda item, score: {"logprob": score.logprob}),
  metrics={"logprob": MEAN},
)
ROLLING = protocol.Benchmark(
  name="rolling",
  items=texts,
  ask=ask.Rolling(),
  grade=protocol.each(per_byte),
  metrics={"bits": metrics_lib.Mean(better="lower")},
)
