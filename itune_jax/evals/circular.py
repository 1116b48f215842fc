"""Circular evaluation (MMBench, Liu et al. 2023): a choice is asked as often as it has options, each time with the
options moved on by one, and is right only where it is right every time."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from itune_jax.evals import ask as ask_lib
from itune_jax.evals import lettered
from itune_jax.evals import protocol
from itune_jax.core import conversation
from itune_jax.grading import extract
from itune_jax.grading import letters
from itune_jax.sampling import requests as requests_lib

PLACE = "{options}"  # where the options stand in a question's text


@dataclasses.dataclass(frozen=True, kw_only=True)
class Circular(protocol.Pooled):
  """Asks an item once for each rotation of `Item.shown["options"]`; the answer is a tuple of `Response`s.

  The options take the place of `{options}` in the question's text. Requests are called ITEM/0, ITEM/1, … how: as one
  question is asked.
  """

  how: ask_lib.Generate = ask_lib.Generate()
  kind = "answer"
  generates = True

  def asked(self, item: protocol.Item, responder: requests_lib.Responder) -> list[protocol.Asked]:
    """A request for each rotation."""
    found: list[protocol.Asked] = []
    for turn in range(len(item.shown["options"])):
      one = dataclasses.replace(item, id=f"{item.id}/{turn}", question=_with(item, turn))
      found += self.how.asked(one, responder)
    return found

  def answer(self, item: protocol.Item, results: Sequence[Any]) -> tuple[requests_lib.Response, ...]:
    """The answers; a question that did not fit has none to any rotation."""
    count = len(item.shown["options"])
    each = [[one] for one in results] if len(results) == count else [[]] * count
    return tuple(self.how.answer(item, given) for given in each)

  def row(self, item: protocol.Item, answer: tuple[requests_lib.Response, ...]) -> dict[str, Any]:
    """The question as it was asked first, all answers, and what became of the worst of them."""
    order = ("answered", "cut_off", "empty", "too_long", "missing")
    worst = max((ask_lib.verdict(one) for one in answer), key=order.index)
    told = self.how.row(dataclasses.replace(item, question=_with(item, 0)), answer[0])
    told |= ask_lib.thought(self.how, answer)
    return told | {"outputs": [one.text for one in answer], "verdict": worst, "stopped": worst != "cut_off"}


def rotated(options: Sequence[str], turn: int) -> list[str]:
  """The options, moved on: option i stands at place (i + turn) of them."""
  return [options[(place - turn) % len(options)] for place in range(len(options))]


def grade(item: protocol.Item, answers: Sequence[requests_lib.Response]) -> protocol.Graded:
  """Right every time; the share of times; and the share of answers that name no letter."""
  options, right = item.shown["options"], letters_index(item.answer)
  found = [letters.chosen(one.text, rotated(options, turn)) for turn, one in enumerate(answers)]
  wanted = [letters.letter((right + turn) % len(options)) for turn in range(len(options))]
  hits = [one == gold for one, gold in zip(found, wanted, strict=True)]
  values: Mapping[str, float] = {
    "circular": float(all(hits)),
    "vanilla": float(hits[0]),
    "each": sum(hits) / len(hits),
    "unparsed": sum(one == extract.INVALID for one in found) / len(found),
  }
  return protocol.Graded(values, {"chosen": found})


def letters_index(letter: str) -> int:
  """A is 0, B is 1, …"""
  return ord(letter) - ord("A")


def _with(item: protocol.Item, turn: int) -> conversation.Conversation | str:
  told = lettered.listed(rotated(item.shown["options"], turn))
  if isinstance(item.question, str):
    return item.question.replace(PLACE, told)
  put = lambda part: {**part, "text": part["text"].replace(PLACE, told)} if part["type"] == "text" else part
  turns = [{**message, "content": [put(part) for part in message["content"]]} for message in item.question.messages]
  return dataclasses.replace(item.question, messages=tuple(turns))
