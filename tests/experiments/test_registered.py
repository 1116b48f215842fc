"""Every registered experiment says what it asks and how, its sweeps are read and planned, its figures are on file."""

import datetime
import json
import re
import shlex

import pytest

from itune_jax.core import log
from itune_jax.run import cli
from itune_jax.run import gin_setup
from itune_jax.run.commands import train
from itune_jax.run.sweep import cells as cells_lib
from itune_jax.run.sweep import space as space_lib
from tests.experiments import registered

ALL = pytest.mark.parametrize("one", registered.EXPERIMENTS, ids=lambda one: one.name)
# Whose work is a program or a script, and no sweep of gin values.
PROGRAMS = {"peft_comparison", "seven_stages"}


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
  monkeypatch.chdir(registered.ROOT)


@ALL
def test_the_readme_has_every_field(one):
  fields = one.fields
  assert tuple(fields) == registered.FIELDS
  assert all(fields.values()), f"an empty field in {one.name}"
  assert fields["Question"].splitlines()[0].endswith("?")
  if one.was_run:
    datetime.date.fromisoformat(fields["Date"])
  else:
    assert fields["Date"] == registered.NOT_RUN and not one.figures(), "no figure without a run"


@ALL
def test_figures_of_the_result_are_those_on_file(one):
  """Each is a stored number, rounded to the digits that are shown, as it is or as a percentage, the sign in words."""
  stored = one.stored()
  assert bool(stored) == one.was_run
  for text in one.figures():
    value, digits = float(text.replace("−", "-")), len(text.partition(".")[2].partition("e")[0])
    near = 0.51 * 10.0 ** -(digits if "e" not in text else digits - int(text.partition("e")[2]))
    assert any(min(abs(abs(value) - abs(x)), abs(abs(value) - 100 * abs(x))) <= near for x in stored), (
      f"{text} is on no file"
    )


def planned(flags, tmp_path, capsys):
  """What `itune sweep --dry_run` says; the compiler is not asked."""
  kept = [flag for flag in flags if flag.split("=")[0] not in ("--topology", "--out", "--dry_run", "--price")]
  assert cli.main(["sweep", *kept, "--dry_run", f"--out={tmp_path}/out"]) == 0
  return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


@ALL
def test_sweeps_are_read_and_planned_for_a_machine_and_a_pod(one, tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(log, "info", lambda *args, **kwargs: None)
  sweeps = one.sweeps()
  files = {path.stem for path in one.folder.glob("*.toml")}
  if one.name not in PROGRAMS:
    assert {"cpu", "pod"} <= files and len(sweeps) >= len(files)
  for flags in sweeps:
    (path,) = [flag.partition("=")[2] for flag in flags if flag.startswith("--sweep=")]
    space = space_lib.read(path)
    told = planned(flags, tmp_path, capsys)
    assert told["runs"] == len(space.points) * len(space.seeds) >= 2 and space.question.endswith("?")
    assert ("pod" in path) == any(flag.startswith("--topology=") for flag in flags), "a pod's form is planned"


FORMS = [(one, k) for one in registered.EXPERIMENTS for k in range(len(one.sweeps()))]


@pytest.mark.parametrize(("one", "k"), FORMS, ids=[f"{one.name}-{k}" for one, k in FORMS])
@pytest.mark.by_default(0, heavy=40)
def test_every_point_is_a_run_that_can_be_built(one, k):
  """gin binds every value of every point: no name is wrong, and no value without effect."""
  flags = [flag.replace("$ITUNE_DATA", "data") for flag in one.sweeps()[k]]
  (path,) = [flag.partition("=")[2] for flag in flags if flag.startswith("--sweep=")]
  shared = [
    flag
    for flag in flags
    if flag.split("=")[0] not in ("--sweep", "--out", "--topology", "--dry_run", "--price", "--workers")
  ]
  for cell in cells_lib.cells(space_lib.read(path)):
    if cell.seed:
      continue
    args = cli.find("train").parse([*shared, *cell.flags(), "--run_dir=x"])
    gin_setup.parse("train", args.gin_file, args.overrides, imports=args.imports, placeholders=True)
    assert gin_setup.call(train.Train).steps >= 0


PODS = [(one, flags) for one in registered.EXPERIMENTS for flags in one.sweeps() if "--dry_run" in flags]


@pytest.mark.full
@pytest.mark.parametrize(("one", "flags"), PODS, ids=[one.name for one, _ in PODS])
def test_the_last_point_of_a_pods_form_fits(one, flags, capsys):
  """The last point has the longest rows, the most cuts, the largest rank."""
  pytest.importorskip("libtpu", reason="the TPU compiler is not installed: pip install libtpu")
  (path,) = [flag.partition("=")[2] for flag in flags if flag.startswith("--sweep=")]
  cell = cells_lib.cells(space_lib.read(path))[-1]
  kept = [flag for flag in flags if flag.split("=")[0] not in ("--sweep", "--out", "--dry_run", "--price")]
  assert cli.main(["plan", *kept, *cell.flags()]) == 0
  assert json.loads(capsys.readouterr().out.strip().splitlines()[-1])["fits"], one.name


def test_the_page_of_experiments_names_each_and_says_what_came_out():
  page = (registered.ROOT / "docs" / "guides" / "experiments.md").read_text(encoding="utf-8")
  for one in registered.EXPERIMENTS:
    (row,) = [line for line in page.splitlines() if line.startswith(f"| `{one.name}` ")]
    assert (registered.NOT_RUN in row) != one.was_run, one.name
    assert one.was_run == (one.fields["Date"] in row and one.fields["Date"] != registered.NOT_RUN)
    for text in re.findall(r"[-+−]?\d+\.\d+", row):
      assert text in one.fields["Result"], f"{one.name}: {text} is not in its result"


def test_commands_are_shell_that_this_project_has():
  for one in registered.EXPERIMENTS:
    for words in one.commands():
      assert words[0] in ("itune", "python", "bash", "for", "do", "done"), shlex.join(words)
