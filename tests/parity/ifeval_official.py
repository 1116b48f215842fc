"""The checkers of lm-eval, offline and seeded: they would download NLTK's data, and draw what they cannot read."""

import importlib
import logging
import os
import random
from typing import Any, NamedTuple

import pytest


class Verdicts(NamedTuple):
  """As ours."""

  strict: tuple[bool, ...]
  loose: tuple[bool, ...]


class Official:
  """lm-eval's IFEval on NLTK's files, which are written from the parameters of the wheel."""

  def __init__(self, folder: str, patch: pytest.MonkeyPatch):
    import langdetect
    import nltk

    write_punkt_tab(folder)
    patch.setattr(nltk.data, "path", [folder])
    patch.setattr(nltk, "download", None)  # whoever calls it fails
    patch.setattr(langdetect.DetectorFactory, "seed", 0)
    self._utils: Any = importlib.import_module("lm_eval.tasks.ifeval.utils")
    instructions: Any = importlib.import_module("lm_eval.tasks.ifeval.instructions")
    logging.getLogger(instructions.__name__).setLevel(logging.CRITICAL)
    patch.setattr(instructions, "random", _Letter(self))
    self.letter = ""

  def judge(self, prompt: str, kinds: list[str], kwargs: list[dict[str, Any]], response: str) -> Verdicts:
    """Strict and loose verdicts."""
    self.letter = next((one["letter"] for one in kwargs if one.get("letter")), "")
    inputs = self._utils.InputExample(key=0, instruction_id_list=kinds, prompt=prompt, kwargs=kwargs)
    strict = self._utils.test_instruction_following_strict(inputs, response)
    loose = self._utils.test_instruction_following_loose(inputs, response)
    assert strict.follow_all_instructions == all(strict.follow_instruction_list)
    return Verdicts(tuple(strict.follow_instruction_list), tuple(loose.follow_instruction_list))


class _Letter:
  """Stands for the module `random`: the one draw that official rows lead to is that of a letter for `!` and `#`, which
  is taken from the row instead. Any other draw fails."""

  def __init__(self, official: Official):
    self._official = official

  def choice(self, options: list[str]) -> str:
    """The letter of the row."""
    assert len(options) == 52 and not self._official.letter.isalpha(), options
    return self._official.letter


def write_punkt_tab(root: str) -> None:
  """Writes the files that NLTK would download."""
  import punkt.data

  known = punkt.data.load_bundled("english")
  folder = os.path.join(root, "tokenizers", "punkt_tab", "english")
  os.makedirs(folder, exist_ok=True)
  texts = {
    "abbrev_types.txt": known.abbrev_types,
    "sent_starters.txt": known.sent_starters,
    "collocations.tab": ["\t".join(pair) for pair in known.collocations],
    "ortho_context.tab": [f"{word}\t{flags}" for word, flags in known.ortho_context.items()],
  }
  for name, lines in texts.items():
    with open(os.path.join(folder, name), "w", encoding="utf-8", newline="") as f:
      f.write("\n".join(lines))


def seeded(name: str) -> random.Random:
  """A generator that hangs on a name alone."""
  return random.Random(name)
