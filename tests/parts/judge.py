"""A part of the joints: a judge as a responder, asked for all answers of a block at once, in both orders."""

import dataclasses
import re

from itune_jax.core import conversation
from itune_jax.evals import protocol
from itune_jax.sampling import requests


@dataclasses.dataclass(frozen=True)
class Judge(protocol.Grade):
  """Which of two answers is better, by a responder asked in both orders; None where it disagrees with itself."""

  responder: requests.Responder

  def __call__(self, items, answers):
    orders = [(item, answer, swapped) for item, answer in zip(items, answers, strict=True) for swapped in (False, True)]
    said = iter(self.responder.answer([self._request(*given) for given in orders]))
    return [self._verdict(next(said).text, next(said).text) for _ in items]

  def _request(self, item, answer, swapped):
    pair = (item.answer, answer.text) if swapped else (answer.text, item.answer)
    ask = conversation.of(f"Which answer is better?\nA: {pair[0]}\nB: {pair[1]}\nSay A or B.")
    return requests.Request(conversation=ask, id=f"{item.id}{'/swapped' if swapped else ''}", limit=4)

  def _verdict(self, straight, swapped):
    first, second = (re.match(r"\s*([AB])\b", text) for text in (straight, swapped))
    if first is None or second is None:
      return protocol.Graded({"wins": None}, {"verdicts": [straight, swapped]})
    wins = first[1] == "A", second[1] == "B"
    return protocol.Graded({"wins": wins[0] if wins[0] == wins[1] else None}, {"verdicts": [straight, swapped]})
