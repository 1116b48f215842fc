"""Agent trajectories: a request, a model that calls simulated tools, and the world that it leaves; verified by that."""

import dataclasses
import json
import re
from typing import Any, NamedTuple

import numpy as np

from itune_jax.core import check
from itune_jax.core import conversation
from itune_jax.core import jsontext
from itune_jax.core import ranges
from itune_jax.sampling import requests as requests_lib
from itune_jax.synth import generator
from itune_jax.synth import simulated_tools

SYSTEM = """You do what the user asks with these tools, one call at a time:
{tools}
To call one, write
<tool_call>
{"name": "NAME", "arguments": {"ARGUMENT": "VALUE"}}
</tool_call>
and wait for its result. When all is done, answer the user in one sentence that holds what was asked for."""
_CALL = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)", re.S)
_PLACES = ("Harlow", "Vantry", "Oldmoor", "Kestle", "Brin", "Sallow", "Dunmere", "Ferrick")
_THINGS = ("crates", "bicycles", "seed bags", "lamps", "tables", "barrels", "coils of rope", "tiles")
_TITLES = (
  "dentist",
  "team meeting",
  "choir",
  "call with the bank",
  "car inspection",
  "dinner",
  "book club",
  "swimming",
)
_KEYS = ("budget", "colour", "deadline", "password hint", "supplier", "quantity", "room", "motto")


class Scenario(NamedTuple):
  """What is asked, the world before, the calls that do it, and what the last answer must hold ("" for nothing)."""

  request: str
  before: simulated_tools.World
  calls: tuple[tuple[str, dict[str, str]], ...]
  answer: str

  @property
  def after(self) -> simulated_tools.World:
    """The world that the calls leave."""
    state = self.before
    for name, arguments in self.calls:
      state, _ = simulated_tools.call(state, name, arguments)
    return state


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agents(generator.Generator):
  """Dialogues with tool calls that leave the world as it was to be left.

  turns: of the model at most. goals: of a request at most, of which each needs a tool or two.
  """

  name: str = "agents"
  turns: int = 8
  goals: int = 2
  temperature: ranges.NonNegativeFloat = 0.2
  limit: ranges.NonNegativeInt = 256

  def __post_init__(self):
    super().__post_init__()
    check.require(self.turns > 1 and 0 < self.goals <= len(_GOALS), f"Agents: turns >= 2, goals 1 to {len(_GOALS)}")

  @property
  def prompts(self):
    """The system turn."""
    return {"system": SYSTEM}

  def make(self, n: int, pool: generator.Pool) -> generator.Steps:
    """A scenario, played to its end."""
    given = drawn(self.random(n), self.goals)
    schemas = tuple(tool.schema for tool in simulated_tools.TOOLS.values())
    told = "\n".join(json.dumps(schema["function"]) for schema in schemas)
    messages: list[dict[str, Any]] = [
      {"role": "system", "content": SYSTEM.replace("{tools}", told)},
      {"role": "user", "content": given.request},
    ]
    state, reason = given.before, "does not end"
    for k in range(self.turns):
      asked = conversation.Conversation(tuple(messages), schemas)
      (response,) = yield from generator.ask([self.request(n, f"turn/{k}", asked)])
      sample = response.samples[0]
      if reason := self.faults.of(sample) if sample.finish != "tool_calls" else "":
        break
      calls = calls_of(sample)
      if calls is None:
        reason = "broken JSON in a call"
        break
      if not calls:
        messages.append({"role": "assistant", "content": sample.text.strip()})
        reason = self._verdict(given, state, sample.text)
        break
      state = _played(state, calls, k, sample, messages)
      reason = "does not end"
    row = {"messages": messages, "tools": list(schemas), "source": {"before": given.before, "after": given.after}}
    return [generator.Candidate(row, reason)]

  def _verdict(self, given: Scenario, state: simulated_tools.World, said: str) -> str:
    if state != given.after:
      return "leaves another world"
    return "" if given.answer.lower() in said.lower() else "the answer lacks what was asked for"


