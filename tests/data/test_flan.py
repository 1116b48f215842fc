"""FLAN 2022 and Super-NaturalInstructions as training data: prompts to the letter, templates, rates and caps."""

import collections
import json
import os
import random

import numpy as np
import pytest

from itune_jax.core import errors
from itune_jax.data import draws
from itune_jax.data import fields
from itune_jax.data import opening
from itune_jax.data import mixture as mixture_lib
from itune_jax.data.flan import collection
from itune_jax.data.flan import prompts
from itune_jax.data.origins import super_ni
from itune_jax.run import cli

TASK = {
  "Definition": ["Say the colour"],
  "Positive Examples": [
    {"input": "sky", "output": "blue", "explanation": "It is so by day"},
    {"input": "grass?", "output": "green", "explanation": ""},
  ],
  "Negative Examples": [{"input": "snow", "output": "black", "explanation": "It is white"}],
  "Instances": [{"id": f"i{n}", "input": f"thing {n}", "output": ["red", "dark red"]} for n in range(7)],
  "Categories": ["Colours"],
}
PROMPT = (
  "task1_colours. Definition: Say the colour.\n\n Positive Example 1 -\nInput: sky.\n Output: blue.\n "
  "Explanation: It is so by day.\n\n Positive Example 2 -\nInput: grass?\n Output: green.\n "
  "Explanation: .\n\n "
  "Negative Example 1 -\nInput: snow.\n Output: black.\n Explanation: It is white.\n\n"
  "Now complete the following example -\nInput: thing 0.\nOutput: "
)


@pytest.fixture
def tasks(tmp_path):
  """A folder of tasks with official lists."""
  (tmp_path / "tasks").mkdir()
  (tmp_path / "splits" / "default").mkdir(parents=True)
  for name in ("task1_colours", "task2_colours"):
    (tmp_path / "tasks" / f"{name}.json").write_text(json.dumps(TASK))
  (tmp_path / "splits" / "default" / "train_tasks.txt").write_text("task1_colours\n")
  (tmp_path / "splits" / "default" / "test_tasks.txt").write_text("task2_colours\ntask9_gone\n")
  return str(tmp_path)


def rows(**how):
  (part,) = super_ni.SuperNI(**how).parts()
  return list(part.rows)


def test_prompts_are_those_of_the_collator_in_every_setting(tasks):
  found = rows(folder=tasks, task_name=True, positive=2, negative=1, explanations=True)
  assert found[0]["messages"][0]["content"] == PROMPT and len(found) == 7
  assert {row["messages"][1]["content"] for row in found} == {"red", "dark red"}
  assert found[0]["check"]["answers"] == ["red", "dark red"] and found[0]["id"] == "task1_colours/i0"
  bare = rows(folder=tasks, positive=0)[0]["messages"][0]["content"]
  assert bare == "Definition: Say the colour.\n\nNow complete the following example -\nInput: thing 0.\nOutput: "
  short = rows(folder=tasks, positive=2, shortened=len(bare) + 60)[0]["messages"][0]["content"]
  assert "Positive Example 1" in short and "Positive Example 2" not in short
  mixed = [row["messages"][0]["content"] for row in rows(folder=tasks, mixed=True, split="all")]
  assert len({text.count("Example") * 10 + text.count("Definition") for text in mixed}) > 2
  assert mixed == [row["messages"][0]["content"] for row in rows(folder=tasks, mixed=True, split="all")]
  assert len(rows(folder=tasks, per_task=3)) == 3 and len(rows(folder=tasks, split="all")) == 14


def test_what_is_no_setting_or_no_task_is_one_line(tasks):
  for how, reason in (
    ({"split": "test"}, "no file of task9_gone"),
    ({"split": "excluded"}, "no list of the official split"),
    ({"definition": False, "positive": 0}, "nothing says what the task is"),
  ):
    with pytest.raises(errors.InputError, match=reason):
      rows(folder=tasks, **how)
  bad = {**TASK, "Instances": [{"input": "x", "output": []}, {"input": "y", "output": ["z"]}]}
  with open(os.path.join(tasks, "tasks", "task1_colours.json"), "w") as f:
    json.dump(bad, f)
  assert rows(folder=tasks)[0] == "task1_colours, instance 1: it has no `output`" and len(rows(folder=tasks)) == 2


