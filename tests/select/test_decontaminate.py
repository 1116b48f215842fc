"""Planted items of a benchmark are found, and what is one word short of them is not."""

import random

import pytest

from itune_jax.core import errors
from itune_jax.select import decontaminate
from itune_jax.select import select_protocol
from tests.select import made


def item(rng, id):
  say = lambda n: " ".join(f"w{rng.randrange(5000)}" for _ in range(n))
  return select_protocol.Held(id, f"Question: {say(rng.randint(13, 30))} Answer:", say(rng.randint(8, 12)))


@pytest.fixture(scope="module")
def items():
  rng = random.Random(0)
  return [item(rng, str(i)) for i in range(100)]


def planted(rng, text, size, keep):
  """A text around an n-gram of another, of which one word is changed unless it is kept."""
  words = [word for word in text.split() if not word.endswith(":")]  # without the frame of the prompts
  start = rng.randrange(len(words) - size + 1)
  gram = words[start : start + size]
  if not keep:
    gram[rng.randrange(size)] = "another"
  return f"x{rng.random()} y! {', '.join(gram).upper()} z"


def test_every_planted_gram_is_found_and_no_near_miss(tmp_path, items):
  rng, rows, bad = random.Random(1), [], []
  for one in items:
    for part, size in ((one.prompt, 13), (one.gold, 8)):
      for keep in (True, False):
        row = {"instruction": planted(rng, part, size, keep), "output": "fine"}
        bad += [len(rows)] if keep else []
        rows.append(row)
  world = made.World(bench=items)
  found, manifest = made.run(tmp_path, rows, decontaminate.Decontaminate(against=("bench",)), world=world)
  assert found == [row for i, row in enumerate(rows) if i not in bad]
  said = manifest["passes"][1]["benchmarks"]["bench"]
  assert said["items"] == 100 and said["rows"] == 200 and len(said["hit"]) == 100
  assert said["hit"]["bench/7"]["rows"] == bad[14:16] and said["hit"]["bench/7"]["parts"] == ["gold", "prompt"]


def test_mark_and_refuse(tmp_path, items):
  rows = [{"text": "fine"}, {"text": items[3].gold}]
  how = {"world": made.World(bench=items), "overwrite": True}
  found, manifest = made.run(tmp_path, rows, decontaminate.Decontaminate(action="mark"), **how)
  assert found == [rows[0], {**rows[1], "contaminated": ["bench/3"]}]
  assert manifest["passes"][1]["marked"] == {"contaminated: bench": 1}
  with pytest.raises(errors.InputError, match=r"row 2 .* holds bench/3 \(gold"):
    made.run(tmp_path, rows, decontaminate.Decontaminate(action="refuse"), **how)


def test_templates_and_short_items_are_not_looked_for_and_counted(tmp_path):
  frame = "choose the one answer that is right of these four and say its letter"
  held = [select_protocol.Held(str(i), f"{frame} {i}", "yes") for i in range(20)]
  held.append(select_protocol.Held("short", "one two three four five six seven eight nine", ""))
  world = made.World(bench=held)
  rows = [{"text": frame}, {"text": f"{frame} 7"}, {"text": "said: one two three four five six seven eight nine ten"}]
  found, manifest = made.run(tmp_path, rows, decontaminate.Decontaminate(against=("bench",)), world=world)
  said = manifest["passes"][1]["benchmarks"]["bench"]
  assert found == rows[:1] and said["template_ngrams"] == 2 and said["too_short"] == 20
  with pytest.raises(errors.InputError, match="no benchmark other"):
    made.run(tmp_path, rows, decontaminate.Decontaminate(against=("other",)), world=world, overwrite=True)
