"""A small simulated office for agents: contacts, a calendar, a stock, and mail that is sent, as plain JSON.

The same calls leave the same world, so that a task is judged by the world that it leaves: whatever way led there.
"""

from collections.abc import Callable, Mapping
import copy
import re
from typing import Any, NamedTuple

from itune_jax.core import jsontext

World = dict[str, Any]


class CallError(ValueError):
  """A call that a tool refuses, in one line; the agent is told it."""


class Tool(NamedTuple):
  """What a tool says of itself, its arguments by name, and what it does to a world."""

  description: str
  arguments: Mapping[str, str]
  act: Callable[..., Any]


def _find(world: World, name: str) -> Any:
  hits = {one: address for one, address in world["contacts"].items() if name.lower() in one.lower()}
  if not hits:
    raise CallError(f"no contact is called {name}")
  return hits


def _events(world: World, date: str) -> Any:
  return [event for event in world["calendar"] if event["date"] == date]


def _add(world: World, date: str, time: str, title: str) -> str:
  if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", date) or not re.fullmatch(r"\d{2}:\d{2}", time):
    raise CallError("date is YYYY-MM-DD, time is HH:MM")
  if any((event["date"], event["time"]) == (date, time) for event in world["calendar"]):
    raise CallError(f"{date} {time} is taken")
  world["calendar"].append({"date": date, "time": time, "title": title})
  world["calendar"].sort(key=lambda event: (event["date"], event["time"]))
  return "added"


def _cancel(world: World, date: str, time: str) -> str:
  left = [event for event in world["calendar"] if (event["date"], event["time"]) != (date, time)]
  if len(left) == len(world["calendar"]):
    raise CallError(f"nothing is at {date} {time}")
  world["calendar"] = left
  return "cancelled"


def _stock(world: World, item: str) -> int:
  if item not in world["stock"]:
    raise CallError(f"no item is called {item}; items are {', '.join(sorted(world['stock']))}")
  return world["stock"][item]


def _order(world: World, item: str, count: str) -> str:
  if not re.fullmatch(r"\d{1,6}", count) or not int(count):
    raise CallError("count is a whole number from 1")
  world["stock"][item] = _stock(world, item) + int(count)
  return f"{item}: {world['stock'][item]}"


def _mail(world: World, to: str, subject: str) -> str:
  if to not in world["contacts"].values():
    raise CallError(f"{to} is nobody's address")
  world["sent"].append({"to": to, "subject": subject})
  return "sent"


TOOLS: dict[str, Tool] = {
  "find_contact": Tool("Finds addresses by a part of a name.", {"name": "the name, or a part of it"}, _find),
  "list_events": Tool("The events of a day.", {"date": "YYYY-MM-DD"}, _events),
  "add_event": Tool("Adds an event.", {"date": "YYYY-MM-DD", "time": "HH:MM", "title": "what it is"}, _add),
  "cancel_event": Tool("Cancels the event at a time.", {"date": "YYYY-MM-DD", "time": "HH:MM"}, _cancel),
  "get_stock": Tool("How many of an item are in stock.", {"item": "its name"}, _stock),
  "order_stock": Tool("Orders more of an item.", {"item": "its name", "count": "how many"}, _order),
  "send_mail": Tool("Sends a mail.", {"to": "an address", "subject": "what it says"}, _mail),
}


def call(world: World, name: Any, arguments: Any) -> tuple[World, Any]:
  """The world after a call, and what the tool says; the world given is not changed. Raises CallError."""
  tool = TOOLS.get(name) if isinstance(name, str) else None
  if tool is None:
    raise CallError(f"there is no tool {jsontext.shown(name)}; tools are {', '.join(TOOLS)}")
  if not isinstance(arguments, Mapping) or set(arguments) != set(tool.arguments):
    raise CallError(f"{name} takes {', '.join(tool.arguments)}")
  if not all(isinstance(value, (str, int)) and not isinstance(value, bool) for value in arguments.values()):
    raise CallError(f"{name}: arguments are texts or whole numbers")
  after = copy.deepcopy(world)
  return after, tool.act(after, **{key: str(value) for key, value in arguments.items()})


def schemas() -> tuple[dict[str, Any], ...]:
  """The tools as conversations offer them."""
  found = []
  for name, tool in TOOLS.items():
    known = {key: {"type": "string", "description": text} for key, text in tool.arguments.items()}
    parameters = {"type": "object", "properties": known, "required": list(tool.arguments)}
    told = {"name": name, "description": tool.description, "parameters": parameters}
    found.append({"type": "function", "function": told})
  return tuple(found)
