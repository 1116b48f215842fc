"""An OpenAI-compatible endpoint as a responder: several requests at a time, repeated where the endpoint fails.

What an endpoint sends is read by one door: an answer of the expected form, a fault that may pass (then it is asked
again, later and later, Retry-After obeyed), or one line that says what was wrong. Nothing is guessed.
"""

from collections.abc import Callable, Mapping, Sequence
import concurrent.futures
import dataclasses
import email.utils
import http.client
import json
import random
import sys
import time
from typing import Any, Literal
import urllib.error
import urllib.parse
import urllib.request

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import lazy
from itune_jax.core import ranges
from itune_jax.sampling import requests as requests_lib
from itune_jax.sampling.responders import breaker as breaker_lib
from itune_jax.sampling.responders import budget as budget_lib
from itune_jax.sampling.responders import telling

shared = lazy.module("itune_jax.sampling.responders.shared")  # of several processes, which brings JAX

_PASSING = (408, 409, 425, 429, 500, 502, 503, 504)  # statuses behind which another try may succeed
_DAY = 86400.0  # what an endpoint asks to wait at most: more is a fault of its own
_LONGEST_WAIT = 60.0  # seconds between two tries, jitter aside
_OF_ONE = (400, 413, 422)  # statuses that are about this request alone
_FINISH: Mapping[str, requests_lib.Finish] = {  # also as TGI, Anthropic's own and OpenAI's older form say it
  **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence"), "stop"),
  **dict.fromkeys(("length", "max_tokens"), "length"),
  **dict.fromkeys(("tool_calls", "tool_use", "function_call"), "tool_calls"),
  "content_filter": "content_filter",
}
_LARGEST = 1 << 28  # bytes of a reply: more is no answer


