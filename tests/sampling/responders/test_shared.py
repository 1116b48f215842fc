"""Several processes ask an endpoint once, and all go on with the same answers or end with the same line."""

import concurrent.futures
import json
import queue
import subprocess
import sys
import threading

import pytest

from itune_jax.core import conversation
from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.parallel import hosts
from itune_jax.sampling import requests
from itune_jax.sampling.responders import budget
from itune_jax.sampling.responders import http
from itune_jax.sampling.responders import shared
from scripts.launch import local
from tests.parts import server

PROCESSES = 3


@pytest.fixture
def together(monkeypatch):
  """Runs a function in threads that stand for processes: what the lead has, the others get."""
  me, channels = threading.local(), [queue.SimpleQueue() for _ in range(PROCESSES)]

  def text_of_lead(text):
    if me.number:
      return channels[me.number].get(timeout=20)
    for channel in channels[1:]:
      channel.put(text)
    return text

  monkeypatch.setattr(hosts, "several", lambda: True)
  monkeypatch.setattr(hosts, "text_of_lead", text_of_lead)
  monkeypatch.setattr(log, "is_lead", lambda: not me.number)
  monkeypatch.setattr(shared, "ROUND_S", 0.02)

  def run(work):
    def one(number):
      me.number = number
      try:
        return work(number)
      except Exception as e:
        return type(e), str(e)

    with concurrent.futures.ThreadPoolExecutor(PROCESSES) as pool:
      return list(pool.map(one, range(PROCESSES)))

  return run


def plain(text):
  return conversation.Conversation(({"role": "user", "content": text},))


def ask(url, told=lambda number, response: None, **how):
  given = [requests.Request(conversation=plain(f"question {i} é"), id=str(i), n=1 + i % 2) for i in range(9)]
  answers = lambda responder, number: responder.answer_each(given, lambda response: told(number, response))
  own = [http.HttpResponder(url=url, model="m", wait_s=0.001, **how) for _ in range(PROCESSES)]
  return lambda number: answers(own[number], number)


def test_each_request_is_sent_once_and_all_get_its_answer(together):
  seen = [[] for _ in range(PROCESSES)]
  with server.serving(lambda name, tries: 503 if name.endswith("4 é") and tries < 3 else None) as there:
    found = together(ask(there.url, lambda number, response: seen[number].append(response.id)))
    assert len(there.bodies) == 9 + 2, "one request is tried three times"
  assert found[0] == found[1] == found[2] and [one.id for one in found[0]] == [str(i) for i in range(9)]
  assert found[0][3].samples[1].text == "question 3 é 1" and len(found[0][2].samples) == 1
  assert seen[0] == seen[1] == seen[2] and sorted(seen[0]) == [str(i) for i in range(9)]


@pytest.mark.parametrize("script, how, kind, says", [
  (lambda name, tries: 401, {}, errors.InputError, "401"),
  (lambda name, tries: None, {"budget": budget.Budget(requests=4), "at_a_time": 1}, errors.RunError, "budget is spent"),
])  # fmt: skip
def test_what_ends_the_asking_ends_all_with_one_line(together, script, how, kind, says):
  with server.serving(script) as there:
    found = together(ask(there.url, **how))
  assert found[0] == found[1] == found[2] and found[0][0] is kind and says in found[0][1]


def test_a_fault_of_the_lead_is_told_to_the_others(together):
  def broken(told):
    told(requests.Response("0", (requests.Sample("a", "stop"),)))
    raise ValueError("odd")

  seen = [[] for _ in range(PROCESSES)]
  found = together(lambda number: shared.asked(broken, [], seen[number].append, lambda n: None))
  assert found[0] == (ValueError, "odd") and seen[0] == seen[1] == seen[2] and seen[0][0].text == "a"
  assert (
    found[1] == found[2] == (errors.RunError, "the first process failed while it asked an endpoint: ValueError: odd")
  )


ASKS = """
import json, sys
from itune_jax.core import conversation
from itune_jax.parallel import hosts
from itune_jax.sampling import requests
from itune_jax.sampling.responders import http
url, cluster = sys.argv[1:]
hosts.connect(cluster)
say = lambda i: conversation.Conversation(({"role": "user", "content": f"question {i}"},))
given = [requests.Request(conversation=say(i), id=str(i)) for i in range(12)]
responder = http.HttpResponder(url=url, model="m", at_a_time=2)
found = [responder.answer(given[:7]), responder.answer(given[7:])]
print(json.dumps([[requests.plain(one) for one in some] for some in found]), flush=True)
hosts.barrier("asked")
"""


@pytest.mark.full
def test_two_processes_that_joined_ask_once():
  """Each asking again gets another answer, so equal answers are shared ones."""
  port = local.free_port()
  with server.serving(lambda name, tries: {"content": f"{name} try {tries}"}) as there:
    line = [sys.executable, "-c", ASKS, there.url]
    running = [
      subprocess.Popen([*line, f"127.0.0.1:{port},2,{i}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
      for i in range(2)
    ]
    said = [one.communicate(timeout=500) for one in running]
    assert [one.returncode for one in running] == [0, 0], said[0][1][-900:]
    assert len(there.bodies) == 12
  one, two = (json.loads(out.strip().splitlines()[-1]) for out, _ in said)
  assert one == two and one[1][0]["samples"][0]["text"] == "question 7 try 1"
