"""Runs a generator into a folder, many items at a time; a run that was killed goes on, and ends with the same bytes.

rows.jsonl       the rows that are kept
dropped.jsonl    the candidates that are not, each with its item and the reason
journal.jsonl    a line an item: how far both files go behind it, what it cost; written after them
answers.*.jsonl  what was answered so far, by role: what was paid for is not asked again, even of items not yet booked
programs.jsonl   the verdicts of programs so far
run.json         what makes the run what it is
manifest.json    counts, the funnel, prompts, parents; written whenever a run ends or stops
"""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import dataclasses
import os
from typing import Any, Literal

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import log
from itune_jax.sampling import requests as requests_lib
from itune_jax.sampling.responders import journal as journal_lib
from itune_jax.synth import generator as generator_lib
from itune_jax.synth import ledger as ledger_lib
from itune_jax.synth import manifest as manifest_lib
from itune_jax.synth import walking

Resume = Literal["never", "always", "if-possible"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
  """When a run ends, beside the end of its items; 0 is no bound. All are counted in the order of items, so what is made
  depends on no batch.

  accept: rows that are kept. candidates: that were looked at, kept or not. tokens: of prompts and answers.
  """

  accept: int = 0
  candidates: int = 0
  tokens: int = 0

  def __post_init__(self):
    check.check_types(self)
    check.require(min(self.accept, self.candidates, self.tokens) >= 0, f"{self}: each is 0 (no bound) or more")

  def reached(self, ledger: ledger_lib.Ledger) -> str:
    """What has been reached, "" while nothing is."""
    if self.accept and len(ledger.rows) >= self.accept:
      return "accepted"
    if self.candidates and ledger.candidates >= self.candidates:
      return "candidates"
    return "tokens" if self.tokens and ledger.tokens >= self.tokens else ""


def check_ends(generator: generator_lib.Generator, limits: "Limits") -> None:
  """Raises InputError when nothing would end a run: asked before a model is loaded, which takes long."""
  check.require(
    generator.items or limits.accept or limits.candidates or limits.tokens,
    f"{generator.name} has no last item: bound it by accepted rows, candidates or tokens (--accept N)",
  )


def run(
  generator: generator_lib.Generator,
  responders: Mapping[str, requests_lib.Responder] | requests_lib.Responder,
  folder: str,
  *,
  identity: Mapping[str, Any],
  limits: Limits = Limits(),
  teacher: manifest_lib.Teacher = manifest_lib.Teacher(),
  batch: int = 64,
  resume: Resume = "if-possible",
  progress: Callable[[int], None] = lambda rows: None,
) -> dict[str, Any]:
  """Runs until a limit or the last item, or goes on where a run of the same identity ended; returns the manifest.

  Args:
    responders: who answers, by role; one for all roles that are not named.
    identity: what makes the run what it is, as JSON: the generator's values, the responders' models and settings.
    limits: when it ends. A run that ended may go on under wider ones.
    teacher: who is asked, under which licence, at which price: it stands in every row, or in the manifest.
    batch: items under way together.
    resume: what is done with a folder that holds a run: refused (`never`), asked for (`always`), or as it is.
    progress: called with the rows of each item as it is booked.

  Raises:
    InputError when the folder holds a run of another identity, its files are damaged, a role has nobody, or nothing
    would end the run. RunError when a responder ends it; what is booked is kept then, and the manifest says why.
  """
  check.require(batch > 0, f"batch = {batch}; it counts items from 1")
  check_ends(generator, limits)
  if log.is_lead():
    os.makedirs(folder, exist_ok=True)
  with files.locked(os.path.join(folder, "journal.jsonl")) if log.is_lead() else contextlib.nullcontext():
    ledger = ledger_lib.opened(folder, {**identity, **manifest_lib.identity(generator, teacher)}, resume)
    check.require(
      not limits.accept or len(ledger.rows) <= limits.accept,
      f"{folder} holds {len(ledger.rows)} rows already, and {limits.accept} are asked for: give a new folder",
    )
    who = _with_journals(generator, responders, folder)
    progress(len(ledger.rows))
    ended = "stopped"
    try:
      with ledger:
        ended = _booked(generator, walking.Walker(who, folder), ledger, limits, teacher, batch, progress)
    except (errors.RunError, errors.InputError) as e:
      ended = f"stopped: {e}"
      raise
    finally:
      found = manifest_lib.of(generator, ledger, identity, teacher, dataclasses.asdict(limits), ended)
      if log.is_lead():
        files.write_json(os.path.join(folder, "manifest.json"), found)
    return found


def _booked(generator, walker, ledger, limits, teacher, batch, progress) -> str:
  """Books items until something ends the run; returns what did."""
  gate = generator.gate()
  for row in ledger.rows:
    gate.took(row)
  while not (ended := limits.reached(ledger)):
    first, items = ledger.next, generator.items
    if items and first >= items:
      return "items"
    last = min(first + batch, items or first + batch)
    if generator.round:
      last = min(last, (first // generator.round + 1) * generator.round)
    pool = ledger.before(first // generator.round * generator.round) if generator.round else ()
    for n, found in walker.walk({n: generator.make(n, pool) for n in range(first, last)}):
      progress(_book(generator, gate, ledger, limits, teacher, n, found))
      if limits.reached(ledger):
        break
  return ended


def _book(generator, gate, ledger, limits, teacher, n: int, found: walking.Made) -> int:
  """Books an item's candidates in order, up to where a limit is reached; returns how many are kept."""
  kept: list[generator_lib.Row] = []
  dropped: list[dict[str, Any]] = []
  skip = ledger.taken  # of an item that a limit cut earlier
  taken = skip
  for c, candidate in enumerate(found.candidates[skip:], skip):
    if limits.accept and len(ledger.rows) + len(kept) >= limits.accept:
      break
    if limits.candidates and ledger.candidates + len(kept) + len(dropped) >= limits.candidates:
      break
    taken = c + 1
    row = _stamped(generator, teacher, n, c, candidate.row)
    reason = candidate.reason or gate.admits(row)
    if reason:
      dropped.append({"item": n, "candidate": c, "reason": reason, "row": row})
    else:
      gate.took(row)
      kept.append(row)
  cost = ledger_lib.NO_COST if skip else found.cost
  ledger.book(n, kept, dropped, taken, taken == len(found.candidates), cost)
  return len(kept)


def _stamped(generator, teacher: manifest_lib.Teacher, n: int, c: int, row: generator_lib.Row) -> generator_lib.Row:
  """A row with its id and its provenance."""
  source = {"dataset": generator.name, "kind": generator.kind, "item": n}
  source |= {"teacher": teacher.name, "licence": teacher.licence} if generator.asks else {}
  return {"id": f"{generator.name}/{n}/{c}", **row, "source": {**source, **row.get("source", {})}}


def _with_journals(
  generator: generator_lib.Generator,
  responders: Mapping[str, requests_lib.Responder] | requests_lib.Responder,
  folder: str,
) -> dict[str, requests_lib.Responder]:
  """Who answers in each role, through a journal of its own."""
  named: dict[str, requests_lib.Responder] = (
    {**responders} if isinstance(responders, Mapping) else dict.fromkeys(generator.roles, responders)
  )
  lacking = [role for role in generator.roles if role not in named]
  check.require(not lacking, f"{generator.name} asks a {', a '.join(lacking)}, and there is none: give one (--role)")
  unknown = sorted(set(named) - set(generator.roles))
  check.require(not unknown, f"{generator.name} asks no {', '.join(unknown)}; it asks: {', '.join(generator.roles)}")
  path = lambda role: os.path.join(folder, f"answers.{role}.jsonl")
  return {role: journal_lib.Journal(named[role], path(role)) for role in generator.roles}


def funnel(manifest: Mapping[str, Any]) -> Sequence[tuple[str, int]]:
  """What became of the candidates, the commonest reason first: (what, how many)."""
  dropped = sorted(manifest["dropped"].items(), key=lambda pair: (-pair[1], pair[0]))
  return [("candidates", manifest["candidates"]), *dropped, ("accepted", manifest["rows"])]
