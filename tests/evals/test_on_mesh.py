"""Each way of asking a benchmark, of a model on the mesh: what it finds is what the logits of whole texts say."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from itune_jax.core import conversation as conversation_lib
from itune_jax.evals import judged
from itune_jax.evals import suite
from itune_jax.grading.judging import judge_prompt as prompt_lib
from itune_jax.peft.methods import lora
from itune_jax.sampling import engine as engine_lib
from itune_jax.sampling import requests
from itune_jax.sampling.decode import decode as decode_lib
from itune_jax.sampling.responders import on_mesh
from tests import tiny
from tests.parts import benchmark

pytestmark = pytest.mark.heavy
CONFIG = dataclasses.replace(tiny.CONFIG, vocab=128)


class Letters(conversation_lib.Renderer):
  """One token a letter, by its ASCII number; a question is its text and a line's end."""

  @property
  def turn_end(self):
    return conversation_lib.TurnEnd("\x00", (0,))

  def prompt(self, conversation):
    return conversation_lib.Prompt([1, *self.encode(conversation.messages[-1]["content"] + "\n")])

  def decode(self, ids):
    return "".join(map(chr, ids))

  def continued(self, context, continuation):
    start = [1, *self.encode(context)] if isinstance(context, str) else self.prompt(context).ids
    return start, self.encode(continuation)

  def encode(self, text):
    return list(text.encode("ascii"))


@pytest.fixture(scope="module")
def model():
  return tiny.randomise(tiny.attach(tiny.base(cfg=CONFIG), lora.Lora(rank=4)), scale=0.3)


@pytest.fixture(scope="module")
def responder(model):
  engine = engine_lib.Engine(tiny.binder(model.module), model.params, 128, (0,))
  return on_mesh.MeshResponder(engine, Letters(), decode_lib.Decode(max_new_tokens=6, batch=4))


def logprobs(model, ids):
  """log p of ids[1:], each behind those before it, from the logits of the whole."""
  batch = tiny.unpacked([(np.asarray([*ids, 0], np.int32), np.zeros(len(ids) + 1, np.float32))], 136)
  logp = np.asarray(jax.nn.log_softmax(tiny.logits(model, batch)[0]), np.float64)
  return logp[np.arange(len(ids) - 1), ids[1:]], logp[len(ids) - 1]


def test_answers_are_the_likeliest_tokens(model, responder):
  greedy = dataclasses.replace(benchmark.GENERATE, ask=dataclasses.replace(benchmark.GENERATE.ask, n=1, stop=()))
  for row, item in zip(suite.measure(greedy, responder).rows, benchmark.capitals(), strict=True):
    ids = Letters().prompt(conversation_lib.of(item.question)).ids
    said = []
    while len(said) < 6 and (best := int(logprobs(model, ids + said)[1].argmax())):
      said.append(best)
    assert row["output"] == Letters().decode(said)


def test_choices_and_scores_are_sums_of_log_probabilities(model, responder):
  def expected(item, answer):
    prompt, said = Letters().continued(item.question, answer)
    return logprobs(model, prompt + said)[0][len(prompt) - 1 :].sum()

  items = list(benchmark.capitals())
  for row, item in zip(suite.measure(benchmark.CHOOSE, responder).rows, items, strict=True):
    np.testing.assert_allclose(row["logprobs"], [expected(item, choice) for choice in item.choices], atol=1e-3)
  for row, item in zip(suite.measure(benchmark.SCORE, responder).rows, items, strict=True):
    np.testing.assert_allclose(row["logprob"], expected(item, item.answer), atol=1e-3)


def test_a_whole_text_is_scored_window_by_window(model, responder):
  """Windows of 128 predicted tokens; the last one reaches back, and only what is new in it counts."""
  for row, item in zip(suite.measure(benchmark.ROLLING, responder).rows, benchmark.texts(), strict=True):
    text = [1, *Letters().encode(item.question)]
    count, total = len(text) - 1, 0.0
    for start in range(0, count, 128):
      end = min(start + 128, count)
      total += logprobs(model, text[max(0, end - 128) : end + 1])[0][start - end :].sum()
    assert count > 256 and row["values"]["bits"] == pytest.approx(-total / math.log(2) / count, abs=1e-4)


def test_the_likeliest_tokens_are_told_and_weighed(model, responder):
  """What a judge weighs: log-probabilities of the first place, which are those of the model; by scores the same."""
  tokens = {letter: float(i) for i, letter in enumerate("ABCDE")}
  prompt = prompt_lib.Prompt(
    name="letters",
    kind="single",
    template="{question}",
    fields=("question",),
    reads="digit",
    tokens=tokens,
    scale=(0, 4),
  )
  games = [judged.Game(str(i), prompt, {"question": f"rate {i}"}) for i in range(3)]
  all_of_them = judged.Judge(responder=responder, by="tokens", top=CONFIG.vocab, limit=1).ask(games, "k")
  by_scores = judged.Judge(responder=responder, by="scores").ask(games, "k")
  for game, one, other in zip(games, all_of_them, by_scores, strict=True):
    logp = logprobs(model, Letters().prompt(game.prompt.filled(game.values)).ids)[1]
    weights = np.exp([logp[ord(letter)] for letter in tokens])
    assert one.value == pytest.approx(np.dot(weights, list(tokens.values())) / weights.sum(), abs=1e-3)
    assert one.mass == pytest.approx(weights.sum(), abs=1e-3)
    assert (other.value, other.mass) == (pytest.approx(one.value, abs=1e-3), pytest.approx(one.mass, abs=1e-3))


def test_a_request_has_a_temperature_of_its_own(responder):
  asked = [
    requests.Request(conversation=conversation_lib.of("who"), id=f"{warm}", temperature=warm, top=2)
    for warm in (None, 0.0, 5.0)
  ]
  cold, same, warm = responder.answer(asked)
  assert cold.text == same.text and warm.text != cold.text
  assert all(len(place) == 2 and place[0][1] >= place[1][1] for place in warm.samples[0].top)
  assert len(cold.samples[0].top) == len(cold.samples[0].ids)
