"""What the scripts and the tests import at their top is installed by the lock or by the test environment."""

import ast
from importlib import metadata
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).parents[2]
# A file in the same folder is imported by its bare name.
_FOLDERS = ("scripts", "tests", "experiments", "notebooks")


def _installed() -> set[str]:
  """The packages of the lock and those that `install_env test` adds, in lower case."""
  lock = re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==", (ROOT / "requirements.lock").read_text(), re.M)
  script = (ROOT / "scripts/env.sh").read_text()
  (line,) = [line for line in script.splitlines() if line.strip().startswith("test)")]
  return {name.lower().replace("_", "-") for name in [*lock, *re.findall(r"([\w-]+)(?:\[\w+\])?==", line)]}


def _of_parity() -> set[str]:
  """What `install_env parity` adds, and what lm-eval brings along."""
  listed = re.findall(r"^([\w-]+)(?:==.*)?$", (ROOT / "requirements-parity.txt").read_text(), re.M)
  script = (ROOT / "scripts/env.sh").read_text().partition("parity)")[2]
  return {name.lower() for name in [*listed, *re.findall(r"([\w-]+)==", script), "rouge-score"]}


def _imported(path: pathlib.Path) -> set[str]:
  """The first parts of the names of what is imported when the file is."""
  found: set[str] = set()
  for node in ast.parse(path.read_text()).body:
    if isinstance(node, ast.Import):
      found |= {alias.name.partition(".")[0] for alias in node.names}
    elif isinstance(node, ast.ImportFrom) and node.module:
      found.add(node.module.partition(".")[0])
  return found


def test_nothing_is_imported_at_the_top_that_its_environment_lacks():
  packages, allowed = metadata.packages_distributions(), _installed()
  paths = [path for folder in _FOLDERS for path in (ROOT / folder).rglob("*.py")]
  assert len(paths) > 200
  own = {path.stem for path in paths} | {"itune_jax", "tests", "scripts", "experiments"} | set(sys.stdlib_module_names)
  for path in paths:
    here = allowed | _of_parity() if "parity" in path.relative_to(ROOT).parts else allowed
    for name in _imported(path) - own:
      names = {found.lower().replace("_", "-") for found in packages.get(name, [name])}
      assert names & here, f"{path.relative_to(ROOT)} imports {name}, which its environment does not install"
