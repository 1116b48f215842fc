"""Tools that agents are tried on: a calculator, a store of keys and values, a calendar, a search over a few notes.

All act on a world, which is plain JSON; nothing outside of it is read or changed, and the same calls leave the same
world. So a trajectory is verified by the world that it leaves.
"""

from collections.abc import Callable, Mapping, Sequence
import copy
import re
from typing import Any, NamedTuple

from itune_jax.core import jsontext
from itune_jax.synth import equations

World = dict[str, Any]


class ToolError(ValueError):
  """A call that a tool refuses, in one line; whoever called is told it."""


class Tool(NamedTuple):
  """What a tool is called, what it says of itself, its arguments by name, and what it does to a world."""

  name: str
  description: str
  arguments: Mapping[str, str]
  act: Callable[..., Any]

  @property
  def schema(self) -> dict[str, Any]:
    """The tool as conversations offer it."""
    known = {name: {"type": "string", "description": text} for name, text in self.arguments.items()}
    parameters = {"type": "object", "properties": known, "required": list(self.arguments)}
    told = {"name": self.name, "description": self.description, "parameters": parameters}
    return {"type": "function", "function": told}


def world(notes: Sequence[str] = (), store: Mapping[str, str] | None = None, events=()) -> World:
  """A world: notes that can be found, a store, a calendar of (date, time, title)."""
  return {"notes": list(notes), "store": dict(store or {}), "calendar": [list(event) for event in events]}


def call(state: World, name: Any, arguments: Any) -> tuple[World, Any]:
  """The world after a call, and what the tool says. The world given is not changed. Raises ToolError."""
  tool = TOOLS.get(name) if isinstance(name, str) else None
  if tool is None:
    raise ToolError(f"unknown tool {jsontext.shown(name)}; tools are {', '.join(TOOLS)}")
  if not isinstance(arguments, Mapping):
    raise ToolError(f"{name}: arguments are {jsontext.name(arguments)}; they must be an object")
  lacking = [key for key in tool.arguments if key not in arguments]
  unknown = [key for key in arguments if key not in tool.arguments]
  if lacking or unknown:
    raise ToolError(f"{name}: it takes {', '.join(tool.arguments)}; {', '.join(lacking or unknown)} does not fit")
  texts = {key: value if isinstance(value, str) else str(value) for key, value in arguments.items()}
  after = copy.deepcopy(state)
  return after, tool.act(after, **texts)


def _calculate(state: World, expression: str) -> str:
  value = equations.value(expression)
  if value is None:
    raise ToolError(f"calculator: {jsontext.shown(expression)} is no arithmetic expression")
  return str(value.numerator) if value.denominator == 1 else f"{float(value):.10g}"


def _get(state: World, key: str) -> str:
  if key not in state["store"]:
    raise ToolError(f"store_get: no key {jsontext.shown(key)}; keys are {', '.join(sorted(state['store'])) or 'none'}")
  return state["store"][key]


def _set(state: World, key: str, value: str) -> str:
  state["store"][key] = value
  return "stored"


def _delete(state: World, key: str) -> str:
  _get(state, key)
  del state["store"][key]
  return "deleted"


def _add(state: World, date: str, time: str, title: str) -> str:
  if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", date) or not re.fullmatch(r"\d{2}:\d{2}", time):
    raise ToolError("calendar_add: date is YYYY-MM-DD, time is HH:MM")
  if any(event[:2] == [date, time] for event in state["calendar"]):
    raise ToolError(f"calendar_add: {date} {time} is taken")
  state["calendar"] = sorted([*state["calendar"], [date, time, title]])
  return "added"


def _remove(state: World, date: str, time: str) -> str:
  left = [event for event in state["calendar"] if event[:2] != [date, time]]
  if len(left) == len(state["calendar"]):
    raise ToolError(f"calendar_remove: nothing is at {date} {time}")
  state["calendar"] = left
  return "removed"


def _list(state: World, date: str) -> list[list[str]]:
  return [event for event in state["calendar"] if event[0] == date]


def _search(state: World, query: str) -> list[str]:
  words = set(re.findall(r"\w+", query.lower()))
  hits = [(len(words & set(re.findall(r"\w+", note.lower()))), -i, note) for i, note in enumerate(state["notes"])]
  return [note for count, _, note in sorted(hits, reverse=True)[:3] if count]


TOOLS: dict[str, Tool] = {
  tool.name: tool
  for tool in (
    Tool(
      "calculator",
      "Works out an expression of numbers and + - * / ( ).",
      {"expression": "such as 3 * (4 + 1)"},
      _calculate,
    ),
    Tool("store_get", "Reads the value of a key.", {"key": "the key"}, _get),
    Tool(
      "store_set", "Writes a value under a key, whatever was there.", {"key": "the key", "value": "the value"}, _set
    ),
    Tool("store_delete", "Removes a key.", {"key": "the key"}, _delete),
    Tool("calendar_add", "Adds an event.", {"date": "YYYY-MM-DD", "time": "HH:MM", "title": "what it is"}, _add),
    Tool("calendar_remove", "Removes the event at a time.", {"date": "YYYY-MM-DD", "time": "HH:MM"}, _remove),
    Tool("calendar_list", "The events of a day.", {"date": "YYYY-MM-DD"}, _list),
    Tool("search", "The notes that share most words with a query, three at most.", {"query": "words"}, _search),
  )
}
