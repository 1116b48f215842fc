"""Whose an error is: gin's complaints are the user's, in one line; what the code raises comes out as it was raised."""

import sys
import types

import pytest

from itune_jax.core import errors
from itune_jax.run import gin_setup


class Part:
  """A value that gin makes."""

  def __init__(self, size):
    if size == "odd":
      raise TypeError("an engine has no such size")
    self.size = size


def work(part=None, how=""):
  """What a command calls."""
  raised = {
    "type": TypeError("the engine is missing an argument of a macro: gin"),
    "value": ValueError("no such engine"),
    "input": errors.InputError("a wrong row"),
    "run": errors.RunError("the loss is no number"),
    "disk": FileNotFoundError(2, "No such file or directory", "/nowhere"),
  }
  if how == "slip":
    return Part()  # pyright: ignore[reportCallIssue]
  if how == "cause":
    raise ValueError("what follows") from raised["value"]
  if how:
    raise raised[how]
  return part


@pytest.fixture
def bound(monkeypatch, tmp_path):
  """Calls `work` with lines of gin."""
  module = types.ModuleType("gin_error_parts")
  module.Part, module.work = Part, work
  monkeypatch.setitem(sys.modules, module.__name__, module)
  monkeypatch.setattr(gin_setup, "config_root", lambda: str(tmp_path))
  (tmp_path / "runs").mkdir()

  def call(lines="", **given):
    head = "from __gin__ import dynamic_registration\nimport gin_error_parts as parts\nparts.work.part = None\n"
    (tmp_path / "runs" / "work.gin").write_text(f"{head}# %SIZE %OTHER\n{lines}\n")
    gin_setup.parse("work", [], [])
    return gin_setup.call(work, **given)

  return call


@pytest.mark.parametrize(
  "how,kind,text",
  [
    ("type", TypeError, "the engine is missing an argument of a macro: gin"),
    ("value", ValueError, "no such engine"),
    ("input", errors.InputError, "a wrong row"),
    ("run", errors.RunError, "the loss is no number"),
    ("slip", TypeError, "missing 1 required positional argument: 'size'"),
  ],
)
def test_what_the_work_raises_comes_out_as_it_was(bound, how, kind, text):
  with pytest.raises(kind) as e:
    bound(how=how)
  assert type(e.value) is kind and str(e.value).endswith(text) and e.value.__context__ is None
  assert e.traceback[-1].path.name == "test_gin_setup.py"


def test_an_error_of_the_system_keeps_its_file_and_a_cause_stays(bound):
  with pytest.raises(FileNotFoundError) as e:
    bound(how="disk")
  assert (e.value.filename, e.value.strerror) == ("/nowhere", "No such file or directory")
  with pytest.raises(ValueError) as e:
    bound(how="cause")
  assert str(e.value.__cause__) == "no such engine"


@pytest.mark.parametrize(
  "lines,text",
  [
    ("parts.work.part = %SIZE", "SIZE is needed, but nothing sets it: include a part that does, or give --gin.SIZE=…"),
    ("parts.work.part = @parts.Part()", "Part.__init__() missing 1 required positional argument: 'size'"),
    ("parts.work.part = [@parts.Part()]\nparts.Part.size = %OTHER", "OTHER is needed"),
  ],
)
def test_what_gin_cannot_give_is_the_users(bound, lines, text):
  with pytest.raises(errors.InputError) as e:
    bound(lines)
  assert text in str(e.value) and "\n" not in str(e.value)


def test_a_bug_in_a_constructor_is_no_users(bound):
  with pytest.raises(TypeError, match="^an engine has no such size$"):
    bound("parts.work.part = @parts.Part()\nparts.Part.size = 'odd'")


def test_a_slip_of_the_caller_is_no_users(bound):
  with pytest.raises(TypeError, match="unexpected keyword argument 'nothing'"):
    bound(nothing=1)


def test_values_arrive(bound):
  assert bound("parts.work.part = @parts.Part()\nparts.Part.size = %SIZE\nSIZE = 3").size == 3


def test_what_is_not_there_is_named_with_the_cure(bound):
  with pytest.raises(errors.InputError, match="schedule is not imported in this file: add a line that imports it"):
    bound("schedule.Schedule.rate = 1")
  with pytest.raises(errors.InputError, match="parts.Prat: gin_error_parts has no Prat; did you mean Part") as error:
    bound("parts.work.part = @parts.Prat()")
  assert "\n" not in str(error.value) and "runs/work.gin, line" in str(error.value)
