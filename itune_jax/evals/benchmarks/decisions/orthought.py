"""Optimisation problems in words: LogiOR, and ORThought's re-annotated ComplexOR, IndustryOR and NLP4LP (Yang et al.
2025). The model writes a program; it runs in the sandbox, where scipy's HiGHS solves it, and its value is compared with
the stored optimum: right within 0.01, as the authors' `analyze.py` compares.

Problems whose stored optimum is null (they have none) are named and left out. pass@1 by set, kind and size.
"""

from collections.abc import Iterator
import dataclasses
import functools
import json
import os
from typing import Any

import scipy

from itune_jax.core import check
from itune_jax.core import conversation
from itune_jax.core import log
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import passing
from itune_jax.evals import protocol
from itune_jax.grading.sandbox import sandbox as sandbox_lib

FILES = {
  "LogiOR": "logior.jsonl",
  "ComplexOR": "summary_complexor.json",
  "IndustryOR": "summary_industryor.json",
  "NLP4LP": "summary_nlp4lp.json",
}
ASKS = (
  "\n\nWrite a Python program that solves this problem with scipy.optimize (milp or linprog, which run HiGHS; minimize "
  "for what is not linear). It must define a function solve() without arguments that returns the optimal value of the "
  "objective as a number. Give the program in one block of code."
)
TESTS = (
  "value = solve()\n"
  "value = value[0] if isinstance(value, (tuple, list)) else value\n"
  "assert abs(float(value) - {optimum!r}) < 0.01, value\n"
)
# What a solver needs beside the standard library, and more than the sandbox gives a program that needs none.
SECONDS, CPU_SECONDS, MEMORY_MIB = 60.0, 30, 4096


def items(folder: folders.Folder) -> Iterator[protocol.Item]:
  """The problems of each set. Raises InputError for a row of another form; those without an optimum are counted."""
  for name, file in FILES.items():
    without = 0
    for where, id, row in _rows(folder, file):
      optimum, data = _optimum(row, where)
      if optimum is None:
        without += 1
        continue
      description = folders.field(row, "description", str, where)
      yield protocol.Item(
        id=f"{name}/{id}",
        question=conversation.of(description + data + ASKS),
        answer={"tests": TESTS.format(optimum=optimum), "entry": "solve"},
        tags={"set": name, "kind": str(row.get("problem_type", "")), "size": str(row.get("problem_size", ""))},
        shown={"optimum": optimum},
        where=where,
      )
    if without:
      log.info(f"orthought: {without} problems of {name} have no stored optimum; they are left out")


def _rows(folder: folders.Folder, file: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
  if file.endswith(".jsonl"):
    for where, row in folder.lines(file):
      yield where, folders.field(row, "id", str, where), row
    return
  for id, row in folder.object(file).items():
    yield f"{folder.file(file)}: {id}", id, row


def _optimum(row: dict[str, Any], where: str) -> tuple[float | None, str]:
  """The stored optimum, and the data that goes with the description where a sample has it."""
  if "sample" not in row:
    optimum = row.get("ground_truth")
    check.require("ground_truth" in row, f"{where}: has neither 'ground_truth' nor 'sample'")
    return (None if optimum is None else float(optimum)), ""
  sample = folders.field(row, "sample", list, where)
  check.require(len(sample) == 1 and len(sample[0]["output"]) == 1, f"{where}: one sample with one output is expected")
  data = json.dumps(sample[0]["input"], ensure_ascii=False)
  optimum = sample[0]["output"][0]
  return (None if optimum is None else float(optimum)), f"\n\nData: {data}"


def box(given: sandbox_lib.Sandbox) -> sandbox_lib.Sandbox:
  """A sandbox in which numpy and scipy can be imported, with at least the time and memory that a solver needs."""
  site = os.path.dirname(os.path.dirname(os.path.abspath(scipy.__file__)))
  return dataclasses.replace(
    given,
    packages=tuple(dict.fromkeys((*given.packages, site))),
    seconds=max(given.seconds, SECONDS),
    cpu_seconds=max(given.cpu_seconds, CPU_SECONDS),
    memory_mib=max(given.memory_mib, MEMORY_MIB),
  )


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder with the four files."""
  ks = passing.at(settings.samples)
  drawn = {"temperature": 0.8, "top_p": 0.95} if settings.samples > 1 else {"temperature": 0.0}
  return protocol.Benchmark(
    name="orthought",
    items=functools.partial(items, folder),
    ask=official.generate(settings, limit=1536, form="chat", **drawn),
    grade=passing.Passes("any", ks, box(settings.sandbox)),
    metrics=passing.metrics(ks),
    tags=("set", "kind", "size"),
  )


BENCHMARK = official.Published(
  name="orthought",
  axis="decisions",
  title="LogiOR and ORThought's sets",
  files=tuple(FILES.values()),
  source="https://github.com/ZJU-TSELab/ORThought",
  licence="none stated: evaluation only",
  size="0.7 MB",
  metric="pass@1",
  make=make,
  subtask="set",
  parity="the stored optima, solved by scipy's HiGHS from programs",
)