@dataclasses.dataclass(frozen=True, kw_only=True)
class HttpResponder(telling.Telling):
  """`POST url/chat/completions`, or `url/completions` for plain text, as OpenAI, vLLM, SGLang and llama.cpp serve it.

  url: up to the version, such as http://localhost:8000/v1. model: as the endpoint calls it. key: sent as a bearer
  token. max_new_tokens: of an answer whose request sets no limit. temperature, top_p: of requests that say nothing of
  them. seed: sent with each request, and what jitter hangs on. at_a_time: requests under way together. tries: of each
  request in all. wait_s: seconds before the second try; waits grow twofold from there, with jitter. timeout_s:
  seconds after which a try has failed. more: further fields of the request's body, sent as they are. budget: what may
  be spent. breaker: when an endpoint that fails is left alone. failed: whether a request without an answer after all
  tries, or one refused for what it says, ends the work (`stop`), or is answered by a sample that `failed`.
  """

  url: str
  model: str
  key: str = dataclasses.field(default="", repr=False)
  max_new_tokens: int = 256
  temperature: float = 0.0
  top_p: float = 1.0
  seed: ranges.Seed = 0
  at_a_time: int = 8
  tries: int = 6
  wait_s: float = 0.5
  timeout_s: float = 120.0
  more: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  budget: budget_lib.Budget = dataclasses.field(default_factory=budget_lib.Budget)
  breaker: breaker_lib.Breaker = dataclasses.field(default_factory=breaker_lib.Breaker)
  failed: Literal["stop", "answer"] = "stop"

  def __post_init__(self):
    kind = urllib.parse.urlsplit(self.url)
    check.require(
      kind.scheme in ("http", "https") and kind.netloc, f"endpoint {self.url!r}: write it as http://HOST:PORT/v1"
    )
    check.require(self.failed in ("stop", "answer"), f"HttpResponder.failed = {self.failed!r}; it is stop or answer")
    check.require(self.at_a_time > 0 and self.tries > 0, "HttpResponder.at_a_time and HttpResponder.tries are >= 1")

  def answer_each(
    self,
    requests: Sequence[requests_lib.Request],
    done: Callable[[requests_lib.Response], None],
    progress: requests_lib.Progress = lambda n: None,
  ) -> list[requests_lib.Response]:
    """The answers, each told as it comes. In a run of several processes one asks, and all get the answers. Raises
    RunError naming the request when the endpoint did not give one after all tries."""
    requests_lib.unique(requests)
    if "jax" in sys.modules and shared.hosts.several():
      return shared.asked(lambda told: self._asked(requests, told, lambda n: None), requests, done, progress)
    return self._asked(requests, done, progress)

  def _asked(
    self,
    requests: Sequence[requests_lib.Request],
    done: Callable[[requests_lib.Response], None],
    progress: requests_lib.Progress,
  ) -> list[requests_lib.Response]:
    with concurrent.futures.ThreadPoolExecutor(self.at_a_time) as pool:
      waiting = [pool.submit(self._one, request) for request in requests]
      told = set()
      try:
        for one in concurrent.futures.as_completed(waiting):
          done(one.result())
          told.add(one)
          progress(1)
      except BaseException as e:
        for one in waiting:
          one.cancel()
        if isinstance(e, (errors.RunError, errors.InputError)):  # what is under way is paid for
          for one in waiting:
            if one not in told and not one.cancelled() and one.exception() is None:
              done(one.result())
        raise
      return [one.result() for one in waiting]

  @property
  def settings(self) -> Mapping[str, Any]:
    """Which model says its answers, where, and how they are drawn."""
    names = ("url", "model", "max_new_tokens", "temperature", "top_p", "seed")
    return {"responder": type(self).__name__, **{name: vars(self)[name] for name in names}, "more": dict(self.more)}

  def _one(self, request: requests_lib.Request) -> requests_lib.Response:
    try:
      return self._tried(request)
    except _Failed as e:
      if self.failed == "stop":
        raise e.error from None
      return requests_lib.Response(request.id, (requests_lib.Sample("", "failed", problem=str(e.error)),) * request.n)

  def _tried(self, request: requests_lib.Request) -> requests_lib.Response:
    check.require(request.adapter is None, f"request {request.id}: an endpoint knows no adapter {request.adapter!r}")
    check.require(
      not request.thinking, f"request {request.id}: an endpoint ends no thinking (thinking_budget): ask on the mesh"
    )
    pause = random.Random(f"{self.seed} {request.id}")
    said = "nothing"
    attempt = 0
    while attempt < self.tries:
      self.breaker.wait()
      self.budget.take(request.id)
      try:
        reply = self._post(request)
        samples = _samples(reply, request)
        usage = _object(reply.get("usage"))
        self.budget.book(usage.get("total_tokens"))
        self.breaker.worked()
        return requests_lib.Response(request.id, samples, _usage(usage))
      except _Passing as e:
        said = str(e)
        if self.breaker.failed(said, e.after_s):
          continue
        attempt += 1
        if attempt < self.tries:
          time.sleep(e.after_s or min(self.wait_s * 2 ** (attempt - 1), _LONGEST_WAIT) * (0.5 + pause.random()))
    last = f"{self.url}: no answer to request {request.id} in {self.tries} tries; the last: {said}"
    raise _Failed(errors.RunError(last))

  def _post(self, request: requests_lib.Request) -> Any:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
    body = json.dumps(self._body(request)).encode()
    path = "completions" if isinstance(request.conversation, str) else "chat/completions"
    call = urllib.request.Request(f"{self.url.rstrip('/')}/{path}", body, headers)
    try:
      ends = time.monotonic() + self.timeout_s
      with urllib.request.urlopen(call, timeout=self.timeout_s) as reply:
        return json.loads(_whole(reply, ends))
    except urllib.error.HTTPError as e:
      with e:
        text = e.read(500).decode(errors="replace").strip()
      if e.code not in _PASSING:
        refused = errors.InputError(f"{self.url} refuses request {request.id}: {e.code} {e.reason}: {text[:300]}")
        raise (_Failed(refused) if e.code in _OF_ONE else refused) from None
      after = e.headers.get("Retry-After", "")
      raise _Passing(f"{e.code} {e.reason}: {text[:120]}", _seconds(after)) from None
    except (OSError, ValueError, RecursionError, http.client.HTTPException) as e:
      # No connection, none in time, one that was cut off, or what came is not JSON.
      raise _Passing(f"{type(e).__name__}: {e}") from None

  def _body(self, request: requests_lib.Request) -> dict[str, Any]:
    asked = request.conversation
    body: dict[str, Any] = {
      "model": self.model,
      "max_tokens": request.limit or self.max_new_tokens,
      "temperature": self.temperature if request.temperature is None else request.temperature,
      "top_p": self.top_p if request.top_p is None else request.top_p,
      "n": request.n,
      "seed": self.seed,
      **self.more,
    }
    body |= {"stop": list(request.stop)} if request.stop else {}
    if isinstance(asked, str):
      check.require(not request.top, f"request {request.id}: likeliest tokens are told of answers to conversations")
      return body | {"prompt": asked}
    body["messages"] = [{k: v for k, v in message.items() if k != "weight"} for message in asked.messages]
    body |= {"logprobs": True, "top_logprobs": request.top} if request.top else {}
    body |= {"tools": list(asked.tools)} if asked.tools else {}
    return body | ({"chat_template_kwargs": dict(asked.template_kwargs)} if asked.template_kwargs else {})


