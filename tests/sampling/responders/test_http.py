"""An endpoint that fails on purpose gives the same answers as one that does not, or one line."""

import time

import pytest

from itune_jax.core import conversation
from itune_jax.core import errors
from itune_jax.sampling import requests
from itune_jax.sampling.responders import http
from tests.parts import server

FAULTS = (500, 429, 503, "rubbish", "empty", "null", "cut")


def request(name, **more):
  return requests.Request(conversation=conversation.of(name), id=f"id {name}", **more)


def responder(url, **more):
  return http.HttpResponder(**{"url": url, "model": "m", "wait_s": 0.001, "at_a_time": 4, "timeout_s": 1.0, **more})


def test_answers_come_in_order_through_every_passing_fault():
  asked = [request(f"q{i}", n=2, stop=("x",), limit=7) for i in range(20)]
  script = lambda name, tries: FAULTS[int(name[1:]) % len(FAULTS)] if tries == 1 else None
  with server.serving(script) as there:
    done = []
    found = responder(there.url, key="secret").answer(asked, done.append)
    bodies = there.bodies
  assert [r.id for r in found] == [r.id for r in asked] and sum(done) == 20
  assert [[s.text for s in r.samples] for r in found] == [[f"q{i} 0", f"q{i} 1"] for i in range(20)]
  assert len(bodies) == 40 and all(headers["Authorization"] == "Bearer secret" for _, headers in bodies)
  assert all((b["n"], b["stop"], b["max_tokens"], b["model"]) == (2, ["x"], 7, "m") for b, _ in bodies)


def test_one_that_stalls_is_asked_again():
  with server.serving(lambda name, tries: "stall" if tries == 1 else None) as there:
    assert responder(there.url).answer([request("a")])[0].text == "a 0"


def test_what_does_not_pass_is_one_line():
  with server.serving(lambda name, tries: 500) as there, pytest.raises(errors.RunError, match="id a in 3 tries.*500"):
    responder(there.url, tries=3).answer([request("a")])
  with server.serving(lambda name, tries: 401) as there:
    with pytest.raises(errors.InputError, match="refuses request id a: 401 Unauthorized"):
      responder(there.url).answer([request("a")])
    assert there.tries == {"a": 1}, "what cannot pass is asked once"
  with pytest.raises(errors.RunError, match="no answer to request id a in 2 tries.*refused"):
    responder("http://127.0.0.1:9/v1", tries=2).answer([request("a")])


def test_requests_that_cannot_be_asked_are_refused():
  with pytest.raises(errors.InputError, match="two requests have the id 'id a'"):
    responder("http://localhost:1/v1").answer([request("a"), request("a")])
  with pytest.raises(errors.InputError, match="endpoint 'localhost:1'"):
    responder("localhost:1")
  with pytest.raises(errors.InputError, match="gives no log-probabilities"):
    responder("http://localhost:1/v1").score([requests.Pair("a", "b")])
  with pytest.raises(errors.InputError, match="empty stop string"):
    request("a", stop=("",))


def test_requests_are_under_way_together():
  with server.serving(lambda name, tries: time.sleep(0.2)) as there:
    started = time.perf_counter()
    responder(there.url, at_a_time=8).answer([request(f"q{i}") for i in range(16)])
    assert time.perf_counter() - started < 2.0
