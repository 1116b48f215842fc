"""Walks many items at once: gathers what they ask, has it answered together, and hands each its own."""

from collections.abc import Iterator, Mapping
import dataclasses
import hashlib
import json
import os
from typing import Any, NamedTuple

from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.core import log
from itune_jax.grading.sandbox import sandbox
from itune_jax.parallel import hosts
from itune_jax.sampling import requests as requests_lib
from itune_jax.synth import generator as generator_lib
from itune_jax.synth import ledger as ledger_lib


class Made(NamedTuple):
  """What an item ended in, and what it cost."""

  candidates: list[generator_lib.Candidate]
  cost: ledger_lib.Cost


@dataclasses.dataclass
class _Item:
  """An item under way, what it waits for, and what it has cost so far."""

  steps: generator_lib.Steps
  waits: generator_lib.Asks | generator_lib.Runs | None = None
  ended: list[generator_lib.Candidate] | None = None
  cost: ledger_lib.Cost = ledger_lib.NO_COST

  def go(self, told: Any) -> None:
    """Runs to its next question, or to its end."""
    try:
      self.waits = self.steps.send(told)
    except StopIteration as e:
      self.waits, self.ended = None, e.value


class Walker:
  """Who answers, by role, and the verdicts of programs that are kept in a folder."""

  def __init__(self, responders: Mapping[str, requests_lib.Responder], folder: str):
    self._responders, self._programs = responders, Programs(os.path.join(folder, "programs.jsonl"))

  def walk(self, items: Mapping[int, generator_lib.Steps]) -> Iterator[tuple[int, Made]]:
    """Each item with what it made, in order, when all have ended. Raises what a responder raises."""
    under_way = {n: _Item(steps) for n, steps in items.items()}
    for item in under_way.values():
      item.go(None)
    while waiting := [item for item in under_way.values() if item.waits is not None]:
      self._answer(waiting)
      self._run(waiting)
    for n, item in under_way.items():
      yield n, Made(item.ended or [], item.cost)

  def _answer(self, waiting: list[_Item]) -> None:
    """Answers all that wait for answers, those of one role together."""
    asking = [(item, item.waits) for item in waiting if isinstance(item.waits, generator_lib.Asks)]
    for role, responder in self._responders.items():
      of_role = [(item, asks.requests) for item, asks in asking if asks.role == role]
      if not of_role:
        continue
      together = [request for _, requests in of_role for request in requests]
      requests_lib.unique(together)
      answered = iter(responder.answer(together))
      for item, requests in of_role:
        own = [next(answered) for _ in requests]
        item.cost = item.cost.plus(own)
        item.go(own)

  def _run(self, waiting: list[_Item]) -> None:
    """Runs all programs that are waited for, those of equal limits together."""
    running = [(item, item.waits) for item in waiting if isinstance(item.waits, generator_lib.Runs)]
    for box in dict.fromkeys(runs.box for _, runs in running):
      of_box = [(item, runs.jobs) for item, runs in running if runs.box == box]
      outcomes = iter(self._programs.run([job for _, jobs in of_box for job in jobs], box))
      for item, jobs in of_box:
        item.go([next(outcomes) for _ in jobs])


class Programs:
  """Verdicts of programs, kept in a file as they come: one that was near its time limit is not judged twice."""

  def __init__(self, path: str):
    self._path, self._known = path, _kept(path)

  def run(self, jobs: list[sandbox.Job], box: sandbox.Sandbox) -> list[generator_lib.Outcome]:
    """The outcomes; the lead process runs what is not known, and tells the others."""
    keys = [_key(job, box) for job in jobs]
    fresh = {key: job for key, job in zip(keys, jobs, strict=True) if key not in self._known}
    if fresh:
      told = ""
      if log.is_lead():
        results = box.run_all(list(fresh.values()))
        found = {k: [r.verdict, r.detail, r.output] for k, r in zip(fresh, results, strict=True)}
        with open(self._path, "a", encoding="utf-8") as f:
          f.write("".join(jsontext.dumps({"key": k, "value": v}) + "\n" for k, v in found.items()))
        told = json.dumps(found)
      self._known |= json.loads(hosts.text_of_lead(told))
    return [generator_lib.Outcome(*self._known[key]) for key in keys]


def _key(job: sandbox.Job, box: sandbox.Sandbox) -> str:
  what = json.dumps([job.program, job.tests, dataclasses.asdict(box)], sort_keys=True)
  return hashlib.sha256(what.encode()).hexdigest()[:32]


def _kept(path: str) -> dict[str, list[str]]:
  lines: list[Any] = []
  if log.is_lead():
    lines, whole = ledger_lib.whole_lines(path)
    ledger_lib.cut(path, whole)
  try:
    return {line["key"]: line["value"] for line in json.loads(hosts.text_of_lead(json.dumps(lines)))}
  except (KeyError, TypeError):
    raise errors.InputError(f"{path}: holds something else than verdicts of programs; give a new folder") from None
