"""Optimisation problems, solved before they are kept: text → model → HiGHS in the sandbox → equal when restated.

After LogiOR and ORThought (arXiv 2508.14410): a problem, a formulation (objective, variables, constraints), a program,
up to three tries with the error shown, objectives equal within 0.01. Their programs need Gurobi; here a program only
builds the model, and scipy's HiGHS solves it (linear, integer and mixed problems). A problem is kept if its own model
and that of a restatement in other words both have an optimum, and the same one.
"""

import dataclasses
import json
import math
import re
from typing import Any

from itune_jax.core import check
from itune_jax.core import ranges
from itune_jax.grading.sandbox import sandbox
from itune_jax.synth import gates
from itune_jax.synth import generator
from itune_jax.synth import samplers
from itune_jax.synth import sources

INVENT = """Here is an optimisation problem of operations research as an example:

{shown}

Write a new one about {topic}, of the kind: {kind}. State all data that is needed in the text, with whole or simple \
numbers, so that there is exactly one optimal value. Ask for that value. {about}
Answer with the problem alone.
"""
RESTATE = """Say the following problem in wholly other words, in another order, with other names, for another trade. \
Keep every number, and what is asked, so that the optimal value stays the same. Answer with the problem alone.

{problem}
"""
MODEL = """Formulate the problem below as a linear or mixed-integer program.

{problem}

First understand it: the objective, what is decided, what constrains it. Then write the formulation: variables, \
objective, constraints. Then give one Python block that defines a function `model()` without arguments, which returns \
a dict of plain lists with these keys:
"sense": "min" or "max"; "c": coefficients of the objective; "A_ub", "b_ub": rows of A x <= b (may be []); \
"A_eq", "b_eq": rows of A x = b (may be []); "bounds": a pair [low, high] for each variable, None for no bound; \
"integrality": 0 or 1 for each variable.
Do not solve it: the function only builds the model.
"""
REPAIR = "The program failed: {error}\nGive the whole answer again, with the model right."
KINDS = ("a small linear program", "assignment", "knapsack with side conditions", "production planning over periods",
         "transport", "covering", "fixed costs", "blending", "scheduling of shifts", "network flow")  # fmt: skip
TOPICS = ("a bakery", "a hospital ward", "a bus company", "a farm", "a print shop", "a warehouse", "a school timetable",
          "a power grid", "a film crew", "a seed nursery", "a shipyard", "a call centre")  # fmt: skip
_MARK = "@optimum "
# Runs behind the program, in the same sandbox; it alone calls the solver.
_SOLVE = f"""
import json as _json, warnings as _warnings
_warnings.simplefilter("ignore")
import numpy as _np
from scipy import optimize as _optimize
_m = model()
_sign = {{"min": 1.0, "max": -1.0}}[_m["sense"]]
_c = _np.asarray(_m["c"], float)
_bounds = [(-_np.inf if low is None else low, _np.inf if high is None else high) for low, high in _m["bounds"]]
assert len(_bounds) == len(_c) == len(_m["integrality"]), "bounds, c and integrality differ in length"
_rows = []
for _a, _b, _equal in ((_m["A_ub"], _m["b_ub"], False), (_m["A_eq"], _m["b_eq"], True)):
  if len(_a):
    _high = _np.asarray(_b, float)
    _rows.append(_optimize.LinearConstraint(_np.asarray(_a, float), _high if _equal else -_np.inf, _high))
_found = _optimize.milp(_sign * _c, constraints=_rows, integrality=_np.asarray(_m["integrality"]),
                        bounds=_optimize.Bounds(*_np.asarray(_bounds, float).T))
_value = None if _found.fun is None else float(_sign * _found.fun)
print("{_MARK}" + _json.dumps({{"status": int(_found.status), "value": _value, "variables": len(_c)}}))
"""
_STATUS = {1: "a limit of the solver", 2: "infeasible", 3: "unbounded", 4: "unbounded or infeasible"}
_BLOCK = re.compile(r"```(?:python)?[ \t]*\n(.*?)```", re.S)


