"""Training prompts of Super-NaturalInstructions against Tk-Instruct's own collator, where ITUNE_PEERS names a folder
with a clone of it.

git clone https://github.com/yizhongw/Tk-Instruct
ITUNE_PEERS=DIR python -m pytest -m parity -s tests/parity/test_tk_instruct.py
"""

import dataclasses
import json
import os
import pathlib
import random
import string
import types
import typing

import pytest

from itune_jax.data.origins import super_ni

PEERS = pathlib.Path(os.environ.get("ITUNE_PEERS", "/nowhere"))
DATA = pathlib.Path(os.environ.get("ITUNE_DATA", "/nowhere")) / "natural_instructions"
COLLATOR = PEERS / "Tk-Instruct" / "src" / "ni_collator.py"
pytestmark = [pytest.mark.parity, pytest.mark.skipif(not COLLATOR.is_file(), reason="ITUNE_PEERS has no Tk-Instruct")]
# How texts end, and what the examples of a task may lack, that the stored tasks have not all of.
ENDS = ["word", "stop.", "ask?", 'quote"', "bracket)", "  spaces  ", "", " ", "line\n", "é", "。", "-", "1"]
SETTINGS = [  # task name, definition, positive and negative examples, explanations: those that it was published with
  *((False, True, 0, 0, False), (False, False, 2, 0, False), (False, True, 2, 0, False)),
  *((False, True, 2, 2, False), (False, True, 2, 0, True), (True, True, 4, 3, True)),
]


def collator(**how):
  """Their collator; a token is a character, so that what is cut does not hang on a tokenizer."""
  source = COLLATOR.read_text().replace("from transformers.data.data_collator import *", "")
  module = types.ModuleType("ni_collator")
  vars(module).update(vars(typing), dataclass=dataclasses.dataclass, string=string, random=random)
  vars(module).update(PreTrainedTokenizerBase=object, PaddingStrategy=object, __name__="dataclasses")
  exec(compile(source, "ni_collator", "exec"), vars(module))

  class Characters:
    def __call__(self, text):
      return {"input_ids": list(text)}

    def decode(self, ids, **how):
      return "".join(ids)

  return module.DataCollatorForNI(tokenizer=Characters(), text_only=True, **how)


def made(rng):
  """A task whose texts end in every way."""
  text = lambda: rng.choice(["one", "two words", ""]) + rng.choice(ENDS)
  example = lambda: {"input": text(), "output": text(), **({"explanation": text()} if rng.random() < 0.8 else {})}
  return {
    "Definition": [text(), text()] if rng.random() < 0.8 else text(),
    "Positive Examples": [example() for _ in range(rng.randrange(5))],
    "Negative Examples": [example() for _ in range(rng.randrange(4))],
    "Instances": [{"input": text(), "output": ["a", "b"]}],
  }


def tasks():
  """(name, task) of all stored tasks, and of 400 that are made."""
  for path in sorted(DATA.glob("task*.json")):
    yield path.stem, json.loads(path.read_text())
  rng = random.Random(0)
  for number in range(400):
    yield f"task{number}", made(rng)


@pytest.mark.parametrize("setting", SETTINGS)
def test_prompts_are_those_of_the_collator(setting):
  """In every setting, also with examples that do not fit: the same examples are left out, and the text is the same."""
  names = ("add_task_name", "add_task_definition", "num_pos_examples", "num_neg_examples", "add_explanation")
  rng, count, left_out = random.Random(1), 0, 0
  encoding = super_ni.Encoding(*setting)
  official = collator(max_source_length=10**9, **dict(zip(names, setting, strict=True)))
  for name, task in tasks():
    instance = rng.choice(task["Instances"])
    asked, answers = super_ni.instance_of(instance)
    given = {"Task": name, **{k: v for k, v in task.items() if k != "Instances"}}
    given["Instance"] = {**instance, "output": answers}
    whole = super_ni.prompt(name, task, asked, encoding)
    for most in (10**9, rng.randrange(max(1, len(whole) // 2), len(whole) + 20)):
      official.max_source_length = most
      theirs = official([given])["inputs"][0]
      ours = super_ni.prompt(name, task, asked, encoding, most)
      if setting[0] and most < 10**9:
        continue  # they do not count the task's name, and cut the end of the prompt instead
      assert ours[:most] == theirs, (name, most)
      count += 1
      left_out += len(ours) < len(whole)
  print(f"\n{dict(zip(names, setting, strict=True))}: {count} prompts equal, {left_out} of them with examples left out")
  assert left_out or not (setting[2] or setting[3]) or setting[0]
