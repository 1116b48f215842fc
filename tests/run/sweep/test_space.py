"""A sweep's file: every combination, drawn points, halving; anything else is one line."""

import itertools
import math

import pytest

from itune_jax.core import errors
from itune_jax.run.sweep import cells as cells_lib
from itune_jax.run.sweep import space as space_lib


def _read(tmp_path, text):
  path = tmp_path / "sweep.toml"
  path.write_text(text)
  return space_lib.read(str(path))


def test_points_are_the_product_of_axes_and_pairs_walk_together(tmp_path):
  space = _read(
    tmp_path,
    'seeds = [3, 4]\n[grid]\npeft = ["lora", "dora"]\n"schedule.Schedule.rate" = [1e-4, 3e-4, 1e-3]\n'
    '[[paired]]\n"feed.Packing.rows" = [4, 8]\nMICRO_BATCHES = [1, 2]\n',
  )
  told = {tuple(point.values()) for point in space.points}
  assert told == {(a, b, *c) for a, b, c in itertools.product(["lora", "dora"], [1e-4, 3e-4, 1e-3], [(4, 1), (8, 2)])}
  assert len(cells_lib.cells(space)) == 24
  flags = cells_lib.cells(space)[1].flags()
  assert flags[0] == "--peft=lora" and "--gin.SEED=4" in flags and "--gin.schedule.Schedule.rate=0.0001" in flags


@pytest.mark.parametrize("how", ["random", "sobol", "halton"])
def test_drawn_points_lie_in_their_ranges_and_are_the_same_each_time(tmp_path, how):
  text = (
    f'[draws]\ncount = 32\nseed = 1\nhow = "{how}"\nrate = {{ low = 1e-5, high = 1e-3, scale = "log" }}\n'
    "rank = { choices = [4, 8, 16] }\nsteps_kept = { low = 1, high = 9, whole = true }\n"
  )
  space = _read(tmp_path, text)
  assert space == _read(tmp_path, text)
  assert all(1e-5 <= point["rate"] <= 1e-3 and point["rank"] in (4, 8, 16) for point in space.points)
  assert all(isinstance(point["steps_kept"], int) and 1 <= point["steps_kept"] <= 9 for point in space.points)
  # A log scale: half of the draws lie below the geometric mean, exactly so where they are spread evenly.
  below = sum(point["rate"] < 1e-4 for point in space.points)
  assert abs(below - 16) <= (0 if how == "sobol" else 1 if how == "halton" else 10)


def test_halving_keeps_the_best_and_a_figure_that_is_no_number_is_the_worst(tmp_path):
  halving = _read(tmp_path, "[grid]\nx = [1, 2]\n[halving]\nsteps = [4, 8]\nkeep = 0.5\n").halving
  assert halving.survivors({0: 3.0, 1: 1.0, 2: math.nan, 3: 2.0}) == [1, 3]
  assert halving._replace(better="higher").survivors({0: 3.0, 1: math.nan, 2: 2.0}) == [0, 2]
  assert halving.survivors({0: math.nan}) == [0]


@pytest.mark.parametrize(
  ("text", "says"),
  [
    ("", "nothing varies"),
    ("[gird]\nx = [1]", "gird is no part of a sweep; did you mean grid?"),
    ("[grid]\nx = []", "grid.x is a list of values, not []"),
    ("[grid]\nx = 3", "grid.x is a list of values, not 3"),
    ("[grid]\nx = [1, 1]", "grid.x has a value twice"),
    ("[grid]\nx = ['1e-3', 0.001]", "grid.x has a value twice"),
    ("[grid]\nx = [nan]", "values are text, numbers"),
    ("[grid]\nx = [{a = 1}]", "values are text, numbers"),
    ("[grid]\nx = [1]\n[[paired]]\nx = [1]", "x stands in two tables"),
    ("[[paired]]\nx = [1]\ny = [1, 2]", "these have x 1, y 2"),
    ("[grid]\nSEED = [1, 2]", "seeds stand in `seeds`"),
    ("seeds = [1, 1]\n[grid]\nx = [1]", "seeds are different integers"),
    ("seeds = [true]\n[grid]\nx = [1]", "seeds are different integers"),
    ("[draws]\ncount = 0\nx = {low = 1, high = 2}", "draws.count is how many"),
    ("[draws]\ncount = 2", "draws has no range"),
    ("[draws]\ncount = 2\nx = {low = 2, high = 1}", "needs numbers low < high"),
    ("[draws]\ncount = 2\nx = {low = 0, high = 1, scale = 'log'}", "must be above 0 on a log scale"),
    ("[draws]\ncount = 2\nx = {lo = 0, high = 1}", "has no lo; did you mean low?"),
    ("[grid]\nx = [1]\n[halving]\nsteps = [4]", "rising list"),
    ("[grid]\nx = [1]\n[halving]\nsteps = [4, 8]\nkeep = 1", "halving.keep is a share"),
    ("[grid]\nx = [1", "is no TOML"),
  ],
)
def test_a_slip_is_one_line_with_file_and_key(tmp_path, text, says):
  with pytest.raises(errors.InputError) as e:
    _read(tmp_path, text)
  assert says in str(e.value) and "sweep.toml" in str(e.value) and "\n" not in str(e.value)


def test_the_name_of_a_run_hangs_on_values_recipe_and_data(tmp_path):
  data, recipe = tmp_path / "a.jsonl", tmp_path / "mine.gin"
  data.write_text("{}\n")
  recipe.write_text("STEPS = 3\n")
  cell = cells_lib.Cell({"peft": "lora"}, 0)
  common = [f"--gin_file={recipe}", f"--data={data}"]
  name = lambda cell=cell: cells_lib.digest(cell, common, cells_lib.content_of(common))
  first = name()
  assert first == name() and first != name(cells_lib.Cell({"peft": "lora"}, 1))
  folder = tmp_path / "many"
  folder.mkdir()
  (folder / "b.jsonl").write_text("{}\n")
  for given in (["--data", str(folder)], [f"--data={folder}/*.jsonl"], [f"--data={data},{folder}/b.jsonl@0.3"]):
    before = cells_lib.content_of([*common, *given])
    (folder / "b.jsonl").write_text((folder / "b.jsonl").read_text() + "{}\n")
    assert before != cells_lib.content_of([*common, *given]), given
  assert cells_lib.content_of(["--gin_file", str(recipe)]) == cells_lib.content_of([f"--gin_file={recipe}"])
  data.write_text('{"more": 1}\n')
  second = name()
  recipe.write_text("STEPS = 4\n")
  assert len({first, second, name()}) == 3
