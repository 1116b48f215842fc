"""Super-NaturalInstructions as training data, in the settings of Tk-Instruct (Wang et al. 2022, arXiv:2204.07705).

Prompts are those of its collator: the definition, positive and negative examples with or without explanations, then the
instance. The official splits are lists of tasks beside the task files (`splits/default/train_tasks.txt`, and so on).
"""

import dataclasses
import glob
import os
import random
import string
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import jsontext
from itune_jax.core import ranges
from itune_jax.data import fields
from itune_jax.data.origins import origin


class Encoding(NamedTuple):
  """What stands in front of an instance."""

  task_name: bool = False
  definition: bool = True
  positive: int = 0
  negative: int = 0
  explanations: bool = False


# What Tk-Instruct draws from for each instance of its mixed training (`tk_instruct`).
MIXED = (
  Encoding(),
  Encoding(definition=False, positive=2),
  Encoding(positive=2),
  Encoding(positive=2, negative=2),
  Encoding(positive=2, explanations=True),
)


_OF_TEST = 100  # instances of a test task, the first ones


@dataclasses.dataclass(frozen=True, kw_only=True)
class SuperNI(origin.Origin):
  """Tasks of a folder, each instance a question with its answer.

  folder: with `tasks/task*.json`, or the task files themselves. split: the official one of a track, or "all" for every
  file. track: "default" is English, "xlingual" all languages. definition, positive, negative, explanations, task_name:
  what stands in front of an instance. mixed: draws one of Tk-Instruct's five encodings for each instance in place of
  those. per_task: instances of a task at most, drawn by the seed; 0 for all. Officially 100; of the split "test" always
  among the first hundred, whose labels are balanced. shortened: characters of a
  prompt at most, beyond which examples are left out, the last ones first; 0 for no limit. seed: of what is drawn.
  """

  folder: str
  split: Literal["train", "test", "excluded", "all"] = "train"
  track: Literal["default", "xlingual"] = "default"
  definition: bool = True
  positive: int = 2
  negative: int = 0
  explanations: bool = False
  task_name: bool = False
  mixed: bool = False
  per_task: int = 100
  shortened: int = 0
  seed: ranges.Seed = 0

  def __post_init__(self):
    check.check_types(self)
    for name in ("positive", "negative", "per_task", "shortened"):
      check.require(self.__dict__[name] >= 0, f"SuperNI.{name} must be 0 or more, not {self.__dict__[name]}")
    own = self.definition or self.positive or self.negative or self.mixed
    check.require(own, "SuperNI: with neither definition nor examples nothing says what the task is")

  @property
  def called(self) -> str:
    """What messages call it."""
    return f"super_ni:{self.folder}"

  def parts(self) -> Iterator[origin.Part]:
    """One source of all tasks, task by task in the order of the list, or of the files' names."""
    yield origin.Part("super_ni", 1.0, self._rows())

  def paths(self) -> list[str]:
    """The files of the tasks of the split. Raises InputError where the list of the split or a file lacks."""
    below = os.path.join(self.folder, "tasks")
    where = below if os.path.isdir(below) else self.folder
    found = sorted(glob.glob(os.path.join(glob.escape(where), "task*.json")))
    if not found:
      raise errors.InputError(f"{self.folder}: no task files (task*.json) there or in its folder tasks")
    if self.split == "all":
      return found
    listed = os.path.join(self.folder, "splits", self.track, f"{self.split}_tasks.txt")
    if not os.path.isfile(listed):
      raise errors.InputError(f"{listed}: no list of the official split there; SuperNI.split = 'all' takes every file")
    by_name = {os.path.basename(path).removesuffix(".json"): path for path in found}
    with open(listed, encoding="utf-8") as f:
      names = f.read().split()
    if lacking := [name for name in names if name not in by_name]:
      raise errors.InputError(f"{where}: no file of {lacking[0]} ({len(lacking)} of {len(names)} tasks lack)")
    return [by_name[name] for name in names]

  def _rows(self) -> Iterator[origin.Row]:
    for path in self.paths():
      task = os.path.basename(path).removesuffix(".json")
      value = files.read_object(path)
      instances = value.get("Instances")
      if not isinstance(instances, list):
        raise errors.InputError(f"{path}: a task has a list `Instances`")
      order = list(range(len(instances)))[: _OF_TEST if self.split == "test" else None]
      rng = random.Random(f"{self.seed}/{task}")
      if self.per_task and len(order) > self.per_task:
        rng.shuffle(order)
        order = sorted(order[: self.per_task])
      for number in order:
        try:
          yield self._row(task, value, instances[number], number, random.Random(f"{self.seed}/{task}/{number}"))
        except fields.BadRow as e:
          yield f"{task}, instance {number + 1}: {e}"

  def _row(self, task: str, value: dict[str, Any], instance: Any, number: int, rng: random.Random) -> dict[str, Any]:
    asked, answers = instance_of(instance)
    own = Encoding(self.task_name, self.definition, self.positive, self.negative, self.explanations)
    encoding = rng.choice(MIXED) if self.mixed else own
    text = prompt(task, value, asked, encoding, self.shortened)
    answer = rng.choice(answers)  # as the collator does: training sees one reference
    licence = value.get("Instance License")
    told = {"licence": ", ".join(licence)} if isinstance(licence, list) else {}
    return {
      "id": f"{task}/{instance.get('id') or number}",
      "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": answer}],
      "source": {"template": task, **told},
      "check": {"name": "any_of", "answers": answers},
    }


