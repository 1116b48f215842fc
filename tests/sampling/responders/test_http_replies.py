"""What an endpoint sends is answers, or a fault that may pass: whatever stands in the reply."""

import email.utils
import io
from http import client
import json
import time

import pytest

from itune_jax.core import conversation
from itune_jax.core import jsontext
from itune_jax.sampling import requests as requests_lib
from itune_jax.sampling.responders import budget
from itune_jax.sampling.responders import http
from tests import fuzz

CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
LIKELY = {"token": "a", "logprob": -1.0, "top_logprobs": [{"token": "a", "logprob": -1.0}]}
MESSAGE = {"role": "assistant", "content": "said", "tool_calls": [CALL]}
REPLY = {
  "choices": [{"index": 0, "finish_reason": "stop", "message": MESSAGE, "logprobs": {"content": [LIKELY]}}],
  "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}
ASKED = requests_lib.Request(conversation=conversation.Conversation(({"role": "user", "content": "q"},)), id="r")


@fuzz.given(fuzz.mutated([REPLY]))
def test_a_reply_is_answers_or_a_passing_fault(case):
  """An answer is text that files hold, calls are objects, and what it cost is a number."""
  reply = case[3]
  samples = fuzz.outcome(lambda: http._samples(reply, ASKED), http._Passing)
  usage = http._usage(http._object(reply.get("usage")))
  assert usage is None or all(type(one) is int and one >= 0 for one in usage)
  for one in samples or ():
    assert isinstance(one.text, str) and all(isinstance(call, dict) for call in one.tool_calls)
    jsontext.dumps([one.text, list(one.tool_calls)]).encode()


@pytest.mark.parametrize("odd", [float("nan"), 1000, True, "-1"])
def test_a_logprob_is_one(odd):
  """A judge's verdict is weighed by e to its power."""
  for at in (LIKELY | {"logprob": odd}, LIKELY | {"top_logprobs": [{"token": "a", "logprob": odd}]}):
    choice = REPLY["choices"][0] | {"logprobs": {"content": [at]}}
    with pytest.raises(http._Passing, match="a logprob is"):
      http._samples({"choices": [choice]}, ASKED)


@pytest.mark.parametrize(
  ("said", "seconds"), [("3", 3), ("", 0), ("²", 0), ("-1", 0), ("soon", 0), ("1e9", 0), ("9" * 20, 86400)]
)
def test_how_long_an_endpoint_asks_to_wait(said, seconds):
  assert http._seconds(said) == seconds
  later = email.utils.formatdate(time.time() + 60, usegmt=True)
  assert 57 < http._seconds(later) <= 60 and http._seconds(email.utils.formatdate(0, usegmt=True)) == 0


def test_tokens_below_nothing_pay_nothing_back():
  spent = budget.Budget(requests=5)
  for tokens in (-5, True, 1.5, None):
    spent.book(tokens)
  assert spent.spent.tokens == 0 and json.dumps(spent.spent.tokens) == "0"


@pytest.mark.parametrize(
  ("finish", "message", "expected"),
  [
    ("content_filter", {"content": None}, ("", "content_filter")),
    ("length", {"content": None, "reasoning_content": "so"}, ("", "length")),
    ("stop", {"content": None, "refusal": "I will not"}, ("I will not", "stop")),
    ("function_call", {"content": None, "function_call": CALL["function"]}, ("", "tool_calls")),
    ("max_tokens", {"content": "cut"}, ("cut", "length")),
    ("eos_token", {"content": ""}, ("", "stop")),
    ("stop", {"content": None}, None),
    (None, {"content": "x"}, None),
    (["stop"], {"content": "x"}, None),
  ],
)
def test_an_answer_without_text_is_one_where_the_endpoint_says_why(finish, message, expected):
  """Asking again would cost as much, and say the same."""
  reply = {"choices": [{"finish_reason": finish, "message": message}]}
  if expected is None:
    with pytest.raises(http._Passing):
      http._samples(reply, ASKED)
    return
  (sample,) = http._samples(reply, ASKED)
  assert (sample.text, sample.finish) == expected and bool(sample.tool_calls) == (expected[1] == "tool_calls")


class Dripping(io.BytesIO):
  """A reply that comes byte by byte."""

  length = 0

  def read1(self, size):
    time.sleep(0.01)
    return self.read(min(size, 1))


def test_a_reply_that_drips_and_one_that_ends_too_early_are_faults():
  with pytest.raises(TimeoutError, match="not whole in time"):
    http._whole(Dripping(b"x" * 1000), time.monotonic() + 0.05)
  assert http._whole(Dripping(b"xyz"), time.monotonic() + 5) == b"xyz"
  cut = Dripping(b"x")
  cut.length = 5
  with pytest.raises(client.IncompleteRead):
    http._whole(cut, time.monotonic() + 5)
