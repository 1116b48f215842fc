"""Responders of tests: answers by a function of the prompt, log-probabilities by a function of prompt and text."""

from itune_jax.core import conversation
from itune_jax.evals import official
from itune_jax.evals import suite
from itune_jax.evals.benchmarks import registry
from itune_jax.sampling import requests as requests_lib


def text_of(asked):
  """The last text of what is asked."""
  return asked.messages[-1]["content"] if isinstance(asked, conversation.Conversation) else asked


class Said(requests_lib.Responder):
  """answers: of a prompt's text. scores: of a prompt's text and what stands behind it."""

  def __init__(self, answers=lambda text: "", scores=lambda text, said: -1.0):
    self.answers, self.scores, self.asked = answers, scores, []

  def answer(self, requests, progress=lambda n: None):
    requests_lib.unique(requests)
    self.asked += [text_of(one.conversation) for one in requests]
    found = []
    for one in requests:
      said = self.answers(text_of(one.conversation))
      texts = [said] * one.n if isinstance(said, str) else list(said)
      found.append(requests_lib.Response(one.id, tuple(requests_lib.Sample(text, "stop") for text in texts)))
    return found

  def score(self, pairs, progress=lambda n: None):
    self.asked += [text_of(pair.context) for pair in pairs]
    return [requests_lib.Score(self.scores(text_of(pair.context), pair.continuation), False, 1) for pair in pairs]


def measured(folder, name, responder, **settings):
  """The figures over all items, by metric; and the whole result."""
  found = suite.measure(registry.find(name).benchmark((str(folder),), official.Settings(**settings)), responder)
  return {one.metric: one.value for one in found.results if not one.tag}, found
