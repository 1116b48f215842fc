"""The experiments as their folders say them: the fields of a README, its commands, and the figures beside it."""

from collections.abc import Iterator
import dataclasses
import json
import pathlib
import re
import shlex
from typing import Any

ROOT = pathlib.Path(__file__).parent.parent.parent
FIELDS = ("Question", "Hypothesis", "Budget", "Command", "Result", "Date")
NOT_RUN = "not run yet"


@dataclasses.dataclass(frozen=True)
class Experiment:
  """A folder of `experiments/`."""

  folder: pathlib.Path

  @property
  def name(self) -> str:
    """Of the folder."""
    return self.folder.name

  @property
  def fields(self) -> dict[str, str]:
    """The sections of its README, by their heads, in order."""
    parts = re.split(r"^## (.+)\n", (self.folder / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {head.strip(): text.strip() for head, text in zip(parts[1::2], parts[2::2], strict=True)}

  @property
  def was_run(self) -> bool:
    """Whether it has a result."""
    return not self.fields["Result"].lower().startswith(NOT_RUN)

  def commands(self) -> Iterator[list[str]]:
    """The lines of its blocks of shell, word by word."""
    for block in re.findall(r"^```bash\n(.*?)^```$", self.fields["Command"], re.MULTILINE | re.DOTALL):
      for line in block.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
          yield words

  def sweeps(self) -> list[list[str]]:
    """The flags of its `itune sweep` commands."""
    return [words[2:] for words in self.commands() if words[:2] == ["itune", "sweep"]]

  def stored(self) -> list[float]:
    """All numbers of the files of results beside the README."""
    files = sorted(self.folder.glob("results*.json"))
    return [number for file in files for number in _numbers(json.loads(file.read_text(encoding="utf-8")))]

  def figures(self) -> list[str]:
    """The numbers with a decimal point in the text of the result."""
    return re.findall(r"(?<![\w.])[-+−]?\d+\.\d+(?:e[-+]?\d+)?(?![\w.]*\.(?:py|json))", self.fields["Result"])


def _numbers(value: Any) -> Iterator[float]:
  if isinstance(value, dict):
    for one in value.values():
      yield from _numbers(one)
  elif isinstance(value, list):
    for one in value:
      yield from _numbers(one)
  elif isinstance(value, (int, float)) and not isinstance(value, bool):
    yield float(value)


EXPERIMENTS = [Experiment(path.parent) for path in sorted((ROOT / "experiments").glob("*/README.md"))]
