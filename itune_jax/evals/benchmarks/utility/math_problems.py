r"""MATH: competition problems whose solutions end in \boxed{…} (Hendrycks et al. 2021), and files of that form.

| variant | prompt | shots | same_form compares |
|---|---|---|---|
| `minerva` | lm-eval's `minerva_math` | the four of Lewkowycz et al. 2022 | Minerva's form of "The final answer is …" |
| `hendrycks` | lm-eval's `hendrycks_math` | 0 | Hendrycks' form of what stands between dollar signs |
| `boxed` | the problem, and that \boxed{} is wanted | 0 | Hendrycks' form of what is boxed |

math_verify is whether the response is the same value as the solution, by math-verify; an answer for which that takes
longer than ten seconds is wrong, and its row says so. lm-eval's `minerva_math` calls a third thing exact_match: the
normal forms, also where sympy makes their difference zero. It needs an ANTLR that math-verify does not go with.

Files are the official ones (`test/algebra/1.json`: problem, solution, level, type), or JSON lines (`test.jsonl`:
problem, solution, and level, subject or type where they are known).
"""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import functools
import os
from typing import Any, NamedTuple

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.evals.benchmarks.utility import math_shots
from itune_jax.grading import math_answers
from itune_jax.grading import math_equal
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests as requests_lib

BOXED = "{}\n\nPlease reason step by step, and put your final answer within \\boxed{{}}."


class Way(NamedTuple):
  """How a variant is put, and which normal forms it compares: (response, boxed gold) -> whether they are one."""

  question: str
  same: Callable[[str, str], bool]
  form: protocol.Form
  stop: tuple[str, ...]


def _minerva(text: str, gold: str) -> bool:
  return math_answers.minerva_form(math_answers.minerva_said(text)) == math_answers.minerva_form(gold)


def _hendrycks(text: str, gold: str) -> bool:
  return math_answers.hendrycks_same(math_answers.between_dollars(text), gold)


def _boxed(text: str, gold: str) -> bool:
  return math_answers.hendrycks_same(math_answers.boxed(text), gold)


WAYS = {
  "minerva": Way("Problem:\n{}\n\nSolution:", _minerva, "plain", ("Problem:",)),
  "hendrycks": Way("Problem: {}\nAnswer:", _hendrycks, "plain", ("Problem:",)),
  "boxed": Way(BOXED, _boxed, "chat", ()),
}


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder with test files."""
  way, count = WAYS[settings.variant], settings.shots or 0
  check.require(
    settings.variant == "minerva" or not count,
    f"math: the variant {settings.variant} has no examples, {count} are asked for (shots)",
  )
  return protocol.Benchmark(
    name="math",
    items=functools.partial(items, folder, way, count),
    ask=official.generate(settings, limit=1024, stop=way.stop, form=way.form, temperature=0.0),
    grade=Graded(way),
    metrics={"math_verify": metrics_lib.Mean(), "same_form": metrics_lib.Mean()},
    tags=("subject", "level"),
  )


def items(folder: folders.Folder, way: Way, count: int) -> Iterator[protocol.Item]:
  """The problems; ids are the places of the files, or of the rows. Raises InputError for a solution without a box."""
  put = way.question.format
  shots = tuple(protocol.Shot(put(shot.question), " " + shot.answer) for shot in math_shots.SHOTS[:count])
  for id, where, row in _rows(folder):
    problem, solution = (folders.field(row, name, str, where) for name in ("problem", "solution"))
    if math_answers.boxed(solution) is None:
      raise errors.InputError(f"{where}: 'solution' has no \\boxed{{}} answer: {solution[-40:]!r}")
    subject, level = row.get("type", row.get("subject")), row.get("level")
    tags = {name: str(value) for name, value in (("subject", subject), ("level", level)) if value is not None}
    yield protocol.Item(id=id, question=put(problem), answer=solution, shots=shots, tags=tags, where=where)


@dataclasses.dataclass(frozen=True)
class Graded(protocol.Grade):
  """Both verdicts on each sample, in one process for all of them. seconds: for one comparison of values."""

  way: Way
  seconds: float = 10.0

  def __call__(self, items: Sequence[protocol.Item], answers: Sequence[requests_lib.Response]) -> list[protocol.Graded]:
    """Shares of the samples; `undecided` says why a comparison was given up."""
    with math_equal.Comparer(self.seconds) as comparer:
      return [self._graded(item, answer, comparer) for item, answer in zip(items, answers, strict=True)]

  def _graded(self, item: protocol.Item, answer: requests_lib.Response, comparer: math_equal.Comparer):
    gold = math_answers.boxed(item.answer) or ""
    found = [comparer.verdict(item.answer, sample.text) for sample in answer.samples]
    forms = [self.way.same(sample.text, gold) for sample in answer.samples]
    values = {"math_verify": _share([one.same for one in found]), "same_form": _share(forms)}
    problems = sorted({one.problem for one in found} - {""})
    return protocol.Graded(values, {"gold": gold, **({"undecided": ", ".join(problems)} if problems else {})})


def _rows(folder: folders.Folder) -> Iterator[tuple[str, str, dict[str, Any]]]:
  """(id, where, row) of each problem."""
  for path in folder.files(FILES):
    name = os.path.relpath(path, folder.path)
    if path.removesuffix(".gz").endswith(".jsonl"):
      yield from ((str(number), where, row) for number, (where, row) in enumerate(folders.objects(path)))
      continue
    row = folder.value(name)
    if not isinstance(row, dict):
      raise errors.InputError(f"{path}: a JSON object with 'problem' and 'solution' is expected")
    yield name.removesuffix(".json"), path, row


def _share(found: list[bool]) -> float:
  return sum(found) / len(found)


FILES = "test.jsonl|test/*/*.json"
BENCHMARK = official.Published(
  name="math",
  axis="utility",
  title="MATH: competition mathematics",
  files=(FILES,),
  source="https://github.com/hendrycks/math",
  licence="MIT",
  size="20 MB",
  count=0,
  metric="math_verify",
  make=make,
  variants=tuple(WAYS),
  shots=4,
  variant_shots={"hendrycks": 0, "boxed": 0},
  most_shots=4,
  subtask="subject",
  format_only=True,
  parity="lm-eval's prompts, and its normal forms on 30,000 strings",
)
