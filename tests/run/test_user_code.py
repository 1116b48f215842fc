"""Code of the user's own, beside a gin file: found, trained, remembered by checkpoints, loaded by who reads them."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from itune_jax.core import errors
from itune_jax.run import user_code

METHOD = '''
import dataclasses
from itune_jax.peft.methods import lora

@dataclasses.dataclass(frozen=True, kw_only=True)
class MyLora(lora.Lora):
  """LoRA under another name."""
'''
GIN = """
from __gin__ import dynamic_registration
import door_method
import door_data
include "recipes/llama_tiny.gin"
include "mine/part.gin"
PEFT = (@door_method.MyLora(),)
door_method.MyLora.rank = 2
"""


def run(folder, *argv, **more):
  """A command in a process of its own, in this folder."""
  environment = {**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=0", **more}
  return subprocess.run(
    [sys.executable, "-m", "itune_jax.run.cli", *argv],
    cwd=folder,
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A folder of a user's own: a recipe, a part that it includes, a method, and a module that only registers data."""
  path = tmp_path_factory.mktemp("own")
  (path / "mine").mkdir()
  (path / "mine" / "part.gin").write_text("STEPS = 2\n")
  (path / "recipe.gin").write_text(GIN)
  (path / "door_method.py").write_text(METHOD)
  (path / "door_data.py").write_text("open('data_was_imported', 'a').close()\n")
  (path / "elsewhere").mkdir()
  return path


@pytest.mark.heavy
def test_a_method_beside_a_gin_file_trains_resumes_exports_answers_and_loads(folder):
  recipe, elsewhere = f"--gin_file={folder}/recipe.gin", folder / "elsewhere"
  for argv in (
    ["prepare", recipe],
    ["train", recipe, f"--run_dir={folder}/run"],
    ["train", recipe, f"--run_dir={folder}/run"],
  ):
    done = run(elsewhere, *argv)
    assert done.returncode == 0, done.stderr
  (checkpoint,) = (folder / "run" / "checkpoints").iterdir()
  imports = {row["module"]: row for row in json.loads((checkpoint / "meta.json").read_text())["imports"]}
  assert imports["door_method"] == {"module": "door_method", "path": f"{folder}/door_method.py", "role": "model"}
  assert imports["door_data"]["role"] == "data"
  for name in elsewhere.iterdir():
    name.unlink()
  for argv in (
    ["generate", f"--adapter={folder}/run", "--prompt=hi", "--max_new_tokens=2"],
    ["export", f"--adapter={folder}/run", "--format=hf", f"--out={folder}/hf"],
  ):
    done = run(elsewhere, *argv)
    assert done.returncode == 0, done.stderr
  code = f"from itune_jax import api; print(api.load({str(folder / 'run')!r}).session.attached.methods[0])"
  done = subprocess.run([sys.executable, "-c", code], cwd=elsewhere, capture_output=True, text=True, check=False)
  assert done.returncode == 0 and "MyLora" in done.stdout, done.stderr
  assert not (elsewhere / "data_was_imported").exists(), "who only reads a checkpoint needs no module of data"


@pytest.fixture
def own(tmp_path, monkeypatch):
  """A folder with a module, a path and a table of modules that go with the test."""
  monkeypatch.setattr(sys, "path", list(sys.path))
  monkeypatch.setattr(user_code, "_loaded", {})
  names = set(sys.modules)
  yield tmp_path
  for name in set(sys.modules) - names:
    del sys.modules[name]


def test_a_module_is_found_remembered_and_brought_back(own):
  (own / "door_one.py").write_text("x = 1\n")
  (own / "door_two").mkdir()
  (own / "door_two" / "__init__.py").write_text("")
  (own / "door_two" / "deep.py").write_text("y = 2\n")
  user_code.load("door_one", [str(own)])
  user_code.load("door_two.deep", [str(own)])
  rows = user_code.remembered(["door_one", "itune_jax.peft.methods.lora"])
  assert {row["module"]: row["role"] for row in rows} == {"door_one": "model", "door_two.deep": "data"}
  for name in ("door_one", "door_two", "door_two.deep"):
    del sys.modules[name]
  sys.path[:] = [p for p in sys.path if p != str(own)]
  user_code.restore(json.loads(json.dumps(rows)))
  assert "door_one" in sys.modules and "door_two" not in sys.modules
  user_code.restore(rows, roles=("model", "data"))
  assert sys.modules["door_two.deep"].y == 2


@pytest.mark.parametrize(
  "text,words",
  [
    (None, "no such module"),
    ("import door_nothing", "needs door_nothing, which is not installed"),
    ("1 / 0", "ZeroDivisionError: division by zero"),
    ("def f(:", "SyntaxError"),
  ],
)
def test_what_cannot_be_imported_is_one_line(own, text, words):
  if text is not None:
    (own / "door_bad.py").write_text(textwrap.dedent(text))
  with pytest.raises(errors.InputError, match=words) as e:
    user_code.load("door_bad", [str(own)])
  assert "\n" not in str(e.value)


def test_a_module_that_another_hides_is_refused(own):
  (own / "json.py").write_text("")
  with pytest.raises(errors.InputError, match="is hidden by"):
    user_code.load("json", [str(own)])


def test_a_module_that_is_gone_is_said_with_its_path(own):
  rows = [{"module": "door_gone", "path": str(own / "door_gone.py"), "role": "model"}]
  with pytest.raises(errors.InputError, match=r"needs the module door_gone, which was at .*door_gone.py"):
    user_code.restore(rows)
