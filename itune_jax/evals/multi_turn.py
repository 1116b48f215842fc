"""Asking in turns: each question of a conversation behind the model's own answers to those before it."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from itune_jax.core import check
from itune_jax.core import conversation as conversation_lib
from itune_jax.evals import ask as ask_lib
from itune_jax.evals import protocol
from itune_jax.sampling import requests as requests_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Turns(protocol.Ask):
  """Asks `Item.shown["turns"]`, all first ones together, then all second ones; the answer is a tuple of `Response`s.

  Behind an answer that is missing nothing is asked: what follows is missing too. how: as one question is asked; an
  item's `shown["temperature"]` comes before its own. Requests of later turns are called ITEM/2, ITEM/3.
  """

  how: ask_lib.Generate = ask_lib.Generate()
  generates = True

  def __call__(
    self, items: Sequence[protocol.Item], responder: requests_lib.Responder, progress: requests_lib.Progress
  ) -> list[tuple[requests_lib.Response, ...]]:
    """The answers to each item. Raises InputError for one without turns."""
    for item in items:
      check.require(item.shown.get("turns"), f"{item.called}: it has no turns")
    said: list[list[requests_lib.Response]] = [[] for _ in items]
    for turn in range(max(len(item.shown["turns"]) for item in items)):
      going = [k for k, item in enumerate(items) if turn < len(item.shown["turns"])]
      asked = [k for k in going if not (said[k] and ask_lib.verdict(said[k][-1]) in ("missing", "too_long"))]
      answers = responder.answer([self._request(items[k], said[k]) for k in asked], progress)
      found = dict(zip(asked, answers, strict=True))
      for k in going:
        nothing = requests_lib.Response(items[k].id, (requests_lib.Sample("", "missing"),))
        said[k].append(self.how.answer(items[k], [found[k]]) if k in found else nothing)
    return [tuple(one) for one in said]

  def _request(self, item: protocol.Item, said: Sequence[requests_lib.Response]) -> requests_lib.Request:
    return requests_lib.Request(
      conversation=conversation_lib.Conversation(tuple(messages(item, said))),
      id=f"{item.id}/{len(said) + 1}" if said else item.id,
      limit=self.how.limit,
      temperature=item.shown.get("temperature", self.how.temperature),
      thinking=self.how.budget,
    )

  def row(self, item: protocol.Item, answer: tuple[requests_lib.Response, ...]) -> dict[str, Any]:
    """The whole conversation, the last answer, and what became of the worst of them."""
    order = ("answered", "cut_off", "empty", "too_long", "missing")
    worst = max((ask_lib.verdict(one) for one in answer), key=order.index)
    told = {"prompt": item.shown["turns"][0], "messages": messages(item, answer), "output": answer[-1].text}
    told |= ask_lib.thought(self.how, answer)
    if used := [one.usage for one in answer if one.usage is not None]:
      told["usage"] = {"prompt": sum(one.prompt for one in used), "answer": sum(one.answer for one in used)}
    return {**told, "answer": item.answer, "verdict": worst, "stopped": worst != "cut_off"}


def messages(item: protocol.Item, said: Sequence[requests_lib.Response]) -> list[Mapping[str, Any]]:
  """Questions and answers so far, and the next question where there is one."""
  found: list[Mapping[str, Any]] = []
  for k, question in enumerate(item.shown["turns"][: len(said) + 1]):
    found.append({"role": "user", "content": question})
    if k < len(said):
      found.append({"role": "assistant", "content": said[k].text})
  return found
