"""Super-NaturalInstructions: tasks told by a definition and two solved examples (Wang et al. 2022).

Prompt and scores are the official ones (yizhongw/Tk-Instruct: src/ni_collator.py with a definition and two positive
examples, src/compute_metrics.py). rougeL is the figure it is known by; the best of an instance's references counts.
Tasks whose input, output or instruction is in another language than English are the track `xlingual`, scored by pieces
of GPT-2's tokenizer; its `vocab.json` and `merges.txt` must lie in the folder `gpt2` beside the tasks.

Files are the official ones, `tasks/task*.json`, or without that folder, below DIR/super_ni or DIR/natural_instructions.
Where `splits/default/test_tasks.txt` or `splits/xlingual/test_tasks.txt` lie there too, the tasks that these list are
asked, as officially; all tasks otherwise.
The official evaluation takes the first hundred instances of each task: `limit_each` = 100.
"""

from collections.abc import Iterator
import functools
import os
import string
from typing import Any

from itune_jax.core import errors
from itune_jax.core import lazy
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.grading import rouge
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests as requests_lib

tokenizers = lazy.module("tokenizers")

FILES = "tasks/task*.json|task*.json"
SPLITS = ("splits/default/test_tasks.txt", "splits/xlingual/test_tasks.txt")
LANGUAGES = ("Input_language", "Output_language", "Instruction_language")


def make(folder: folders.Folder, settings: official.Settings) -> protocol.Benchmark:
  """The benchmark of a folder with task files."""
  return protocol.Benchmark(
    name="super_ni",
    items=functools.partial(items, folder, settings.shots or 0),
    ask=official.generate(settings, limit=128, form="chat", temperature=0.0),
    grade=protocol.each(functools.partial(grade, folder)),
    metrics={name: metrics_lib.Mean() for name in ("rougeL", "rouge1", "exact_match")},
    tags=("track", "category", "task"),
  )


def items(folder: folders.Folder, count: int) -> Iterator[protocol.Item]:
  """The instances, task by task; ids are the task and the place in its file. Raises InputError for a file that is no
  task, a task with too few examples, and one in another language where GPT-2's vocabulary is not there."""
  for path in _tasks(folder):
    task, value = os.path.basename(path).removesuffix(".json"), folder.value(os.path.relpath(path, folder.path))
    if not isinstance(value, dict):
      raise errors.InputError(f"{path}: a task is a JSON object")
    head, shots = _head(value, path), tuple(_shots(value, path))
    if len(shots) < count:
      raise errors.InputError(f"{path}: it has {len(shots)} positive examples, {count} are asked for (shots)")
    tags = {"task": task, "category": _category(value, path), "track": _track(folder, value, path)}
    for number, instance in enumerate(folders.field(value, "Instances", list, path)):
      where = f"{path}: instance {number + 1}"
      question, references = _instance(instance, where)
      yield protocol.Item(
        id=f"{task}/{number}",
        question=f"Now complete the following example -\n{_ended(f'Input: {question.strip()}')}\nOutput: ",
        head=head,
        shots=shots[:count],
        gap="\n",
        answer=references,
        tags=tags,
        where=where,
      )


def grade(folder: folders.Folder, item: protocol.Item, answer: requests_lib.Response) -> dict[str, float]:
  """The official scores, as means over samples."""
  tokens = rouge.stemmed if item.tags["track"] == "default" else _pieces(folder.path)
  found = [rouge.scores(sample.text, item.answer, tokens) for sample in answer.samples]
  n = len(found)
  return {
    "rougeL": sum(one.rouge_l for one in found) / n,
    "rouge1": sum(one.rouge1 for one in found) / n,
    "exact_match": sum(one.exact_match for one in found) / n,
  }


def _tasks(folder: folders.Folder) -> list[str]:
  """The files of the tasks that are asked."""
  paths = folder.files(FILES)
  chosen = [name for split in SPLITS if folder.holds(split) for name in folder.text(split).split()]
  by_name = {os.path.basename(path).removesuffix(".json"): path for path in paths}
  if lacking := [name for name in chosen if name not in by_name]:
    raise errors.InputError(f"{folder.path}: no file of the test task {lacking[0]} ({len(lacking)} lack)")
  return [by_name[name] for name in chosen] if chosen else paths


def _head(value: dict[str, Any], where: str) -> str:
  given = value.get("Definition")
  text = given[0] if isinstance(given, list) and given else given
  if not isinstance(text, str):
    raise errors.InputError(f"{where}: 'Definition' must be a text, or a list of texts")
  return _ended(f"Definition: {text.strip()}") + "\n\n"


def _shots(value: dict[str, Any], where: str) -> Iterator[protocol.Shot]:
  for number, example in enumerate(folders.field(value, "Positive Examples", list, where), 1):
    at = f"{where}: positive example {number}"
    if not isinstance(example, dict):
      raise errors.InputError(f"{at}: a JSON object is expected")
    said = {name: folders.field(example, name, str, at).strip() for name in ("input", "output")}
    yield protocol.Shot(
      _ended(f" Positive Example {number} -\nInput: {said['input']}") + "\n",
      _ended(f" Output: {said['output']}") + "\n",
    )


def _instance(instance: Any, where: str) -> tuple[str, list[str]]:
  if not isinstance(instance, dict):
    raise errors.InputError(f"{where}: a JSON object is expected")
  given = folders.field(instance, "output", (list, str), where)
  references = [given] if isinstance(given, str) else given
  if not references or not all(isinstance(one, str) for one in references):
    raise errors.InputError(f"{where}: 'output' must be a text, or a list of texts")
  return folders.field(instance, "input", str, where), references


def _category(value: dict[str, Any], where: str) -> str:
  """The first category, written as the official script does."""
  given = value.get("Categories")
  text = given[0] if isinstance(given, list) and given else given
  if not isinstance(text, str):
    raise errors.InputError(f"{where}: 'Categories' must be a text, or a list of texts")
  return "_".join(text.lower().split())


def _track(folder: folders.Folder, value: dict[str, Any], where: str) -> str:
  if all(one == "English" for name in LANGUAGES for one in value.get(name, ["English"])):
    return "default"
  if not (folder.holds("gpt2/vocab.json") and folder.holds("gpt2/merges.txt")):
    raise errors.InputError(
      f"{where}: a task across languages is scored by GPT-2's pieces: put its vocab.json and merges.txt into "
      f"{os.path.join(folder.path, 'gpt2')}, or take the task out"
    )
  return "xlingual"


@functools.lru_cache(4)
def _pieces(path: str) -> rouge.Tokens:
  files = [os.path.join(path, "gpt2", name) for name in ("vocab.json", "merges.txt")]
  made = tokenizers.ByteLevelBPETokenizer(*files)
  return rouge.pieces(lambda text: made.encode(text).tokens)


def _ended(text: str) -> str:
  """A text that ends in punctuation: a full stop is added where it does not."""
  return text if text[-1] in string.punctuation else text + "."


BENCHMARK = official.Published(
  name="super_ni",
  also=("natural_instructions",),
  axis="utility",
  title="Super-NaturalInstructions: tasks by definition and examples",
  files=(FILES,),
  source="https://github.com/allenai/natural-instructions",
  licence="Apache-2.0; each task says its own",
  size="2 MB (60 tasks) to 4 GB (all)",
  metric="rougeL",
  make=make,
  shots=2,
  most_shots=100,
  subtask="task",
  parity="the official compute_metrics.py on 1,500 perturbed answers, the prompts of 8,796 instances",
)