def _played(state, calls, k: int, sample, messages) -> simulated_tools.World:
  """The world after some calls; they and their results are added to the messages."""
  text = _CALL.sub("", sample.text).strip()
  told = [
    {"id": f"call_{k}_{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
    for i, (name, arguments) in enumerate(calls)
  ]
  messages.append({"role": "assistant", "content": text or None, "tool_calls": told})
  for one, (name, arguments) in zip(told, calls, strict=True):
    try:
      state, result = simulated_tools.call(state, name, arguments)
    except simulated_tools.ToolError as e:
      result = {"error": str(e)}
    messages.append({"role": "tool", "tool_call_id": one["id"], "content": jsontext.dumps(result)})
  return state


def calls_of(sample: requests_lib.Sample) -> list[tuple[str, dict[str, Any]]] | None:
  """The calls of an answer, as an endpoint took them out or as its text has them; None where one cannot be read."""
  raw = list(sample.tool_calls) or [found[1] for found in _CALL.finditer(sample.text)]
  calls = []
  for one in raw:
    try:
      value = jsontext.loads(one, finite=True) if isinstance(one, str) else one
      value = value.get("function", value)
      arguments = value["arguments"]
      arguments = jsontext.loads(arguments, finite=True) if isinstance(arguments, str) else arguments
      fits = isinstance(value["name"], str) and isinstance(arguments, dict)
    except (ValueError, KeyError, TypeError, AttributeError):
      return None
    if not fits:
      return None
    calls.append((value["name"], arguments))
  return calls


def drawn(rng: np.random.Generator, goals: int) -> Scenario:
  """A request of one or more goals in a world that is drawn with it."""
  counts = [int(number) for number in rng.integers(12, 900, len(_PLACES))]
  things = [_THINGS[i] for i in rng.permutation(len(_THINGS))]
  notes = [f"The depot of {p} holds {c} {t}." for p, c, t in zip(_PLACES, counts, things, strict=True)]
  keys = [_KEYS[i] for i in rng.permutation(len(_KEYS))]
  store = {key: f"{things[i]} {counts[i]}" for i, key in enumerate(keys[:4])}
  day = lambda: f"2031-{int(rng.integers(1, 13)):02d}-{int(rng.integers(1, 29)):02d}"
  events = [[day(), f"{int(rng.integers(8, 12)):02d}:00", _TITLES[i]] for i in rng.permutation(len(_TITLES))[:3]]
  events = sorted({tuple(event[:2]): event for event in events}.values())
  state = simulated_tools.world(notes, store, events)
  asked, calls, answers = [], [], []
  for i in rng.permutation(len(_GOALS))[: int(rng.integers(1, goals + 1))]:
    text, more, answer = _GOALS[i](rng, state, keys)
    asked.append(text)
    calls += more
    answers.append(answer)
  # Of several answers the last is looked for: each goal of a request is verified by the world, but for what is told.
  return Scenario(" Then ".join(asked), state, tuple(calls), next((one for one in reversed(answers) if one), ""))


def _sum(rng, state, keys):
  i, j = (int(k) for k in rng.permutation(len(state["notes"]))[:2])
  numbers = [re.findall(r"\d+", state["notes"][k])[0] for k in (i, j)]
  total = str(int(numbers[0]) + int(numbers[1]))
  places = [re.findall(r"of (\w+) holds", state["notes"][k])[0] for k in (i, j)]
  text = (
    f"look up how many things the depots of {places[0]} and {places[1]} hold together, and store the sum as `total`."
  )
  return text, [("store_set", {"key": "total", "value": total})], total


def _copy(rng, state, keys):
  text = f"copy the value of `{keys[0]}` to `{keys[5]}`, and delete `{keys[0]}`."
  calls = [("store_set", {"key": keys[5], "value": state["store"][keys[0]]}), ("store_delete", {"key": keys[0]})]
  return text, calls, ""


def _event(rng, state, keys):
  date, title = f"2032-{int(rng.integers(1, 13)):02d}-15", _TITLES[int(rng.integers(len(_TITLES)))]
  text = f"put `{title}` into my calendar on {date} at 14:30."
  return text, [("calendar_add", {"date": date, "time": "14:30", "title": title})], ""


def _cancel(rng, state, keys):
  date, time, title = state["calendar"][int(rng.integers(len(state["calendar"])))]
  text = f"cancel what I have on {date}, and tell me what it was."
  return text, [("calendar_remove", {"date": date, "time": time})], title


def _compute(rng, state, keys):
  a, b, c = (int(number) for number in rng.integers(11, 90, 3))
  text = f"work out {a} * {b} + {c} and store the number under `{keys[6]}`."
  return text, [("store_set", {"key": keys[6], "value": str(a * b + c)})], str(a * b + c)


_GOALS = (_sum, _copy, _event, _cancel, _compute)
