"""`itune plan --program=suite`: how long each benchmark of a suite would take on devices that are not there.

The programs that evaluation runs are compiled (`programs.py`), and their cost a position or token is multiplied by what
each benchmark asks (`suite_counts.py`).
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple

import rich.table

from itune_jax.core import log
from itune_jax.evals import suite as suite_lib
from itune_jax.run.commands import train as train_lib
from itune_jax.run.plan import compiled
from itune_jax.run.plan import shapes
from itune_jax.run.plan import suite_counts
from itune_jax.run.plan import topology as topology_lib
from itune_jax.sampling.decode import prefill
from itune_jax.sampling.score import branches

SLOTS = 2048  # of a row of the cache in which tokens are decoded: most prompts and answers of benchmarks are shorter
SCORED = 1024  # positions of a packed row that is scored as a whole
CONTEXT = 256  # of a context that several continuations stand behind


class Rates(NamedTuple):
  """Positions a second of prompts, of what stands behind shared contexts, and of what is scored as a whole; new tokens
  a second of all rows together, and seconds of one token of every row."""

  prefill: float
  choices: float
  score: float
  decode: float
  token_s: float


def plan(run: train_lib.Train, topology: str, suite: suite_lib.Suite, slices: int, dry_run: bool) -> dict[str, Any]:
  """Seconds of each benchmark, of all of them in one queue, and the programs that they are made of; with dry_run what
  is asked alone. Raises InputError as `compiled.plan` and `suite_counts.counted` do."""
  chip, devices = topology_lib.chips_of(topology, "suite", slices)
  room = shapes.shape_of(run.model).max_length
  asked = suite_counts.counted(suite, room)
  found = {"topology": topology, "slices": slices, "program": "suite", "chips": len(devices)}
  found |= {"hbm_gib_per_chip": chip.hbm_gib, "assumes": assumes(asked), "rows": suite.decode.batch}
  if dry_run:
    return found | {"benchmarks": {name: counts._asdict() for name, counts in asked.items()}}
  made = programs(run, topology, suite.decode.batch, slices)
  fits = all(one["fits"] for one in made.values())
  found |= {"programs": made, "fits": fits, "compile_s": round(sum(one["compile_s"] for one in made.values()), 1)}
  if not all("step_s" in one for one in made.values()):  # the compiler gave up on one
    return found | {"benchmarks": {name: counts._asdict() for name, counts in asked.items()}}
  rates = rates_of(made, suite.decode.batch)
  times = {name: counts._asdict() | seconds(counts, rates) for name, counts in asked.items()}
  return found | {"benchmarks": times, "seconds": together(asked, rates)}


def assumes(asked: Mapping[str, suite_counts.Counts]) -> list[str]:
  """What the figures hang on."""
  without = [name for name, counts in asked.items() if not counts.from_files]
  more = [f"{suite_counts.DEFAULTS} ({', '.join(without)})"] if without else []
  cost = f"a token is decoded behind {SLOTS} slots of cache; programs take what their roofline says"
  return [*suite_counts.ASSUMES, cost, *more]


def programs(run: train_lib.Train, topology: str, rows: int, slices: int) -> dict[str, dict[str, Any]]:
  """The programs of an evaluation as they are compiled for it, by name."""
  devices = topology_lib.chips_of(topology, "suite", slices)[1]
  shards = prefill.shards(shapes.open_model(run, devices).binder)
  shape = {
    "prefill": (shards, prefill.CHUNK),
    "decode": (rows, SLOTS),
    "choices": (shards * branches.TOKENS // CONTEXT, CONTEXT),
    "score": (-(-2 // shards) * shards, SCORED),
  }
  made = {}
  for name, (count, length) in shape.items():
    log.info(f"{name}: {count} rows of {length}")
    packing = dataclasses.replace(run.packing, rows=count, row_length=length)
    made[name] = compiled.plan(dataclasses.replace(run, packing=packing), topology, name, slices)
  return made


def rates_of(made: Mapping[str, Mapping[str, Any]], rows: int) -> Rates:
  """What the programs do a second, of their roofline."""
  rate = lambda name: made[name]["positions_per_step"] / made[name]["step_s"]
  return Rates(rate("prefill"), rate("choices"), rate("score"), rate("decode"), rows / rate("decode"))


def seconds(counts: suite_counts.Counts, rates: Rates) -> dict[str, float]:
  """What a benchmark takes by itself. Answers of fewer rows than ride together are no quicker than the longest."""
  prompts = (counts.prompts + counts.contexts) / rates.prefill
  scores = counts.behind / rates.choices + counts.alone / rates.score
  tokens = max(counts.new / rates.decode, counts.longest * rates.token_s)
  parts = {"prompts_s": prompts, "scores_s": scores, "tokens_s": tokens}
  return {name: _short(value) for name, value in (parts | {"seconds": prompts + scores + tokens}).items()}


def together(asked: Mapping[str, suite_counts.Counts], rates: Rates) -> float:
  """What all take in one queue: the rows of one benchmark fill what others leave free."""
  every = list(asked.values())
  total = suite_counts.Counts(*(sum(values) for values in zip(*(one[:-1] for one in every), strict=True)))
  return seconds(total._replace(longest=max(one.longest for one in every)), rates)["seconds"]


def _short(value: float) -> float:
  """Four digits that count."""
  return float(f"{value:.4g}")


def tables(found: Mapping[str, Any]) -> list[Any]:
  """For a person: the benchmarks, the programs, and what was assumed."""
  where = f"{found['topology']}, {found['chips']} chips"
  columns = ("benchmark", "items", "prompts", "scored", "new tokens", "seconds")
  shown = rich.table.Table(*columns, title=f"a suite on {where}")
  for name, one in found["benchmarks"].items():
    scored = one["contexts"] + one["behind"] + one["alone"]
    took = f"{one['seconds']:,.4g}" if "seconds" in one else ""
    mark = "" if one["from_files"] else " *"
    shown.add_row(name + mark, f"{one['items']:,}", f"{one['prompts']:,}", f"{scored:,}", f"{one['new']:,}", took)
  if "seconds" in found:
    shown.add_section()
    shown.add_row("together, in one queue", "", "", "", "", f"{found['seconds']:,.4g}")
  return [shown, *([_programs(found)] if "programs" in found else []), *(f"· {one}" for one in found["assumes"])]


def _programs(found: Mapping[str, Any]) -> rich.table.Table:
  table = rich.table.Table("program", "positions", "step", "a second", "bound by", "GiB a chip")
  for name, one in found["programs"].items():
    if "step_s" not in one:
      table.add_row(name, f"{one['positions_per_step']:,}", "", "", "", "it does not fit")
      continue
    peak = f"{one['peak_gib_per_chip']:.3f} of {one['hbm_gib_per_chip']:g}" + ("" if one["fits"] else ": too much")
    took = f"{one['step_s']:.4g} s", f"{one['positions_per_s']:,}", one["bound"]
    table.add_row(name, f"{one['positions_per_step']:,}", *took, peak)
  return table


def advice(found: Mapping[str, Any]) -> Sequence[str]:
  """What to change."""
  if found.get("fits") is False:
    return ["It does not fit: shard over more chips, or fewer rows that are decoded together (--batch)."]
  return []