def instance_of(instance: Any) -> tuple[str, list[str]]:
  """What an instance asks, and its references. Raises BadRow."""
  if not isinstance(instance, dict):
    raise fields.BadRow("it is no object")
  given = instance.get("output")
  answers = [fields.text(one, "`output`") for one in (given if isinstance(given, list) else [given])]
  if not answers or not all(one.strip() for one in answers):
    raise fields.BadRow("it has no `output`")
  return fields.text(instance.get("input"), "`input`"), answers


def prompt(task: str, value: dict[str, Any], asked: str, encoding: Encoding, shortened: int = 0) -> str:
  """The prompt of an instance. Raises BadRow for a definition or example that is none.

  shortened: characters at most; of examples that do not fit the later ones are left out, 0 for no limit.
  """
  head = f"{task}. " if encoding.task_name else ""
  head += f"{_ended(f'Definition: {definition_of(value)}')}\n\n" if encoding.definition else ""
  tail = f"Now complete the following example -\n{_ended(f'Input: {asked.strip()}')}\nOutput: "
  room = shortened - len(head) - len(tail)
  for kind, count in (("Positive", encoding.positive), ("Negative", encoding.negative)):
    for number, example in enumerate(_examples(value, kind)[:count], 1):
      text = _example(kind, number, example, encoding.explanations)
      if shortened and len(text) > room:
        break
      room -= len(text) + (number > 1)  # the collator counts a space between examples, which it does not write
      head += text
  return head + tail


def _examples(value: dict[str, Any], kind: str) -> list[Any]:
  given = value.get(f"{kind} Examples")
  if given is not None and not isinstance(given, list):
    raise fields.BadRow(f"`{kind} Examples` is {jsontext.name(given)} ({jsontext.shown(given)}); it must be a list")
  return given or []


def definition_of(value: dict[str, Any]) -> str:
  """The definition of a task, the first where there are several. Raises BadRow."""
  given = value.get("Definition")
  return fields.text(given[0] if isinstance(given, list) and given else given, "`Definition`").strip()


def _example(kind: str, number: int, example: Any, explanations: bool) -> str:
  if not isinstance(example, dict):
    raise fields.BadRow(f"{kind.lower()} example {number} is no object")
  said = {
    key: fields.text(example.get(key), f"`{key}` of {kind.lower()} example {number}").strip()
    for key in ("input", "output")
  }
  text = f" {kind} Example {number} -\n{_ended('Input: ' + said['input'])}\n{_ended(' Output: ' + said['output'])}\n"
  if explanations and not fields.is_null(reason := example.get("explanation")):
    text += f"{_ended(' Explanation: ' + fields.text(reason, '`explanation`').strip())}\n"
  return text + "\n"


def _ended(text: str) -> str:
  """A text that ends in punctuation: a full stop is added where it does not."""
  return text if text[-1] in string.punctuation else text + "."
