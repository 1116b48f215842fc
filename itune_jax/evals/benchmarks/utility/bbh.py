"""BIG-Bench-Hard: 27 tasks of reasoning that end in a short answer (Suzgun et al. 2022).

| variant | prompt | shots | exact_match is |
|---|---|---|---|
| `cot_fewshot` | chains of thought in front | 3 | what stands behind "the answer is ", exactly |
| `fewshot` | answers alone in front | 3 | the whole response, exactly; `stripped_match` without white space around it |
| `cot_zeroshot` | "… Let's think step by step." | 0 | the task's own reading, loosely; `strict_match` by a sentence |
| `zeroshot` | the question alone | 0 | the task's own reading, loosely; `strict_match` of the whole response |

These are lm-eval's four; what each reads is in `grading/bbh.py`. Examples come from the official files of chains of
thought, which lie beside the data: `cot-prompts/snarks.txt` beside `bbh/snarks.json`. lm-eval has the same ones, with a
line end behind "step by step." in all tasks.
"""

from collections.abc import Iterator
import functools
import os
from typing import NamedTuple

from itune_jax.core import errors
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.grading import bbh as reading
from itune_jax.grading import extract
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests as requests_lib

STEPS = "Let's think step by step."


class Way(NamedTuple):
  """How a variant is put. behind: what follows a question. between: what stands between a question and an answer."""

  behind: str
  between: str
  chains: bool
  stop: tuple[str, ...]
  limit: int


FEW, ZERO = ("</s>", "Q", "\n\n"), ("</s>", "Q:", "<|im_end|>")
WAYS = {
  "cot_fewshot": Way(f" {STEPS}\n", "", True, FEW, 1024),
  "fewshot": Way("", " ", False, FEW, 256),
  "cot_zeroshot": Way(f" {STEPS}", "", True, ZERO, 1024),
  "zeroshot": Way("", "", False, ZERO, 256),
}


class Examples(NamedTuple):
  """What stands in front of a task's questions: its description, and solved questions with the chain of thought."""

  description: str
  solved: tuple[tuple[str, str], ...]


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder with the 27 files, and those of the examples."""
  variant = settings.variant
  way = WAYS[variant]
  second = {"cot_fewshot": (), "fewshot": ("stripped_match",)}.get(variant, ("strict_match",))
  return protocol.Benchmark(
    name="bbh",
    items=functools.partial(items, folder, variant, settings.shots or 0),
    ask=official.generate(settings, limit=way.limit, stop=way.stop, form="plain", temperature=0.0),
    grade=protocol.each(functools.partial(grade, variant=variant)),
    metrics={name: metrics_lib.Mean() for name in ("exact_match", *second)},
    tags=("task",),
  )


def items(folder: folders.Folder, variant: str, count: int) -> Iterator[protocol.Item]:
  """The questions, task by task; ids are the task and the place in its file. Raises InputError for a task without a
  file, and for what is no question."""
  way = WAYS[variant]
  for task in reading.TASKS:
    path = folder.files(f"bbh/{task}.json|{task}.json")[0]
    front = examples(folder, task)
    shots = tuple(protocol.Shot(_put(question, way), _solved(chain, way, task)) for question, chain in front.solved)
    if len(shots) < count:
      raise errors.InputError(f"bbh: {task} has {len(shots)} examples, {count} are asked for (shots)")
    for number, (where, row) in enumerate(_rows(folder, path)):
      question, target = (folders.field(row, name, str, where) for name in ("input", "target"))
      yield protocol.Item(
        id=f"{task}/{number}",
        question=_put(question, way),
        head=f"{front.description}\n\n",
        shots=shots[:count],
        answer=target,
        tags={"task": task},
        shown={"input": question},
        where=where,
      )


def grade(item: protocol.Item, answer: requests_lib.Response, *, variant: str) -> protocol.Graded:
  """lm-eval's reading on each sample; figures are shares of samples."""
  task, target = str(item.tags["task"]), item.answer
  texts = [sample.text for sample in answer.samples]
  if "zero" not in variant:
    read = [reading.behind_words(text) if variant == "cot_fewshot" else text for text in texts]
    exact = [extract.exact_match(one, target) for one in read]
    values = {"exact_match": _share(exact)}
    if variant == "fewshot":
      values["stripped_match"] = _share([text.strip() == target for text in texts])
    return protocol.Graded(values, {"extracted": read[0]})
  which = -1 if variant == "cot_zeroshot" else 0
  read = [reading.flexible(task, text, item.shown["input"], which) for text in texts]
  strict = [reading.in_sentence(text) if variant == "cot_zeroshot" else text for text in texts]
  values = {
    "exact_match": _share([reading.loosely(one, target) for one in read]),
    "strict_match": _share([reading.loosely(one, target) for one in strict]),
  }
  return protocol.Graded(values, {"extracted": read[0], "extracted_strict": strict[0]})


def examples(folder: folders.Folder, task: str) -> Examples:
  """A task's file of chains of thought: a warning, a line of dashes, the description, and questions with "Q: " and
  "A: Let's think step by step.". Raises InputError for another form."""
  beside = folders.Folder(os.path.dirname(folder.path.rstrip("/")))
  name = f"cot-prompts/{task}.txt"
  path = (folder if folder.holds(name) or not beside.holds(name) else beside).files(name)[0]
  text = folders.text_of(path).rpartition("-----\n")[2].strip()
  description, *parts = text.split("\n\nQ: ")
  solved = [part.split(f"\nA: {STEPS}") for part in parts]
  if not parts or not all(len(one) == 2 for one in solved):
    raise errors.InputError(f"{path}: is no official file of chains of thought (Q: …, A: {STEPS} …)")
  return Examples(description, tuple((question, chain.strip()) for question, chain in solved))


def _put(question: str, way: Way) -> str:
  return f"Q: {question}\nA:{way.behind}"


def _solved(chain: str, way: Way, task: str) -> str:
  """The answer of an example: its chain of thought, or what that ends in."""
  if way.chains:
    return way.between + chain
  short = reading.behind_words(chain)
  if short == extract.INVALID:
    raise errors.InputError(f"bbh: an example of {task} does not end with 'the answer is …'")
  return way.between + short


def _rows(folder: folders.Folder, path: str) -> Iterator[tuple[str, dict]]:
  content = folder.value(os.path.relpath(path, folder.path))
  if not isinstance(content, dict):
    raise errors.InputError(f"{path}: an object with 'examples' is expected")
  for number, row in enumerate(folders.field(content, "examples", list, path), 1):
    where = f"{path}: example {number}"
    if not isinstance(row, dict):
      raise errors.InputError(f"{where}: a JSON object is expected")
    yield where, row


def _share(found: list[bool]) -> float:
  return sum(found) / len(found)


BENCHMARK = official.Published(
  name="bbh",
  axis="utility",
  title="BIG-Bench-Hard: 27 tasks of reasoning",
  files=("bbh/snarks.json|snarks.json",),
  source="https://github.com/suzgunmirac/BIG-Bench-Hard",
  licence="MIT",
  size="2.6 MB",
  count=6511,
  metric="exact_match",
  make=make,
  variants=tuple(WAYS),
  shots=3,
  variant_shots={"cot_zeroshot": 0, "zeroshot": 0},
  most_shots=3,
  subtask="task",
  format_only=True,
  parity="lm-eval's prompts and filters; published outputs of Codex in 26 of 27 tasks",
)
