"""Templates of the FLAN collection: data files of ten a task, rendered with zero or some shots and with or without the
options (Longpre et al. 2023, arXiv:2301.13688). What is drawn is a function of the seed and the row alone.
"""

import dataclasses
import functools
import os
import random
import string
from collections.abc import Mapping, Sequence
from typing import Any

from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import jsontext
from itune_jax.data import fields

TEMPLATES_A_TASK = 10
FOLDER = os.path.join(os.path.dirname(__file__), "templates")
OPTIONS = "options"
_HEADINGS = ("OPTIONS:", "Options:", "Choices:", "Pick one:", "Possible answers:", "Select from the following.")
_MARKS = ("- {text}", "* {text}", "({letter}) {text}", "{letter}) {text}", "{letter}. {text}", "[{number}] {text}")
_DELIMITERS = ("\n\n", "\n")  # between the question and the answer of an exemplar
_SEPARATORS = ("\n\n\n", "\n\n", "\n")  # between exemplars
_PREFIXES = (("", ""), ("Q: ", "A: "), ("Question: ", "Answer: "), ("input: ", "output: "), ("[Q]: ", "[A]: "))


@dataclasses.dataclass(frozen=True)
class Template:
  """What is asked and what is answered, with {names} of fields in them."""

  inputs: str
  targets: str


@dataclasses.dataclass(frozen=True)
class Templates:
  """The ten templates of a kind of task. names: of the fields that a row must have. where: their file."""

  about: str
  names: tuple[str, ...]
  templates: tuple[Template, ...]
  where: str

  def __post_init__(self):
    if len(self.templates) != TEMPLATES_A_TASK:
      raise errors.InputError(f"{self.where}: it has {len(self.templates)} templates; {TEMPLATES_A_TASK} are a task's")
    for number, one in enumerate(self.templates):
      used = placeholders(one.inputs) | placeholders(one.targets)
      if unknown := sorted(used - {*self.names, OPTIONS}):
        raise errors.InputError(f"{self.where}: template {number} names {{{unknown[0]}}}, which is none of its fields")
      if OPTIONS in placeholders(one.targets) or not placeholders(one.inputs) or not placeholders(one.targets):
        raise errors.InputError(f"{self.where}: template {number} asks or answers nothing of a row")
    if len({one.inputs for one in self.templates}) < len(self.templates):
      raise errors.InputError(f"{self.where}: two templates ask the same")


@dataclasses.dataclass(frozen=True)
class Variant:
  """How a template is rendered: with exemplars in front or without, with the options or without."""

  few_shot: bool
  options: bool

  @property
  def name(self) -> str:
    """As the collection names it: zs_opt, fs_opt, zs_noopt, fs_noopt."""
    return f"{'fs' if self.few_shot else 'zs'}_{'opt' if self.options else 'noopt'}"


VARIANTS = {one.name: one for one in (Variant(shots, options) for options in (True, False) for shots in (False, True))}


def kinds() -> list[str]:
  """The kinds of tasks that templates come with."""
  return sorted(name.removesuffix(".json") for name in os.listdir(FOLDER) if name.endswith(".json"))


@functools.lru_cache(maxsize=64)
def load(name: str) -> Templates:
  """The templates of a kind, or of a file of one's own. Raises InputError in one line for what is none."""
  path = name if name.endswith(".json") else os.path.join(FOLDER, f"{name}.json")
  if not os.path.isfile(path):
    raise errors.InputError(f"no templates {name!r}: there are {', '.join(kinds())}, or a .json file of your own")
  value = files.read_object(path)
  try:
    found = tuple(Template(_said(one["inputs"]), _said(one["targets"])) for one in value["templates"])
    if not isinstance(value["fields"], list):
      raise TypeError("no list")
    return Templates(_said(value.get("about", "")), tuple(map(_said, value["fields"])), found, path)
  except (KeyError, TypeError):
    raise errors.InputError(
      f"{path}: templates are an object with `fields` and `templates`, each of these with `inputs` and `targets`"
    ) from None


def _said(value: Any) -> str:
  if not isinstance(value, str):
    raise TypeError("no text")
  return value


def placeholders(text: str) -> set[str]:
  """The names in braces."""
  try:
    parts = [part for part in string.Formatter().parse(text) if part[1] is not None]
  except ValueError as e:
    raise errors.InputError(f"the template {jsontext.shown(text)}: {e}") from None
  if any(form or conversion for _, _, form, conversion in parts):
    raise errors.InputError(f"the template {jsontext.shown(text)}: between braces stands a field's name, and no format")
  return {name for _, name, _, _ in parts if name is not None}


def render(
  templates: Templates,
  row: Mapping[str, Any],
  variant: Variant,
  rng: random.Random,
  exemplars: Sequence[Mapping[str, Any]] = (),
  longest: int = 0,
  number: int | None = None,
) -> tuple[str, str, int]:
  """(what is asked, the answer, which template) of a row.

  exemplars: other rows of the task, of which one to five stand in front of a few-shot prompt, in an order that is
  drawn. longest: characters of a prompt at most, beyond which exemplars are left out; 0 for no limit. number: which
  template; one is drawn without. Raises BadRow for a row that lacks a field, and for a few-shot prompt that has room
  for no exemplar.
  """
  at = rng.randrange(len(templates.templates)) if number is None else number
  template = templates.templates[at]
  heading, mark = rng.choice(_HEADINGS), rng.choice(_MARKS)
  filled = lambda one: _filled(templates, template, one, variant.options, heading, mark)
  asked, answer = filled(row)
  if not variant.few_shot:
    return asked, answer, at
  wanted = rng.randint(1, 5)
  delimiter, separator = rng.choice(_DELIMITERS), rng.choice(_SEPARATORS)
  before, behind = rng.choice(_PREFIXES)
  shots, room = [], longest - len(before + asked + delimiter + behind) if longest else None
  for one in rng.sample(list(exemplars), min(wanted, len(exemplars))):
    question, reply = filled(one)
    shot = f"{before}{question}{delimiter}{behind}{reply}{separator}"
    if room is not None and len(shot) > room:
      continue
    room = None if room is None else room - len(shot)
    shots.append(shot)
  if not shots:
    raise fields.BadRow("there is no exemplar for a few-shot prompt, or none that fits")
  return f"{''.join(shots)}{before}{asked}{delimiter}{behind}".rstrip(" "), answer, at


def _filled(
  templates: Templates, template: Template, row: Mapping[str, Any], options: bool, heading: str, mark: str
) -> tuple[str, str]:
  given = {name: _text(row, name).strip() for name in templates.names}
  for name, value in given.items():
    if not value and name in placeholders(template.inputs) | placeholders(template.targets):
      raise fields.BadRow(f"its `{name}` is empty")
  listed = row.get(OPTIONS) or ()
  given[OPTIONS] = _listed(listed, heading, mark) if options and listed else ""
  return template.inputs.format(**given).strip(), template.targets.format(**given).strip()


def _text(row: Mapping[str, Any], name: str) -> str:
  return fields.text(row.get(name), f"`{name}`")


def _listed(options: Any, heading: str, mark: str) -> str:
  if not isinstance(options, (list, tuple)) or not 1 < len(options) <= 26:
    raise fields.BadRow("its `options` must be a list of 2 to 26 texts")
  lines = [
    mark.format(text=fields.text(one, f"option {i + 1}").strip(), letter=string.ascii_uppercase[i], number=i + 1)
    for i, one in enumerate(options)
  ]
  return "\n".join(["", heading, *lines])
