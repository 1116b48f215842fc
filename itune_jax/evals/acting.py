"""Asking an agent: it calls a tool, is told what came of it, and goes on until it calls none.

A call is one JSON object {"name": …, "arguments": {…}}, in `<tool_call>` tags or alone in an answer, or what an
endpoint gives as a tool call. Results come back in a user's turn, which every template has. All agents take their next
step together.
"""

from collections.abc import Sequence
import dataclasses
import json
import re
from typing import Any, NamedTuple

from itune_jax.core import conversation as conversation_lib
from itune_jax.core import jsontext
from itune_jax.evals import ask as ask_lib
from itune_jax.evals import protocol
from itune_jax.grading import tool_world
from itune_jax.sampling import requests as requests_lib

_TAGGED = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.S)
_FENCE = re.compile(r"^```(?:json)?\s*(.*?)\s*```$", re.S)


class Trace(NamedTuple):
  """What an agent did: its messages, the world that it left, its calls and those that were refused, and the last
  response. done: whether it ended by itself."""

  messages: tuple[dict[str, Any], ...]
  world: tool_world.World
  calls: int
  invalid: int
  last: requests_lib.Response
  done: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Acts(protocol.Ask):
  """Lets an item's agent act on `Item.shown["world"]`; the answer is a `Trace`. most: steps. how: as one step is asked.

  Requests of later steps are called ITEM/2, ITEM/3.
  """

  most: int = 8
  how: ask_lib.Generate = ask_lib.Generate(limit=256, temperature=0.0)
  generates = True

  def __call__(
    self, items: Sequence[protocol.Item], responder: requests_lib.Responder, progress: requests_lib.Progress
  ) -> list[Any]:
    """The trace of each item."""
    nothing = requests_lib.Response("", (requests_lib.Sample("", "missing"),))
    traces = [Trace((), item.shown["world"], 0, 0, nothing, False) for item in items]
    going = list(range(len(items)))
    for step in range(1, self.most + 1):
      answers = responder.answer([self._request(items[k], traces[k], step) for k in going], progress)
      for k, answer in zip(going, answers, strict=True):
        traces[k] = stepped(traces[k], answer)
      going = [k for k in going if not traces[k].done]
      if not going:
        break
    return traces

  def _request(self, item: protocol.Item, trace: Trace, step: int) -> requests_lib.Request:
    asked = conversation_lib.of(item.question)
    return requests_lib.Request(
      conversation=dataclasses.replace(asked, messages=(*asked.messages, *trace.messages)),
      id=item.id if step == 1 else f"{item.id}/{step}",
      limit=self.how.limit,
      temperature=self.how.temperature,
      thinking=self.how.budget,
    )

  def row(self, item: protocol.Item, answer: Trace) -> dict[str, Any]:
    """The whole trajectory, and what became of the last response."""
    verdict = ask_lib.verdict(answer.last)
    told = {"prompt": conversation_lib.of(item.question).messages[-1]["content"], "messages": list(answer.messages)}
    told |= ask_lib.thought(self.how, [answer.last])
    return {**told, "output": answer.last.text, "answer": item.answer, "world_left": answer.world, "verdict": verdict}


def calls_of(sample: requests_lib.Sample) -> list[Any]:
  """The calls of an answer, each an object, or None for one that is none."""
  if sample.tool_calls:
    return [_of_endpoint(one) for one in sample.tool_calls]
  text = sample.text.strip()
  found = _TAGGED.findall(text)
  fence = _FENCE.match(text)
  alone = fence[1] if fence else text
  if not found and alone.startswith("{"):
    found = [alone]
  return [_parsed(one) for one in found]


def stepped(trace: Trace, answer: requests_lib.Response) -> Trace:
  """A trace with one more answer, and what its calls did. One without calls, or that is missing, ends it."""
  sample = answer.samples[0]
  said = {"role": "assistant", "content": sample.text}
  calls = calls_of(sample)
  if not calls:
    return trace._replace(messages=(*trace.messages, said), last=answer, done=True)
  world, told, invalid = trace.world, [], 0
  for one in calls:
    try:
      if one is None:
        raise tool_world.CallError('a call is {"name": …, "arguments": {…}}')
      world, result = tool_world.call(world, one.get("name"), one.get("arguments"))
      told.append(jsontext.dumps(result))
    except tool_world.CallError as e:
      invalid += 1
      told.append(f"error: {e}")
  back = {"role": "user", "content": "Result: " + "\n".join(told)}
  messages = (*trace.messages, said, back)
  return Trace(messages, world, trace.calls + len(calls), trace.invalid + invalid, answer, False)


def _parsed(text: str) -> dict[str, Any] | None:
  try:
    value = json.loads(text)
  except (ValueError, RecursionError):
    return None
  return value if isinstance(value, dict) else None


def _of_endpoint(call: Any) -> dict[str, Any] | None:
  """OpenAI's form of a call, whose arguments are JSON text."""
  function = call.get("function") if isinstance(call, dict) else None
  if not isinstance(function, dict):
    return None
  arguments = function.get("arguments")
  return {"name": function.get("name"), "arguments": _parsed(arguments) if isinstance(arguments, str) else arguments}
