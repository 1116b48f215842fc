"""What is asked of a model, wherever it runs: answers to conversations, and log-probabilities of given text.

Evaluation, synthesis, judges and people ask the same way. Random keys hang on a request's id, so neither its company
nor the order matters, and what is resumed repeats nothing.
"""

import abc
from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any, Literal, NamedTuple

from itune_jax.core import check
from itune_jax.core import conversation as conversation_lib
from itune_jax.core import errors

THINK_END = "</think>"  # behind it a model that thinks answers

# "missing": a stored answer that is not there. "too_long": the prompt leaves no room for an answer. "failed": there is
# none after all tries, of a responder that was told to go on then.
Finish = Literal["stop", "stop_string", "length", "tool_calls", "content_filter", "missing", "too_long", "failed"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """A conversation to be answered, or plain text to be continued, `n` times.

  id: names it for ever: the same id gives the same answers of the same model and seed. limit: most new tokens, 0 for
  the responder's own. stop: strings that end an answer, and are no part of it. adapter: of those that ride on one base.
  temperature, top_p: how tokens are drawn, None for the responder's own. top: so many of the likeliest tokens are told
  at each place of an answer, where the responder knows them. thinking: tokens after which thinking is ended, and the
  answer follows, whose limit counts behind it; 0 sets no such limit. where: what messages call it, such as the file and
  line that it was read from; its id unless given.
  """

  conversation: conversation_lib.Conversation | str
  id: str
  n: int = 1
  limit: int = 0
  stop: tuple[str, ...] = ()
  adapter: str | None = None
  temperature: float | None = None
  top_p: float | None = None
  top: int = 0
  thinking: int = 0
  where: str = dataclasses.field(default="", compare=False)

  def __post_init__(self):
    check.check_types(self)
    check.require(
      self.n > 0 and self.limit >= 0, f"request {self.id}: n = {self.n} and limit = {self.limit} are >= 1, 0"
    )
    check.require(self.top >= 0, f"request {self.id}: top = {self.top}; it counts tokens, 0 is none")
    check.require(self.thinking >= 0, f"request {self.id}: thinking = {self.thinking}; it counts tokens, 0 is no limit")
    check.require(all(self.stop), f"request {self.id}: an empty stop string would end every answer at once")


class Sample(NamedTuple):
  """One answer: its text, why it ended, and where they are known its ids and their log-probabilities in nats.

  tool_calls: as an endpoint took them out of the text; what a model on the mesh says is all in `text`. top: of each
  token the likeliest at its place, as (text, log-probability), where they were asked for and are known. problem: why
  there is no answer, where `finish` is "failed". thinking_cut: whether its thinking was ended at the request's limit.
  """

  text: str
  finish: Finish
  ids: tuple[int, ...] | None = None
  logprobs: tuple[float, ...] | None = None
  tool_calls: tuple[Any, ...] = ()
  top: tuple[tuple[tuple[str, float], ...], ...] | None = None
  problem: str = ""
  thinking_cut: bool = False


class Usage(NamedTuple):
  """What a request cost: tokens of its prompt, and of all its answers."""

  prompt: int
  answer: int


class Response(NamedTuple):
  """The answers to a request, in the order of their numbers. usage: what it cost, where that is known."""

  id: str
  samples: tuple[Sample, ...]
  usage: Usage | None = None

  @property
  def text(self) -> str:
    """The first answer."""
    return self.samples[0].text


def plain(response: Response) -> dict[str, Any]:
  """A response as JSON; `response_of` reads it."""
  return {"id": response.id, "samples": [one._asdict() for one in response.samples], "usage": response.usage}


def response_of(id: str, told: Mapping[str, Any]) -> Response:
  """The response to a request that was told as JSON: its samples, and what it cost where that is known."""
  usage = None if told.get("usage") is None else Usage(*told["usage"])
  samples = (Sample(**{name: _tuples(value) for name, value in one.items()}) for one in told["samples"])
  return Response(id, tuple(samples), usage)


def _tuples(value: Any) -> Any:
  return tuple(map(_tuples, value)) if isinstance(value, list) else value


class Pair(NamedTuple):
  """A continuation whose probability is asked, behind a conversation or plain text."""

  context: conversation_lib.Conversation | str
  continuation: str
  adapter: str | None = None


class Score(NamedTuple):
  """Sum of the log-probabilities of a text's tokens in nats, whether greedy decoding would give it, its tokens, and
  those of what stood in front of it, 0 where they are not known."""

  logprob: float
  is_greedy: bool
  tokens: int
  prompt: int = 0


Progress = Callable[[int], None]


class Responder(abc.ABC):
  """Who answers. Results come in the order of what was asked."""

  @abc.abstractmethod
  def answer(self, requests: Sequence[Request], progress: Progress = lambda n: None) -> list[Response]:
    """The answers to all requests. Raises InputError for one that cannot be asked, and for ids that are not unique."""

  def answer_each(
    self, requests: Sequence[Request], done: Callable[[Response], None], progress: Progress = lambda n: None
  ) -> list[Response]:
    """The same as `answer`, telling each response as soon as it is there, in any order."""
    found = self.answer(requests, progress)
    for response in found:
      done(response)
    return found

  def fits(self, asked: conversation_lib.Conversation | str, new: int) -> bool:
    """Whether a prompt leaves room for so many new tokens; a responder that knows no limit says yes."""
    del asked, new
    return True

  @property
  def settings(self) -> Mapping[str, Any]:
    """What makes its answers what they are, beside the requests and the weights, as JSON: judged figures hash it."""
    return {"responder": type(self).__name__}

  def score(self, pairs: Sequence[Pair], progress: Progress = lambda n: None) -> list[Score]:
    """Log-probabilities of continuations. Raises InputError where this responder knows none."""
    raise errors.InputError(f"{type(self).__name__} gives no log-probabilities of given text: ask a model on the mesh")

  def rolling(self, texts: Sequence[str], progress: Progress = lambda n: None) -> list[Score]:
    """Log-probabilities of whole texts, however long. Raises InputError where this responder knows none."""
    raise errors.InputError(f"{type(self).__name__} gives no log-probabilities of given text: ask a model on the mesh")


def unique(requests: Sequence[Request]) -> None:
  """Raises InputError naming an id that two requests have."""
  seen: set[str] = set()
  for request in requests:
    check.require(request.id not in seen, f"two requests have the id {request.id!r}: ids name answers, and must differ")
    seen.add(request.id)
