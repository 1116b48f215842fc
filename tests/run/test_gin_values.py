"""Values of the command line: what is gin stays gin, text is text where text is wanted, and all else is one line."""

import random
import string

from gin import config as gin_config
import pytest

from itune_jax.core import errors
from itune_jax.run import gin_setup

RECIPE = ["recipes/smollm2_lora.gin"]


def parsed(line, *more):
  """The value that a line of the command line binds."""
  given = [line, *more] if line.startswith("DATA") else ["DATA = 'x'", line, *more]
  gin_setup.parse("train", RECIPE, given)
  name = line.split(" = ")[0]
  if "." not in name:
    return gin_config._CONFIG[name, "gin.macro"]["value"]
  found = [v[name.split(".")[-1]] for (_, s), v in gin_config._CONFIG.items() if s.endswith(name.rsplit(".", 1)[0])]
  return found[0]


@pytest.mark.parametrize(
  "line,value",
  [
    ("DATA = mine.jsonl", "mine.jsonl"),
    ("DATA = 'mine.jsonl'", "mine.jsonl"),
    ("DATA = 2024.jsonl", "2024.jsonl"),
    ("DATA = 01.jsonl", "01.jsonl"),
    ("DATA = a.jsonl,b.jsonl", "a.jsonl,b.jsonl"),
    ("DATA = my data/*.jsonl.gz", "my data/*.jsonl.gz"),
    ("DATA = [draft] rows.jsonl", "[draft] rows.jsonl"),
    ("DATA = [a.jsonl", "[a.jsonl"),
    ("DATA = rows #1.jsonl", "rows #1.jsonl"),
    ("DATA = a.jsonl; STEPS", "a.jsonl; STEPS"),
    ("DATA = starter:train", "starter:train"),
    ("STEPS = 1e3", 1000.0),
    ("STEPS = 12", 12),
    ("schedule.Schedule.kind = linear", "linear"),
    (r"lora.Lora.sites = blocks/\d+/attn/(q|v)", r"blocks/\d+/attn/(q|v)"),
    ("WARM_START = runs/mine", "runs/mine"),
  ],
)
def test_a_value_means_what_it_says(line, value):
  found = parsed(line)
  assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
  "line,words",
  [
    ("STEPS = abc", "Train.steps takes a whole number, not the text 'abc'"),
    ("STEPS = [3", "Train.steps takes a whole number"),
    ("STEPS = 3; SEED = 4", "Train.steps takes a whole number"),
    ("OPTIMIZER = adamw", "Train.optimizer takes Optimizer"),
    ("schedule.Schedule.kind = cosin", "takes one of 'constant', 'linear', 'cosine'"),
    ("schedule.Schedule.lr = 3", "has no 'lr'; it takes rate, kind, warmup, final"),
    ("schedule.Schedule.lr = x", "has no 'lr'; it takes rate, kind, warmup, final"),
    ("specs.Model.special_tokens = <a>", "takes tuple[str, ...]"),
    ("DATA = 'mine.jsonl", "begins with a quote"),
    ('DATA = "a" b', "begins with a quote"),
    ("DATA = @mine.jsonl/", "no reference of gin"),
    ("DATA = ", "gives no value"),
    ("3 = 4", "is no name of gin"),
    ("no.Thing.x = abc", "no file of this run imports no"),
  ],
)
def test_what_it_cannot_be_is_refused_in_one_line(line, words):
  with pytest.raises(errors.InputError) as e:
    parsed(line)
  assert words in str(e.value) and "\n" not in str(e.value)


def test_any_file_name_is_itself_or_refused():
  chars = string.ascii_letters + string.digits + " ._-/[](){}'\"@%#=:,*+\\é"
  draw = random.Random(0)
  for _ in range(60):
    name = "".join(draw.choices(chars, k=draw.randint(1, 12))).strip() or "x"
    try:
      found = parsed(f"DATA = {name}")
    except errors.InputError as e:
      assert "\n" not in str(e), "a name that looks like gin and is none"
      continue
    assert found == name or name[0] in "0123456789[({'\"@%+-." or name in ("True", "False", "None")


def test_a_method_brings_the_rate_whatever_stands_first(tmp_path):
  rates = []
  for order in (("peft/lora.gin", "optim/adamw.gin"), ("optim/adamw.gin", "peft/lora.gin")):
    file = tmp_path / "mine.gin"
    lines = [f'include "{part}"' for part in ("recipes/llama_tiny.gin", *order)]
    file.write_text("\n".join(lines) + "\n")
    gin_setup.parse("train", [str(file)], [])
    rates.append(gin_config._CONFIG["", "itune_jax.optim.schedule.Schedule"]["rate"])
  assert rates == [1e-3, 1e-3]


@pytest.mark.parametrize(
  "first,part,words",
  [
    ("schedule.Schedule.rate = 2e-4", "peft/lora.gin", "sets schedule.Schedule.rate in line 3, and lora.gin"),
    ("STEPS = 7", "recipes/demo.gin", "sets STEPS in line 3, and demo.gin"),
  ],
)
def test_a_value_that_an_include_behind_it_would_take_back_is_refused(tmp_path, first, part, words):
  head = "from __gin__ import dynamic_registration\nfrom itune_jax.optim import schedule\n"
  (tmp_path / "mine.gin").write_text(f'{head}{first}\ninclude "{part}"\n')
  with pytest.raises(errors.InputError, match=words):
    gin_setup.parse("train", [str(tmp_path / "mine.gin")], [])
  (tmp_path / "mine.gin").write_text(f'{head}include "recipes/demo.gin"\n{first}\n')
  gin_setup.parse("train", [str(tmp_path / "mine.gin")], [])


def test_passes_take_the_place_of_a_recipes_steps_and_the_other_way_round(tmp_path):
  assert parsed("EPOCHS = 2") == 2 and gin_config._CONFIG["STEPS", "gin.macro"]["value"] == 0
  assert parsed("STEPS = 7") == 7 and gin_config._CONFIG["EPOCHS", "gin.macro"]["value"] == 0


def test_a_base_takes_the_place_of_the_recipes_own():
  assert parsed("BASE = some/model") == "some/model"
  model = gin_config._CONFIG["", "itune_jax.run.specs.Model"]
  assert model["base"].scoped_selector == "BASE/gin.macro" and model["config"] is None


def test_a_file_that_includes_itself_or_nothing_is_one_line(tmp_path):
  (tmp_path / "a.gin").write_text('include "b.gin"\n')
  (tmp_path / "b.gin").write_text('include "a.gin"\n')
  (tmp_path / "c.gin").write_text('include "nowhere.gin"\n')
  for name, words in (("a", "includes itself"), ("c", 'include "nowhere.gin" is in none of')):
    with pytest.raises(errors.InputError, match=words):
      gin_setup.parse("train", [str(tmp_path / f"{name}.gin")], [])
