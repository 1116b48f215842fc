"""A part of the joints: a generator whose batches hang on the rows so far, as Self-Instruct's do; and a responder."""

import dataclasses
import hashlib

from itune_jax.core import conversation
from itune_jax.sampling import requests
from itune_jax.synth import generator


@dataclasses.dataclass(frozen=True)
class Grow(generator.Generator):
  """Shows two rows so far and asks for three more, ten times; drops what is there already."""

  name: str = "grow"
  seed: int = 0
  batches: int = 10

  def requests(self, k, pool):
    if k == self.batches:
      return []
    shown = [pool[i]["text"] for i in self.random(k).integers(0, len(pool), 2)] if pool else []
    ask = conversation.of("Another one like: " + "; ".join(shown))
    return [requests.Request(conversation=ask, id=f"{k}/{i}") for i in range(3)]

  def rows(self, k, pool, responses):
    there, kept = {row["text"] for row in pool}, []
    for response in responses:
      if response.text not in there:
        kept.append({"id": response.id, "text": response.text, "source": {"kind": "self_generated", "parents": [k]}})
        there.add(response.text)
    return kept, {"seen before": len(responses) - len(kept)}


class Hashes(requests.Responder):
  """Says something that hangs on the conversation and the request's id alone; `fault` may end the process before."""

  def __init__(self, fault=lambda request: None):
    self._fault = fault

  def answer(self, requests_given, progress=lambda n: None):
    return [self._one(request) for request in requests_given]

  def _one(self, request):
    self._fault(request)
    text = request.conversation.messages[-1]["content"]
    said = hashlib.sha256(f"{text}{request.id}".encode()).hexdigest()[:1] + "é"
    return requests.Response(request.id, tuple(requests.Sample(f"{said}{i or ''}", "stop") for i in range(request.n)))