def test_every_template_renders_in_every_variant():
  row = {"options": ["yes", "no"]}
  row |= dict.fromkeys(("input", "question", "definition", "rationale", "history"), "What {x} is it?")
  row |= {"answer": "yes"}
  exemplars = [{**row, "answer": "no"}, {**row, "rationale": "A shot."}]
  assert set(prompts.kinds()) == {*collection.SUB_MIXTURES, "cot_ii", "dialog_ii"}
  for kind in prompts.kinds():
    templates = prompts.load(kind)
    seen = set()
    for number in range(10):
      for variant in prompts.VARIANTS.values():
        how = (templates, row, variant, random.Random(number), exemplars)
        asked, answer, at = prompts.render(*how, number=number)
        again = prompts.render(templates, row, variant, random.Random(number), exemplars, number=number)
        assert at == number and (asked, answer, at) == again
        takes = prompts.OPTIONS in prompts.placeholders(templates.templates[number].inputs)
        assert ("no" in asked.split("What {x} is it?")[-1].split()) <= (variant.options or variant.few_shot)
        assert not takes or variant.few_shot or variant.options == any(mark in asked for mark in _option_lines(asked))
        seen.add((number, variant.name, asked))
        if variant.few_shot:
          with pytest.raises(fields.BadRow, match="no exemplar"):
            prompts.render(templates, row, variant, random.Random(0), exemplars, longest=len(asked) // 4, number=number)
    assert len(seen) == 40


def _option_lines(text):
  return [line for line in text.splitlines() if line.endswith(("yes", "no")) and line[0] in "-*(A1["]


def test_templates_that_cannot_render_are_refused(tmp_path):
  def write(change):
    value = {"about": "", "fields": ["a"], "templates": [{"inputs": f"{n} {{a}}", "targets": "{a}"} for n in range(10)]}
    change(value)
    path = tmp_path / f"t{len(os.listdir(tmp_path))}.json"
    path.write_text(json.dumps(value))
    return str(path)

  assert len(prompts.load(write(lambda v: None)).templates) == 10
  for change, reason in (
    (lambda v: v["templates"].pop(), "it has 9 templates"),
    (lambda v: v["templates"][3].update(inputs="{b}"), r"template 3 names \{b\}"),
    (lambda v: v["templates"][3].update(targets="yes"), "asks or answers nothing"),
    (lambda v: v["templates"][3].update(inputs="0 {a}"), "ask the same"),
    (lambda v: v["templates"][3].pop("inputs"), "each of these with"),
    (lambda v: v["templates"][3].update(inputs="{a"), "the template '{a'"),
    (lambda v: v["templates"][3].update(inputs="{a:d}"), "a field's name, and no format"),
    (lambda v: v["templates"][3].update(inputs="{a:{b}}"), "a field's name, and no format"),
    (lambda v: v["templates"][3].update(inputs=None), "each of these with"),
    (lambda v: v.update(fields="a"), "templates are an object with"),
  ):
    with pytest.raises(errors.InputError, match=reason):
      prompts.load(write(change))


def flan_folder(path, counts):
  """Tasks of so many rows in each sub-mixture."""
  fields_of = {"dialog": lambda n: {"dialog": [f"hi {n}", f"yes {n}", f"bye {n}"]}}
  other = lambda n: {k: f"{k} {n}" for k in ("input", "answer", "definition", "question", "rationale")}
  for name, tasks in counts.items():
    os.makedirs(path / name)
    for task, count in tasks.items():
      made = fields_of.get(name, other)
      (path / name / f"{task}.jsonl").write_text("".join(json.dumps(made(n)) + "\n" for n in range(count)))
  return str(path)


def test_rates_and_caps_are_those_of_the_collection(tmp_path, monkeypatch):
  assert sum(cell.rate for cell in collection.cells()) == pytest.approx(1.0)
  by_sub = collections.Counter()
  for cell in collection.cells():
    by_sub[cell.sub_mixture] += cell.rate
  assert by_sub == pytest.approx({"flan2021": 0.40, "t0": 0.32, "niv2": 0.20, "cot": 0.05, "dialog": 0.03})
  rate = {cell.name: cell.rate for cell in collection.cells()}
  assert rate["cot_zs_opt"] == pytest.approx(0.05 / 1.3 / 2) and rate["cot_ii_zs_opt"] == pytest.approx(
    0.05 * 0.3 / 1.3 / 2
  )
  caps = {name: one.cap for name, one in collection.SUB_MIXTURES.items()}
  assert caps == {"flan2021": 30_000, "t0": 20_000, "niv2": 5_000, "cot": 100_000, "dialog": 200_000}
  small = {name: one._replace(cap=4) for name, one in collection.SUB_MIXTURES.items()}
  monkeypatch.setattr(collection, "SUB_MIXTURES", small)
  folder = flan_folder(tmp_path / "f", {"flan2021": {"a": 9, "b": 3}, "dialog": {"c": 4}})
  parts = {part.name: (part.rate, list(part.rows)) for part in collection.Flan(folder=folder).parts()}
  assert len(parts) == 8 and all(not isinstance(row, str) for _, found in parts.values() for row in found)
  assert collections.Counter(row["source"]["task"] for row in parts["flan2021_zs_opt"][1]) == {"a": 4, "b": 3}
  chosen = lambda name: [row["id"].split("/")[2] for row in parts[name][1]]
  assert chosen("flan2021_zs_opt") != chosen("flan2021_zs_noopt"), "the cap is drawn anew for every variant"
  mix = mixture_lib.Mixture(name="m", sources=(mixture_lib.Source(name="s", origin=collection.Flan(folder=folder)),))
  opened = opening.read(mix, str(tmp_path / "c"), {})
  assert opened.shares({})["flan2021_zs_opt"] == pytest.approx(0.1 / 0.43)
  assert all(row.example for source in opened.sources for row in source.rows())


def test_a_task_may_have_templates_of_its_own_and_bad_rows_are_counted(tmp_path):
  folder = flan_folder(tmp_path / "f", {"niv2": {"a": 2, "b": 2}})
  with open(os.path.join(folder, "niv2", "a.jsonl"), "a") as f:
    f.write('{"input": "x"}\n{\n')
  own = tmp_path / "own"
  own.mkdir()
  templates = [{"inputs": f"OWN{n} {{input}}", "targets": "{answer}"} for n in range(10)]
  (own / "b.json").write_text(json.dumps({"fields": ["input", "answer"], "templates": templates}))
  zero, few = collection.Flan(folder=folder, templates=str(own)).parts()
  found = list(zero.rows)
  assert [row for row in found if isinstance(row, str)][0] == "a, row 3: its `definition` is empty or missing"
  assert sum(isinstance(row, str) for row in found) == 2
  asked = [row["messages"][0]["content"] for row in found if not isinstance(row, str)]
  assert ["OWN" in text for text in asked] == [False, False, True, True]
  assert all(row["messages"][0]["content"].count("input") > 1 for row in few.rows if not isinstance(row, str))


def test_templates_on_the_command_line(tmp_path, capsys):
  path = tmp_path / "task1_colours.json"
  path.write_text(json.dumps(TASK))
  assert cli.main(["templates", "list"]) == 0 and "dialog_ii" in capsys.readouterr().out
  assert cli.main(["templates", "show", "cot"]) == 0 and "step by step" in capsys.readouterr().out
  assert cli.main(["templates", "render", "niv2", f"--rows={path}", "--template=1"]) == 0
  assert "Say the colour\n\nInput: thing 0\nOutput:\n>>> red" in capsys.readouterr().out
  for kind in ("flan2021", "niv2", "dialog_ii"):
    assert cli.main(["templates", "test", kind, f"--rows={path}"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"rows": 7, "renderings": 280}
  assert cli.main(["templates", "test", "cot", f"--rows={path}"]) == 2  # the second example explains nothing
  assert "3 × its `rationale` is empty or missing" in capsys.readouterr().err
  for wrong in (["render", "niv2"], ["show"], ["show", "none"], ["render", "niv2", f"--rows={path}", "--variant=x"]):
    assert cli.main(["templates", *wrong]) == 2 and capsys.readouterr().err.count("\n") == 1


@pytest.mark.full
def test_rates_of_super_ni_through_all_five_schemas(itune_data, tmp_path):
  """Prints what 100,000 draws hold of each sub-mixture and variant, beside what FLAN 2022 asks for."""
  folder = tmp_path / "flan"
  folder.mkdir()
  for name in collection.SUB_MIXTURES:
    os.symlink(os.path.join(itune_data, "natural_instructions"), folder / name)
  flan = collection.Flan(folder=str(folder))
  files = len(flan.tasks()["niv2"])
  mix = mixture_lib.Mixture(name="m", sources=(mixture_lib.Source(name="s", origin=flan),))
  opened = opening.read(mix, str(tmp_path / "c"), {})
  tasks = {s.name: [row.example.source["task"] for row in s.rows() if row.example] for s in opened.sources}
  lost = sum(1 for s in opened.sources for row in s.rows() if row.example is None)
  names, shares = list(tasks), opened.shares({})
  lengths = [np.full(len(tasks[name]), 64, np.int32) for name in names]
  drawn = draws.Draws(names, lengths, shares, row_length=64, window=4096, shuffle=True, seed=0)
  seen = collections.Counter(drawn.row(n)[0] for n in range(100_000))
  of_cell, of_task = collections.Counter(), collections.Counter()
  for (source, index), count in seen.items():
    of_cell[names[source]] += count
    of_task[names[source], tasks[names[source]][index]] += count
  worst = 0.0
  for name in names:
    off = of_cell[name] / 100_000 / shares[name] - 1
    worst = max(worst, abs(off))
    print(f"{name:20} asked {shares[name]:.5f} drawn {of_cell[name] / 100_000:.5f} off {off:+.3%}")
  for name, one in collection.SUB_MIXTURES.items():
    share = sum(count for cell, count in of_cell.items() if cell.startswith(name)) / 100_000
    print(f"{name:20} asked {one.rate:.3f} drawn {share:.5f} off {share / one.rate - 1:+.3%}")
    assert share == pytest.approx(one.rate, rel=0.01)
  # Within a cell the tasks come by min(cap, examples).
  off = 0.0
  for (cell, task), count in of_task.items():
    asked = shares[cell] * tasks[cell].count(task) / len(tasks[cell])
    off = max(off, abs(count / 100_000 - asked))
  print(f"{files} tasks, {lost} rows lost; the worst cell is off by {worst:.3%}, the worst task's share by {off:.5f}")
  assert files >= 60 and not lost and worst < 0.01 and off < 0.01
