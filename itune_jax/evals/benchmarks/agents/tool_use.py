"""Tasks over the project's simulated tools: success is the world that is left, whatever way led there.

Sixty tasks of six kinds, made by seed: find an address and write to it, move an event, book the first free hour, cancel
a day, refill what is short, and questions that need no call (whose world must stay as it is).

| figure | what |
|---|---|
| `success` | the world is the wanted one, and the agent ended by itself, in words that were not cut off |
| `steps` | calls of an agent beside the fewest that do |
| `invalid_calls` | the share of calls that a tool refused, over all calls |
"""

from collections.abc import Iterator
import copy
from typing import Any, NamedTuple

import numpy as np

from itune_jax.core import conversation
from itune_jax.evals import acting
from itune_jax.evals import ask as ask_lib
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.grading import tool_world
from itune_jax.grading.statistics import metrics as metrics_lib

COUNT, SEED = 60, 2503
NAMES = ("Ada Brook", "Ben Castle", "Cem Demir", "Dora Eng", "Eli Frost", "Fay Green")
ITEMS = ("paper", "ink", "cables", "lamps", "chairs")
TITLES = ("Budget", "Review", "Interview", "Standup", "Training")
SYSTEM = (
  "You run an office with tools. To call one, answer with one JSON object and nothing else: "
  '{"name": the tool, "arguments": {…}}. You are told the result, and may call again. When the task is done, answer in '
  "words without a call. Tools:\n"
)


class Made(NamedTuple):
  """A task in words, and the calls that do it with the fewest."""

  told: str
  calls: tuple[tuple[str, dict[str, str]], ...]


def world(random: np.random.Generator) -> tool_world.World:
  """An office: addresses, three days with events at some hours, a stock."""
  events = []
  for day in (11, 12, 13):
    for hour in sorted(random.choice(range(9, 13), 2, replace=False).tolist()):
      title = TITLES[int(random.integers(len(TITLES)))]
      events.append({"date": f"2031-03-{day}", "time": f"{hour:02d}:00", "title": title})
  contacts = {name: f"{name.split()[0].lower()}{int(random.integers(10, 99))}@office.example" for name in NAMES}
  stock = {item: int(random.integers(1, 20)) for item in ITEMS}
  return {"contacts": contacts, "calendar": events, "stock": stock, "sent": []}


def _write(state: tool_world.World, random: np.random.Generator) -> Made:
  name, title = NAMES[int(random.integers(len(NAMES)))], TITLES[int(random.integers(len(TITLES)))]
  calls = (("find_contact", {"name": name}), ("send_mail", {"to": state["contacts"][name], "subject": title}))
  return Made(f"Send {name} a mail with the subject {title}.", calls)


def _move(state: tool_world.World, random: np.random.Generator) -> Made:
  event = state["calendar"][int(random.integers(len(state["calendar"])))]
  place = {"date": event["date"], "time": event["time"]}
  calls = (("cancel_event", place), ("add_event", {**place, "time": "17:00", "title": event["title"]}))
  return Made(f"Move the event on {event['date']} at {event['time']} ({event['title']}) to 17:00 of that day.", calls)


def _book(state: tool_world.World, random: np.random.Generator) -> Made:
  date = f"2031-03-{int(random.integers(11, 14))}"
  taken = {event["time"] for event in state["calendar"] if event["date"] == date}
  free = next(f"{hour:02d}:00" for hour in range(9, 18) if f"{hour:02d}:00" not in taken)
  calls = (("list_events", {"date": date}), ("add_event", {"date": date, "time": free, "title": "Planning"}))
  return Made(f"Add an event called Planning on {date} at the first full hour from 09:00 on that is free.", calls)


def _cancel(state: tool_world.World, random: np.random.Generator) -> Made:
  date = f"2031-03-{int(random.integers(11, 14))}"
  found = [event for event in state["calendar"] if event["date"] == date]
  calls = tuple(("cancel_event", {"date": date, "time": event["time"]}) for event in found)
  return Made(f"Cancel all events of {date}.", (("list_events", {"date": date}), *calls))


def _refill(state: tool_world.World, random: np.random.Generator) -> Made:
  item = ITEMS[int(random.integers(len(ITEMS)))]
  calls = (("get_stock", {"item": item}), ("order_stock", {"item": item, "count": str(25 - state["stock"][item])}))
  return Made(f"Order as many {item} as are needed to have exactly 25 in stock.", calls)


def _none(state: tool_world.World, random: np.random.Generator) -> Made:
  del state
  first, second = (int(random.integers(2, 30)) for _ in range(2))
  return Made(f"What is {first} plus {second}? Change nothing in the office.", ())


KINDS = {"write": _write, "move": _move, "book": _book, "cancel": _cancel, "refill": _refill, "none": _none}


def items() -> Iterator[protocol.Item]:
  """The tasks; each has a world of its own, and the world that its calls leave."""
  tools = "\n".join(
    f"{name}({', '.join(f'{key}: {text}' for key, text in tool.arguments.items())}): {tool.description}"
    for name, tool in tool_world.TOOLS.items()
  )
  for number in range(COUNT):
    random = np.random.default_rng([SEED, number])
    kind = tuple(KINDS)[number % len(KINDS)]
    state = world(random)
    made, wanted = KINDS[kind](state, random), copy.deepcopy(state)
    for name, arguments in made.calls:
      wanted, _ = tool_world.call(wanted, name, arguments)
    messages = ({"role": "user", "content": f"{SYSTEM}{tools}\n\nTask: {made.told}"},)
    yield protocol.Item(
      id=f"{kind}/{number}",
      question=conversation.Conversation(messages),
      answer=wanted,
      tags={"kind": kind},
      shown={"world": state, "fewest": len(made.calls)},
    )


def grade(item: protocol.Item, trace: acting.Trace) -> protocol.Graded:
  """Whether the world is the wanted one, steps beside the fewest, and calls that were refused; nothing of an agent
  whose answer is missing."""
  verdict = ask_lib.verdict(trace.last)
  if verdict == "missing":
    return protocol.Graded(dict.fromkeys(("success", "steps", "invalid_calls")))
  values: dict[str, Any] = {
    "success": trace.done and verdict == "answered" and trace.world == item.answer,
    "steps": (trace.calls, item.shown["fewest"]),
    "invalid_calls": (trace.invalid, trace.calls),
  }
  return protocol.Graded(values, {"calls": trace.calls, "invalid": trace.invalid, "ended": trace.done})


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark; no file is read."""
  del folder
  how = official.generate(settings, limit=256, temperature=0.0)
  return protocol.Benchmark(
    name="tool_use",
    items=items,
    ask=acting.Acts(how=how),
    grade=protocol.each(grade),
    metrics={
      "success": metrics_lib.Mean(),
      "steps": metrics_lib.MicroMean("lower"),
      "invalid_calls": metrics_lib.MicroMean("lower"),
    },
    tags=("kind",),
  )


BENCHMARK = official.Published(
  name="tool_use",
  axis="agents",
  title="Tasks over simulated tools",
  files=(),
  source="made by the project",
  licence="Apache-2.0",
  size="none",
  count=COUNT,
  metric="success",
  make=make,
  subtask="kind",
  version=2,
  parity="none: the project's own; each task's shortest solution succeeds",
)
