"""A model on the mesh as a responder: conversations become ids, are continued or scored in batches, and become text."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

from itune_jax.core import check
from itune_jax.core import conversation as conversation_lib
from itune_jax.core import errors
from itune_jax.sampling import engine as engine_lib
from itune_jax.sampling import requests as requests_lib
from itune_jax.sampling.decode import call as call_lib
from itune_jax.sampling.decode import controls
from itune_jax.sampling.decode import decode as decode_lib
from itune_jax.sampling.decode import watch
from itune_jax.sampling.responders import telling
from itune_jax.sampling.responders import thinking
from itune_jax.sampling.score import rolling


@dataclasses.dataclass(frozen=True)
class MeshResponder(telling.Telling):
  """Compiled functions of live parameters, the renderer of their model, and how answers are decoded.

  engine: of the model. renderer: of its conversations. decode: how answers are drawn, where a request does not say.
  labels: names of the adapters that ride on one base, in the order of their numbers (`peft.combine.mixed`). own: which
  of them answers what names none, None for the base alone. on_text: gets what is new of each answer as it comes, by its
  request's id (a number written out is that number).
  """

  engine: engine_lib.Engine
  renderer: conversation_lib.Renderer
  decode: decode_lib.Decode = decode_lib.Decode()
  labels: tuple[str, ...] = ()
  own: str | None = None
  on_text: Callable[[watch.Piece], None] | None = None

  def of(self, adapter: str | None) -> "MeshResponder":
    """The same model, which answers with this adapter where a request names none; None is the base alone. Of all that
    are made so the compiled programs are the same."""
    return dataclasses.replace(self, own=adapter)

  def answer_each(
    self,
    requests: Sequence[requests_lib.Request],
    done: Callable[[requests_lib.Response], None],
    progress: requests_lib.Progress = lambda n: None,
  ) -> list[requests_lib.Response]:
    """The answers to all requests, decoded together, each told when its last sample has ended. Raises InputError for a
    conversation that the template refuses."""
    requests_lib.unique(requests)
    ends, text = self.renderer.turn_end.ids, self.renderer.decode
    engine = dataclasses.replace(self.engine, progress=progress, stop_ids=ends, text=text)
    owners = [(k, i) for k, request in enumerate(requests) for i in range(request.n)]
    samples: list[list[Any]] = [[None] * request.n for request in requests]
    found: list[Any] = [None] * len(requests)
    asks = [self._ask(request) for request in requests]

    def ended(number: int, said: Any, cut: bool = False) -> None:
      k, i = owners[number]
      samples[k][i] = self._sample(said, requests[k].top, cut)
      if all(sample is not None for sample in samples[k]):
        usage = requests_lib.Usage(len(asks[k].prompt), sum(len(sample.ids) for sample in samples[k]))
        found[k] = requests_lib.Response(requests[k].id, tuple(samples[k]), usage)
        done(found[k])

    top = max((request.top for request in requests), default=0)
    decode = dataclasses.replace(self.decode, top_logprobs=max(top, self.decode.top_logprobs))
    budgets = [request.thinking for request in requests]
    if any(budgets):
      check.require(self.on_text is None, "a text that is read as it comes has no limit of its thinking: ask without")
      thinking.generate(engine, self.renderer, asks, budgets, decode, ended)
    else:
      engine.generate(asks, decode, on_text=self.on_text, on_end=ended)
    return found

  @property
  def settings(self) -> Mapping[str, Any]:
    """How answers are decoded; which weights say them is known to who loaded them."""
    told = {k: v for k, v in dataclasses.asdict(self.decode).items() if k not in ("batch", "n", "top_logprobs")}
    return {"responder": type(self).__name__, **told, **({"adapter": self.own} if self.labels else {})}

  def fits(self, asked: conversation_lib.Conversation | str, new: int) -> bool:
    """Whether a prompt leaves room for so many new tokens in the positions that the model knows."""
    return len(self._named("prompt", asked).ids) + new <= self.engine.max_length

  def _ask(self, request: requests_lib.Request) -> decode_lib.Ask:
    prompt = self._named(request.where or request.id, request.conversation)
    if request.where and not 0 < len(prompt.ids) < self.engine.max_length:  # others are named by their place
      most = self.engine.max_length - 1
      raise errors.InputError(f"{request.where}: the prompt has {len(prompt.ids)} tokens; the model takes 1 to {most}")
    stops = (*decode_lib.stops_of(self.decode.stop), *request.stop, *self.renderer.turn_end.strings)
    is_number = request.id.isdecimal() and int(request.id) < 2**32  # keys of "7" are those of the number 7
    return decode_lib.Ask(
      prompt=prompt.ids,
      id=int(request.id) if is_number else request.id,
      n=request.n,
      limit=request.limit or None,
      stop=stops,
      sampling=self._sampling(request),
      adapter=self._number(request.adapter),
      images=prompt.images,
    )

  def _sampling(self, request: requests_lib.Request) -> controls.Sampling | None:
    """How the request's tokens are drawn, where it says so itself; else as Decode says."""
    given = {"temperature": request.temperature, "top_p": request.top_p}
    own: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if not own:
      return None
    names = [field.name for field in dataclasses.fields(controls.Sampling)]
    return controls.Sampling(**({name: vars(self.decode)[name] for name in names} | own))

  def _named(self, name: str, conversation: conversation_lib.Conversation | str) -> conversation_lib.Prompt:
    if isinstance(conversation, str):
      return self.renderer.text_prompt(conversation)
    try:
      return self.renderer.prompt(conversation)
    except errors.InputError as e:
      raise errors.InputError(f"{name}: {e}") from None

  def _number(self, adapter: str | None) -> int | None:
    """The number of an adapter; without a name it is that of `own`, and -1 where rows of the base alone ride along."""
    adapter = self.own if adapter is None else adapter
    if adapter is None:
      return -1 if self.labels else None
    known = ", ".join(self.labels) or "none"
    check.require(adapter in self.labels, f"no adapter is called {adapter!r}; adapters of this model: {known}")
    return self.labels.index(adapter)

  def _sample(self, said: call_lib.Generation, top: int, cut: bool) -> requests_lib.Sample:
    text = self.renderer.decode(said.tokens) if said.text is None else said.text
    told = None
    if top and said.top is not None:
      named = lambda pair: (self.renderer.decode([pair[0]]), pair[1])
      told = tuple(tuple(map(named, place[:top])) for place in said.top)
    logprobs = None if cut else tuple(said.logprobs)
    return requests_lib.Sample(text, said.finish, tuple(said.tokens), logprobs, top=told, thinking_cut=cut)

  def score(
    self, pairs: Sequence[requests_lib.Pair], progress: requests_lib.Progress = lambda n: None
  ) -> list[requests_lib.Score]:
    """Log-probabilities of continuations; those of one context share its run."""
    ids, images = [], []
    for number, pair in enumerate(pairs):
      asked = pair.context
      is_chat = isinstance(asked, conversation_lib.Conversation)
      prompt = self._named(f"pair {number}", asked) if is_chat else None
      ids.append((prompt.ids, self.renderer.encode(pair.continuation)) if prompt else self._cut(pair))
      images.append(prompt.images if prompt else None)
    numbers = [self._number(pair.adapter) for pair in pairs]
    return self._scored(ids, progress, images, numbers if self.labels else None)

  def _cut(self, pair: requests_lib.Pair) -> tuple[list[int], list[int]]:
    return self.renderer.continued(pair.context, pair.continuation)

  def _scored(self, ids, progress, images=(), numbers=None) -> list[requests_lib.Score]:
    scores = self.engine.with_progress(progress).score(ids, images, numbers)
    return [requests_lib.Score(*one, prompt=len(prompt)) for one, (prompt, _) in zip(scores, ids, strict=True)]

  def rolling(self, texts: Sequence[str], progress: requests_lib.Progress = lambda n: None) -> list[requests_lib.Score]:
    """Log-probabilities of whole texts, window by window. Raises InputError for a text without a token."""
    found, owners = [], []
    for number, text in enumerate(texts):
      (start,), ids = self.renderer.continued("", text)
      check.require(ids, f"text {number} has no token: there is nothing to score")
      parts = rolling.windows(ids, start, self.engine.max_length + 1)
      found += parts
      owners += [number] * len(parts)
    numbers = [self._number(None)] * len(found) if self.labels else None
    scores = self._scored(found, progress, numbers=numbers)
    totals = [requests_lib.Score(0.0, True, 0)] * len(texts)
    for number, one in zip(owners, scores, strict=True):
      before = totals[number]
      totals[number] = requests_lib.Score(
        before.logprob + one.logprob, before.is_greedy and one.is_greedy, before.tokens + one.tokens
      )
    return totals