def box(packages: tuple[str, ...] = ()) -> sandbox.Sandbox:
  """A sandbox that may import scipy from these folders, whose start alone takes a second or two."""
  return sandbox.Sandbox(packages=packages, seconds=60.0, cpu_seconds=30, memory_mib=4096)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimisation(generator.Generator):
  """Problems with their formulation, program and optimum.

  seeds: a file of problems, one of which is shown for each new one (LogiOR's own have `description`; any rows with a
  question do). tries: of a model whose program fails, its error shown. tolerance: by which the two optima may differ.
  kinds, topics: of which one each is drawn. packages: the folders that hold scipy and numpy for the sandbox.
  """

  name: str = "optimisation"
  seeds: str
  tries: int = 3
  tolerance: float = 0.01
  kinds: tuple[str, ...] = KINDS
  topics: tuple[str, ...] = TOPICS
  packages: tuple[str, ...] = ()
  temperature: ranges.NonNegativeFloat = 0.8
  limit: ranges.NonNegativeInt = 2048

  def __post_init__(self):
    super().__post_init__()
    check.require(self.tries > 0 and self.tolerance >= 0, "Optimisation.tries >= 1, Optimisation.tolerance >= 0")
    check.require(self.kinds and self.topics, "Optimisation.kinds and Optimisation.topics each hold one or more")

  @property
  def takes_attributes(self) -> bool:
    """They are told with what is asked for."""
    return True

  @property
  def inputs(self) -> tuple[str, ...]:
    """The seeds."""
    return (self.seeds,)

  @property
  def prompts(self):
    """All four."""
    return {"invent": INVENT, "restate": RESTATE, "model": MODEL, "repair": REPAIR}

  def gate(self) -> gates.Gate:
    """Problems unlike those before and the seeds."""
    return gates.Novel(samplers.question, sources.problems(self.seeds))

  def make(self, n: int, pool: generator.Pool) -> generator.Steps:
    """A problem, its restatement, both models, both optima."""
    rng, seeds = self.random(n), sources.problems(self.seeds)
    own = {
      "topic": self.topics[int(rng.integers(len(self.topics)))],
      "kind": self.kinds[int(rng.integers(len(self.kinds)))],
    }
    text = INVENT.replace("{about}", samplers.said(self.drawn(n))).replace("{topic}", own["topic"])
    text = text.replace("{kind}", own["kind"]).replace("{shown}", seeds[int(rng.integers(len(seeds)))])
    (response,) = yield from generator.ask([self.request(n, "invent", self.question(text))])
    problem = response.text.strip()
    row: dict[str, Any] = {"messages": [{"role": "user", "content": problem}], "source": {"attributes": own}}
    if reason := self.faults.of(response.samples[0]):
      return [generator.Candidate(row, f"problem: {reason}")]
    asked = self.question(RESTATE.replace("{problem}", problem))
    (response,) = yield from generator.ask([self.request(n, "restate", asked)])
    restated = response.text.strip()
    if reason := self.faults.of(response.samples[0]) or ("the same words" if restated == problem else ""):
      return [generator.Candidate(row, f"restatement: {reason}")]
    solved = []
    for which, one in (("problem", problem), ("restatement", restated)):
      answer, found, reason = yield from self._solved(n, which, one)
      if reason:
        return [generator.Candidate(row, f"{which}: {reason}")]
      solved.append((answer, found))
    (answer, found), (_, other) = solved
    row["messages"] = generator.pair(problem, f"{answer}\n\n#### {found['value']:.10g}", self.system)
    row["check"] = {"name": "final_number", "answer": f"{found['value']:.10g}"}
    row["source"] |= {"restated": restated, "optimum": found["value"], "variables": found["variables"]}
    same = math.isclose(found["value"], other["value"], rel_tol=0.0, abs_tol=self.tolerance)
    return [generator.Candidate(row, "" if same else "another optimum when restated")]

  def _solved(self, n: int, which: str, problem: str):
    """The teacher's formulation, the optimum of its model, and why there is none."""
    asked, reason, answer = self.question(MODEL.replace("{problem}", problem)), "", ""
    for k in range(self.tries):
      (response,) = yield from generator.ask([self.request(n, f"{which}/model/{k}", asked, temperature=0.0)])
      answer = response.text.strip()
      if fault := self.faults.of(response.samples[0]):
        return answer, {}, fault
      program = _BLOCK.search(answer)
      if program is None:
        return answer, {}, "no program"
      (outcome,) = yield from generator.run([sandbox.Job(program[1] + _SOLVE, "pass")], box(self.packages))
      found, reason = read(outcome)
      if not reason or found:  # solved, or truly without an optimum: another try would only hide that
        return answer, found, reason
      repair = {"role": "user", "content": REPAIR.replace("{error}", outcome.detail or reason)}
      asked = dataclasses.replace(asked, messages=(*asked.messages, {"role": "assistant", "content": answer}, repair))
    return answer, {}, reason


def read(outcome: generator.Outcome) -> tuple[dict[str, Any], str]:
  """What the solver found, and why that is no optimum; nothing of a program that failed before it."""
  line = next((line for line in reversed(outcome.output.splitlines()) if line.startswith(_MARK)), "")
  if outcome.verdict != "passed" or not line:
    return {}, f"program: {outcome.verdict if outcome.verdict != 'passed' else 'printed no optimum'}"
  found = json.loads(line.removeprefix(_MARK))
  if found["status"] or found["value"] is None or not math.isfinite(found["value"]):
    return found, _STATUS.get(found["status"], "no optimum")
  return found, ""
