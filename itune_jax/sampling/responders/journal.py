"""A responder whose answers are kept in a file as they come, so that work which was stopped asks only for the rest.

An answer is found again by a digest of its whole request: another prompt, limit or way of drawing is another request.
Log-probabilities are rounded when they are kept, and scores are asked in parts of fixed borders that are kept whole:
so what comes after a stop is, byte for byte, what would have come without.
"""

from collections.abc import Callable, Sequence
import dataclasses
import hashlib
import itertools
import json
import os
from typing import Any

from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.core import log
from itune_jax.parallel import hosts
from itune_jax.sampling import requests as requests_lib
from itune_jax.sampling.responders import telling

PART = 512  # scores that are asked for together, and kept when all are there
DIGITS = 6  # of log-probabilities of drawn tokens: what differs behind them hangs on a request's company


class Journal(telling.Wrapping):
  """Asks `inner` for what the file does not hold; the lead process writes it.

  Raises InputError for a file that holds something else. A last line that was cut off does not count.
  """

  def __init__(self, inner: requests_lib.Responder, path: str):
    self.inner, self._path, self._known = inner, path, _read(path)
    self.reused = 0

  def answer_each(
    self,
    requests: Sequence[requests_lib.Request],
    done: Callable[[requests_lib.Response], None],
    progress: requests_lib.Progress = lambda n: None,
  ) -> list[requests_lib.Response]:
    """The answers to all requests; those that are known are not asked for."""
    keys = {request.id: _key("answer", *_items(request)) for request in requests}
    found = {id: _response(id, self._known[key]) for id, key in keys.items() if key in self._known}
    self.reused += len(found)
    progress(sum(len(response.samples) for response in found.values()))

    def keep(response: requests_lib.Response) -> None:
      kept = _kept_response(response)
      if all(sample.finish != "failed" for sample in response.samples):  # what failed is asked again
        self._keep(keys[response.id], kept)
      found[response.id] = _response(response.id, kept)
      done(found[response.id])

    rest = [request for request in requests if request.id not in found]
    for response in found.values():
      done(response)
    if rest:
      self.inner.answer_each(rest, keep, progress)
    return [found[request.id] for request in requests]

  def score(
    self, pairs: Sequence[requests_lib.Pair], progress: requests_lib.Progress = lambda n: None
  ) -> list[requests_lib.Score]:
    """Log-probabilities, part by part."""
    return self._in_parts("score", pairs, lambda pair: pair.context, self.inner.score, progress)

  def rolling(self, texts: Sequence[str], progress: requests_lib.Progress = lambda n: None) -> list[requests_lib.Score]:
    """Log-probabilities of whole texts, part by part."""
    return self._in_parts("rolling", texts, lambda text: text, self.inner.rolling, progress)

  def _in_parts(self, kind: str, asked: Sequence[Any], of: Callable, ask: Callable, progress) -> list[Any]:
    found: list[requests_lib.Score] = []
    for part in _parts(asked, of):
      key = _key(kind, *part)
      if key in self._known:
        self.reused += len(part)
        progress(len(part))
      else:
        self._keep(key, [list(score) for score in ask(part, progress)])
      found += [requests_lib.Score(*score) for score in self._known[key]]
    return found

  def _keep(self, key: str, value: Any) -> None:
    self._known[key] = value
    if log.is_lead():
      os.makedirs(os.path.dirname(self._path) or ".", exist_ok=True)
      try:
        with open(self._path, "a", encoding="utf-8") as f:
          f.write(jsontext.dumps({"key": key, "value": value}) + "\n")
      except OSError as e:
        raise errors.RunError(f"{self._path}: could not be written ({e.strerror or e})") from None


def _read(path: str) -> dict[str, Any]:
  text = ""
  if log.is_lead() and os.path.exists(path):
    with open(path, encoding="utf-8", errors="replace") as f:
      text = f.read()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:  # what was being written when the process was stopped
      text = whole
      with open(path, "w", encoding="utf-8") as f:
        f.write(text)
  found = {}
  for number, line in enumerate(hosts.text_of_lead(text).split("\n")[:-1], 1):
    try:
      one = json.loads(line)
      found[one["key"]] = one["value"]
    except (ValueError, KeyError, TypeError):
      raise errors.InputError(f"{path}:{number}: is no kept answer; remove the file to ask for all anew") from None
  return found


def _parts(asked: Sequence[Any], of: Callable[[Any], Any]) -> list[list[Any]]:
  """Parts of `PART` or a few more: what has one context stays together."""
  parts: list[list[Any]] = [[]]
  for _, group in itertools.groupby(asked, of):
    if len(parts[-1]) >= PART:
      parts.append([])
    parts[-1] += group
  return parts if parts[0] else []


def _key(kind: str, *what: Any) -> str:
  return hashlib.sha256(json.dumps([kind, what], sort_keys=True, default=_plain).encode()).hexdigest()[:32]


def _items(request: requests_lib.Request) -> list[tuple[str, Any]]:
  """What makes a request what it is. A field that came later counts where it is used: answers kept before stand."""
  return [(name, value) for name, value in vars(request).items() if name != "thinking" or value]


def _plain(value: Any) -> Any:
  """A value that JSON does not know, as one that it does."""
  return vars(value) if dataclasses.is_dataclass(value) else repr(value)


def _kept_response(response: requests_lib.Response) -> list[Any] | dict[str, Any]:
  """The samples, with what they cost where that is known."""
  samples = [_kept(sample) for sample in response.samples]
  return samples if response.usage is None else {"samples": samples, "usage": list(response.usage)}


def _kept(sample: requests_lib.Sample) -> dict[str, Any]:
  logprobs = sample.logprobs and [round(one, DIGITS) for one in sample.logprobs]
  top = sample.top and [[[token, round(one, DIGITS)] for token, one in place] for place in sample.top]
  return sample._asdict() | {"logprobs": logprobs, "top": top}


def _response(id: str, kept: list[dict[str, Any]] | dict[str, Any]) -> requests_lib.Response:
  return requests_lib.response_of(id, kept if isinstance(kept, dict) else {"samples": kept})
