"""Thinking that ends at a budget: each text is that of the same ids given at once, tag and all."""

import dataclasses

import pytest

from itune_jax.core import conversation as conversation_lib
from itune_jax.core import errors
from itune_jax.evals import ask as ask_lib
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.evals import suite
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import engine as engine_lib
from itune_jax.sampling import requests as requests_lib
from itune_jax.sampling.decode import call
from itune_jax.sampling.decode import decode as decode_lib
from itune_jax.sampling.responders import http
from itune_jax.sampling.responders import on_mesh
from itune_jax.sampling.responders import thinking
from tests import tiny
from tests.evals import test_on_mesh

CLOSE = test_on_mesh.Letters().encode(thinking.CLOSING)


@dataclasses.dataclass(frozen=True)
class Writer(engine_lib.Engine):
  """Goes on with a script, whatever it is given: of a prompt `[1, k, …]` with the k-th text, letter by letter, from
  where the prompt has it."""

  scripts: tuple[str, ...] = ()
  asked: list = dataclasses.field(default_factory=list)

  def generate(self, asks, decode, on_end=lambda i, said: None, **how):
    self.asked.append((asks, decode))
    for number in reversed(range(len(asks))):  # as they end, in any order
      one, letters = asks[number], test_on_mesh.Letters()
      said = letters.decode(one.prompt[2:])
      script = self.scripts[one.prompt[1]]
      rest = script.removeprefix(said) if script.startswith(said) else "Then so."
      stopped = len(rest) < one.limit
      on_end(number, call.Generation(letters.encode(rest[: one.limit]), [-1.0] * min(len(rest), one.limit),
        "stop" if stopped else "length", text=rest[: one.limit]))  # fmt: skip
    return []


class Numbers(test_on_mesh.Letters):
  """A question is the number of its script."""

  def prompt(self, conversation):
    return conversation_lib.Prompt([1, int(conversation.messages[-1]["content"])])


SCRIPTS = ("Hm.</think>Four.", "Well, it is hard to say, and", "A</think>" + "ha" * 40, "Yes.")


def benchmark(budget, limit=8, **how):
  settings = official.Settings(thinking_budget=budget)
  return protocol.Benchmark(
    name="thinks",
    items=lambda: (protocol.Item(id=str(k), question=conversation_lib.of(str(k))) for k in range(len(SCRIPTS))),
    ask=official.generate(settings, limit=limit, **how),
    grade=protocol.each(lambda item, response: {"said": float(bool(response.text))}),
    metrics={"said": metrics_lib.Mean()},
  )


def test_thinking_that_is_too_long_is_ended_and_counted():
  writer = Writer(None, None, 200, (0,), scripts=SCRIPTS)
  responder = on_mesh.MeshResponder(writer, Numbers(), decode_lib.Decode(max_new_tokens=64))
  told = []
  found = suite.measure(benchmark(12), responder, progress=told.append)
  outputs = {row["id"]: row["output"] for row in found.rows}
  # Ended by itself before the budget, ended for it, an answer of its limit behind the tag, and no thought at all.
  assert outputs == {"0": "Four.", "1": "Then so.", "2": "ha" * 4, "3": ""}
  assert {row["id"]: row["verdict"] for row in found.rows} == {
    "0": "answered",
    "1": "cut_off",
    "2": "cut_off",
    "3": "empty",
  }
  assert [row["thinking_cut"] for row in found.rows] == [0, 1, 0, 0] and sum(told) == 4
  figures = {one.metric: one.value for one in found.results}
  assert figures["thinking_cut"] == 0.25 and figures["empty"] == 0.25 and figures["cut_off"] == 0.5
  (first, _), (second, _) = writer.asked
  assert [one.limit for one in first] == [12] * 4
  assert [(one.id, one.limit, one.n) for one in second] == [("0/answer", 7, 1), ("1/answer", 8, 1), ("2/answer", 5, 1)]
  assert second[1].prompt == [1, 1, *b"Well, it is ", *CLOSE]
  assert {row["thinking_cut"] for row in suite.measure(benchmark(29, limit=40), responder).rows} == {0}


def test_what_cannot_end_thinking_says_so():
  with pytest.raises(errors.InputError, match="budget is of a model that thinks"):
    ask_lib.Generate(budget=3)
  endpoint = http.HttpResponder(url="http://127.0.0.1:9/v1", model="x")
  with pytest.raises(errors.InputError, match="request a: an endpoint ends no thinking"):
    endpoint.answer([requests_lib.Request(conversation="?", id="a", thinking=4)])
  assert "thinking_budget" not in official.Settings().identity
  assert official.Settings(thinking_budget=4).identity["thinking_budget"] == 4


@pytest.mark.heavy
def test_an_ended_thought_is_answered_as_the_same_ids_at_once():
  model = tiny.randomise(tiny.base(cfg=test_on_mesh.CONFIG), scale=0.3)
  engine = engine_lib.Engine(tiny.binder(model.module), model.params, 128, ())
  decode = decode_lib.Decode(max_new_tokens=6, batch=4)
  responder = on_mesh.MeshResponder(engine, test_on_mesh.Letters(), decode)
  texts = ("What?", "Why is it so?", "And who are you, then?")
  asked = [requests_lib.Request(conversation=conversation_lib.of(text), id=text, thinking=5) for text in texts]
  for one, text in zip(responder.answer(asked), texts, strict=True):
    prompt = responder.renderer.prompt(conversation_lib.of(text)).ids
    (thought,) = engine.generate([prompt], decode, limits=[5])
    (answer,) = engine.generate([[*prompt, *thought.tokens, *CLOSE]], decode)
    (sample,) = one.samples
    assert list(sample.ids) == [*thought.tokens, *CLOSE, *answer.tokens]
    assert sample.thinking_cut and sample.logprobs is None and one.usage.answer == 11 + len(CLOSE)
    assert sample.text == responder.renderer.decode(sample.ids)
  (room,) = responder.answer([dataclasses.replace(asked[0], thinking=1000)])
  assert len(room.samples[0].ids) + len(responder.renderer.prompt(asked[0].conversation).ids) <= 128
