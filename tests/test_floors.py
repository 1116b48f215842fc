"""The architecture, kept: imports go down, gin stays in run, NNX through the waist, rooms stay small."""

import ast
import collections
import pathlib
import statistics

import pytest

ROOT = pathlib.Path(__file__).parent.parent
FILES = sorted((ROOT / "itune_jax").rglob("*.py"))
FLOORS = {
  "core": 0,
  "nn": 1,
  "parallel": 1,
  "models": 2,
  "peft": 2,
  "data": 2,
  "objectives": 2,
  "optim": 2,
  "grading": 2,
  "sampling": 3,
  "train": 4,
  "evals": 4,
  "synth": 4,
  "select": 4,
  "run": 5,
  "api": 6,
}
MAY = {
  "core": set(),
  "nn": {"core"},
  "parallel": {"core"},
  "models": {"core", "nn", "parallel"},
  "peft": {"core", "nn"},
  "data": {"core"},
  "objectives": {"core"},
  "optim": {"core"},
  "grading": {"core"},
  "sampling": {"core", "nn", "parallel"},
  "train": {"core", "parallel"},
  "evals": {"core", "parallel", "sampling", "data", "grading"},
  "synth": {"core", "parallel", "sampling", "data", "grading"},
  "select": {"core", "parallel", "sampling", "data", "grading"},
}
NNX = {"Module", "Param", "Rngs", "data", "List", "Dict", "split", "merge", "state", "iter_modules", "eval_shape"}
# A command; a method that a checkpoint names; a user's module; what is first used late; what is explained.
MAY_IMPORT = (
  "run/cli.py",
  "peft/registry.py",
  "grading/checkers.py",
  "data/origins/origin.py",
  "evals/benchmarks/registry.py",
  "select/score_table.py",
  "run/user_code.py",
  "core/lazy.py",
  "run/commands/explain.py",
)
OF_TENSORFLOW = ("tasks.py", "seqio_tasks.py", "seqio_read.py", "tfds_read.py", "tfds_write.py")
TREES = {path: ast.parse(path.read_text()) for path in FILES}


def room(path):
  parts = path.relative_to(ROOT / "itune_jax").parts
  return parts[0] if len(parts) > 1 else parts[0].removesuffix(".py")


def imports(tree):
  for node in ast.walk(tree):
    if isinstance(node, ast.ImportFrom) and node.module:
      for alias in node.names:
        yield f"{node.module}.{alias.name}"
    elif isinstance(node, ast.Import):
      for alias in node.names:
        yield alias.name
    elif isinstance(node, ast.Call) and ast.unparse(node.func) == "lazy.module":
      yield ast.literal_eval(node.args[0])


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_file(path):
  tree, here = TREES[path], room(path)
  assert len(path.read_text().splitlines()) <= 400, "a file has at most 400 lines"
  for name in imports(tree):
    if name.startswith("itune_jax."):
      there = name.split(".")[1]
      if there != here and here in MAY:
        assert there in MAY[here], f"{here} (floor {FLOORS[here]}) may not import {there}"
      assert FLOORS[there] <= FLOORS.get(here, 7), f"{here} imports upward: {there}"
    if name.split(".")[0] == "gin":
      assert here == "run", "gin lives in run only"
    if name.split(".")[0] in ("seqio", "tensorflow", "tensorflow_datasets"):
      assert path.name in OF_TENSORFLOW, "only the registration of tasks, and what reads them, imports SeqIO"
  for node in ast.walk(tree):
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
      assert node.end_lineno - node.lineno < 60, f"{node.name} is longer than 60 lines"
      assert not any(isinstance(n, (ast.Import, ast.ImportFrom)) for n in ast.walk(node)), (
        f"{node.name} imports inside a function"
      )
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "nnx":
      assert node.attr in NNX, f"nnx.{node.attr} is not in the narrow waist"
    if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv") and here != "run":
      # Programs of others import the tasks of SeqIO: there is no run to tell them where data is.
      assert path.name == "seqio_tasks.py", "environment variables are read in run only"
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
      where = str(path.relative_to(ROOT / "itune_jax"))
      assert where in MAY_IMPORT, f"import_module is for {', '.join(MAY_IMPORT)}"
  if path.name == "__init__.py" and path.parent.name != "itune_jax":
    assert all(isinstance(n, ast.Expr) for n in tree.body), "an __init__ holds a docstring only"


def test_no_cycles():
  names = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in FILES}
  edges = collections.defaultdict(set)
  for name, path in names.items():
    edges[name] = {i for i in imports(TREES[path]) if i in names}
  done, active = set(), set()

  def visit(name, trail):
    assert name not in active, f"import cycle: {' -> '.join([*trail, name])}"
    if name in done:
      return
    active.add(name)
    for other in sorted(edges[name]):
      visit(other, [*trail, name])
    active.discard(name)
    done.add(name)

  for name in sorted(names):
    visit(name, [])


def test_most_rooms_are_small():
  """Half of all files and functions are far below what one may be; types say what a method is, and nobody probes."""
  lines = [len(path.read_text().splitlines()) for path in FILES if path.name != "__init__.py"]
  defs = (ast.FunctionDef, ast.AsyncFunctionDef)
  functions = [n.end_lineno - n.lineno + 1 for tree in TREES.values() for n in ast.walk(tree) if isinstance(n, defs)]
  probes = sum(
    isinstance(node, ast.Name) and node.id in ("hasattr", "getattr")
    for path, tree in TREES.items()
    if room(path) == "peft"
    for node in ast.walk(tree)
  )
  found = {"lines": statistics.median(lines), "of a function": statistics.median(functions), "probes in peft": probes}
  print(found)
  assert found["lines"] <= 110 and found["of a function"] <= 6 and probes <= 6


def test_no_two_modules_of_one_name():
  """Two subjects never bear one name; a benchmark and its grader, or a method and its folder, are one subject."""
  names = collections.Counter(path.name for path in FILES if path.name != "__init__.py")
  twice = [name for name, count in names.items() if count > 1]
  same_subject = lambda name: any(part in str(p) for p in FILES if p.name == name for part in ("benchmarks", "folders"))
  assert not [str(path) for path in FILES if path.name in twice and not same_subject(path.name)]


def test_every_config_field_is_read():
  """A knob that nothing reads is a lie. Configuration is every dataclass that checks its own types."""
  read = collections.Counter(
    n.attr
    for tree in TREES.values()
    for n in ast.walk(tree)
    if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load)
  )
  classes = [(path, n) for path, tree in TREES.items() for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
  checked = {node for _, node in classes if "check_types" in ast.dump(node)}
  for _ in range(4):  # and whatever derives from one
    names = {node.name for node in checked}
    checked |= {node for _, node in classes if any(ast.unparse(b).split(".")[-1] in names for b in node.bases)}
  unread = []
  for path, node in classes:
    if node in checked and any("dataclass" in ast.dump(d) for d in node.decorator_list):
      fields = [f.target.id for f in node.body if isinstance(f, ast.AnnAssign)]
      unread += [f"{path.name}:{node.name}.{f}" for f in fields if not read[f]]
  assert not unread


def test_public_functions_have_docstrings():
  bare = []
  for path, tree in TREES.items():
    for node in tree.body:
      if (
        isinstance(node, (ast.FunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
      ):
        bare.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
  assert not bare
