"""A part of the joints: a generator whose items see the rows of earlier rounds, as Self-Instruct's do; a responder."""

import dataclasses
import hashlib

from itune_jax.sampling import requests
from itune_jax.synth import gates
from itune_jax.synth import generator


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grow(generator.Generator):
  """Shows two rows so far and asks for three more, ten times; drops what is there already."""

  name: str = "grow"
  count: int = 10

  @property
  def items(self):
    return self.count

  @property
  def round(self):
    return 2

  def gate(self):
    return gates.Distinct(lambda row: row["text"])

  def make(self, n, pool):
    shown = [pool[i]["text"] for i in self.random(n).integers(0, len(pool), 2)] if pool else []
    ask = self.question("Another one like: " + "; ".join(shown))
    asked = [self.request(n, str(i), ask) for i in range(3)]
    responses = yield from generator.ask(asked)
    return [generator.Candidate({"text": response.text}, self.faults.of(response.samples[0])) for response in responses]


class Hashes(requests.Responder):
  """Says something that hangs on the conversation and the request's id alone; `fault` may end the process before."""

  def __init__(self, fault=lambda request: None):
    self._fault = fault

  def answer(self, requests_given, progress=lambda n: None):
    return [self._one(request) for request in requests_given]

  def answer_each(self, requests_given, done, progress=lambda n: None):
    found = []
    for request in requests_given:
      found.append(self._one(request))
      done(found[-1])
    return found

  def _one(self, request):
    self._fault(request)
    asked = request.conversation
    text = asked if isinstance(asked, str) else asked.messages[-1]["content"]
    said = hashlib.sha256(f"{text}{request.id}".encode()).hexdigest()[:1] + "é"
    samples = tuple(requests.Sample(f"{said}{i or ''}", "stop") for i in range(request.n))
    return requests.Response(request.id, samples, requests.Usage(len(text.split()), request.n))