class _Passing(Exception):
  """A fault that another try may not meet. after_s: how long the endpoint asks to wait; 0 where it does not say."""

  def __init__(self, said: str, after_s: float = 0.0):
    super().__init__(said)
    self.after_s = after_s


class _Failed(Exception):
  """No answer to one request; others may have one."""

  def __init__(self, error: errors.RunError | errors.InputError):
    super().__init__(str(error))
    self.error = error


def _whole(reply: http.client.HTTPResponse, ends: float) -> bytes:
  """The body of a reply. Raises TimeoutError where it is not whole at this time: the timeout of a socket is one between
  two pieces, and an endpoint that drips would never meet it."""
  pieces, size = [], 0
  while piece := reply.read1(1 << 16):
    pieces.append(piece)
    size += len(piece)
    if time.monotonic() > ends:
      raise TimeoutError(f"the reply was not whole in time; {size} bytes of it came")
    if size > _LARGEST:
      raise ValueError(f"a reply of more than {_LARGEST >> 20} MiB")
  if reply.length:
    raise http.client.IncompleteRead(b"".join(pieces), reply.length)
  return b"".join(pieces)


def _object(value: Any) -> dict[str, Any]:
  return value if isinstance(value, dict) else {}


def _usage(said: Mapping[str, Any]) -> requests_lib.Usage | None:
  """What an answer cost, where the endpoint says so."""
  prompt, answer = said.get("prompt_tokens"), said.get("completion_tokens")
  counts = [one for one in (prompt, answer) if type(one) is int and one >= 0]
  return requests_lib.Usage(*counts) if len(counts) == 2 else None


def _seconds(after: str) -> float:
  """How long `Retry-After` asks to wait: seconds, or a date; 0 where it says neither. A day at most."""
  if after.isascii() and after.strip().isdigit():
    return min(float(after), _DAY)
  try:
    at = email.utils.parsedate_to_datetime(after)
  except (ValueError, TypeError):
    return 0.0
  return min(max(0.0, at.timestamp() - time.time()), _DAY)


def _samples(reply: Any, request: requests_lib.Request) -> tuple[requests_lib.Sample, ...]:
  """The answers in a reply. One of another form is a passing fault: overloaded endpoints send such."""
  choices = reply.get("choices") if isinstance(reply, dict) else None
  if not isinstance(choices, list) or len(choices) != request.n:
    raise _Passing(f"a reply with {request.n} `choices` was expected, this came: {json.dumps(reply)[:120]}")
  try:
    ordered = sorted(choices, key=lambda choice: choice.get("index", 0))
    return tuple(_sample(choice) for choice in ordered)
  except (KeyError, TypeError, ValueError, AttributeError) as e:
    raise _Passing(f"a choice has no text ({type(e).__name__}: {e}): {json.dumps(choices)[:120]}") from None


def _sample(choice: Mapping[str, Any]) -> requests_lib.Sample:
  reason = choice["finish_reason"]
  message = {"content": choice["text"]} if "text" in choice else choice["message"]
  older = message.get("function_call")
  calls = message.get("tool_calls") or ([{"type": "function", "function": older}] if isinstance(older, dict) else ())
  if not isinstance(calls, (list, tuple)) or not all(isinstance(call, dict) for call in calls):
    raise TypeError("tool_calls is no list of objects")
  if not isinstance(reason, str) or reason not in _FINISH:
    raise TypeError(f"finish_reason is {reason!r}")
  text = message.get("content")
  if text is None:  # a filter took it, thinking left no room for it, or the answer is a call, or a refusal
    refusal = message.get("refusal")
    text = refusal if isinstance(refusal, str) else text
    text = "" if text is None and (calls or _FINISH[reason] in ("length", "content_filter")) else text
  if not isinstance(text, str):
    raise TypeError(f"content is {type(text).__name__}")
  known = (choice.get("logprobs") or {}).get("content")
  logprobs = tuple(_logprob(token["logprob"]) for token in known) if known else None
  return requests_lib.Sample(text, _FINISH[reason], None, logprobs, tuple(calls), _top(known))


def _logprob(value: Any) -> float:
  """The logarithm of a probability, which is 0 at most; a little more is rounding."""
  found = float(value)
  if isinstance(value, (bool, str)) or not found <= 0.01:
    raise TypeError(f"a logprob is {value!r}")
  return found


def _top(known: Any) -> tuple[tuple[tuple[str, float], ...], ...] | None:
  """The likeliest tokens of each place, where the endpoint tells them."""
  if not known or not all(token.get("top_logprobs") for token in known):
    return None
  one = lambda likely: (str(likely["token"]), _logprob(likely["logprob"]))
  return tuple(tuple(map(one, token["top_logprobs"])) for token in known)
