"""The FLAN 2022 mixture over local tasks: five sub-mixtures, their variants, their rates and caps.

The figures are those of google-research/FLAN (flan/v2/run_example.py and mixtures.py) and of Longpre et al. 2023.
"""

import dataclasses
import glob
import os
import random
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import log
from itune_jax.core import ranges
from itune_jax.data import fields
from itune_jax.data.flan import prompts
from itune_jax.data.flan import schemas
from itune_jax.data.origins import origin
from itune_jax.data.readers import containers
from itune_jax.data.readers import lines


class SubMixture(NamedTuple):
  """A part of the collection. rate: its share. cap: examples that count of a task at most. variants: how its templates
  are rendered, evenly. inverted: the rate of its tasks with inverted inputs beside 1 of the others, 0 for none."""

  rate: float
  cap: int
  variants: tuple[str, ...]
  inverted: float = 0.0


_FOUR, _TWO = ("zs_opt", "fs_opt", "zs_noopt", "fs_noopt"), ("zs_opt", "fs_opt")
SUB_MIXTURES: Mapping[str, SubMixture] = {
  "flan2021": SubMixture(0.40, 30_000, _FOUR),
  "t0": SubMixture(0.32, 20_000, _FOUR),
  "niv2": SubMixture(0.20, 5_000, _TWO),
  "cot": SubMixture(0.05, 100_000, _TWO, 0.3),
  "dialog": SubMixture(0.03, 200_000, _TWO, 0.3),
}


class Cell(NamedTuple):
  """What is drawn at one rate: a sub-mixture, whether its inputs are inverted, a variant."""

  sub_mixture: str
  inverted: bool
  variant: str
  rate: float

  @property
  def name(self) -> str:
    """Such as cot_ii_zs_opt."""
    return f"{self.kind}_{self.variant}"

  @property
  def kind(self) -> str:
    """Whose templates it is rendered by."""
    return f"{self.sub_mixture}_ii" if self.inverted else self.sub_mixture


def cells(present: Mapping[str, Any] | None = None) -> list[Cell]:
  """All that is drawn at one rate; the rates sum to 1 where all sub-mixtures are present."""
  found = []
  for name, one in SUB_MIXTURES.items():
    if present is not None and name not in present:
      continue
    for inverted in (False, True) if one.inverted else (False,):
      of_kind = (one.inverted if inverted else 1.0) / (1.0 + one.inverted)
      found += [Cell(name, inverted, each, one.rate * of_kind / len(one.variants)) for each in one.variants]
  return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flan(origin.Origin):
  """The collection over a folder with a folder for each sub-mixture, in which every file is a task.

  A cell (sub-mixture, inversion, variant) is a source. Of a task it holds as many examples as count towards the rate:
  all, or the sub-mixture's cap, drawn anew for every cell. So drawing evenly from a cell draws its tasks by
  min(cap, examples), as the collection does.

  folder: with `flan2021`, `t0`, `niv2`, `cot`, `dialog`; what lacks is left out, and said. rows of a task: `schemas`.
  seed: of what is drawn. longest: characters of a few-shot prompt at most. The collection cuts at 1,920 tokens, which
  are about 7,680 characters of English. templates: a folder with files in place of the package's, of the same names;
  `TASK.json` there is of one task alone.
  """

  folder: str
  seed: ranges.Seed = 0
  longest: int = 7680
  templates: str = ""

  def __post_init__(self):
    check.check_types(self)
    check.require(self.longest >= 0, f"Flan.longest must be 0 (no limit) or more, not {self.longest}")

  @property
  def called(self) -> str:
    """What messages call it."""
    return f"flan:{self.folder}"

  def tasks(self) -> dict[str, list[str]]:
    """The files of each sub-mixture. Raises InputError where there is none at all."""
    found = {}
    for name in SUB_MIXTURES:
      paths = sorted(path for ending in ("json", "jsonl") for path in glob.glob(self._glob(name, ending)))
      if paths:
        found[name] = paths
      else:
        log.info(f"{self.called}: no task of {name}: its share goes to the others")
    if not found:
      raise errors.InputError(f"{self.folder}: no tasks (*.json, *.jsonl) in {', '.join(SUB_MIXTURES)} there")
    return found

  def parts(self) -> Iterator[origin.Part]:
    """A source for every cell."""
    found = self.tasks()
    for cell in cells(found):
      yield origin.Part(cell.name, cell.rate, self._rows(cell, found[cell.sub_mixture]))

  def _glob(self, name: str, ending: str) -> str:
    return os.path.join(glob.escape(os.path.join(self.folder, name)), f"*.{ending}")

  def _rows(self, cell: Cell, paths: list[str]) -> Iterator[origin.Row]:
    cap, variant = SUB_MIXTURES[cell.sub_mixture].cap, prompts.VARIANTS[cell.variant]
    for path in paths:
      task = os.path.basename(path).partition(".")[0]
      templates = prompts.load(self._templates(cell.kind, task))
      rows = list(read(cell.sub_mixture, path))
      whole = [row for row in rows if not isinstance(row, str)]
      rng = random.Random(f"{self.seed}/{cell.name}/{task}")
      order = list(range(len(rows)))
      if len(order) > cap:
        order = sorted(rng.sample(order, cap))
      for number in order:
        yield self._row(cell, task, rows[number], number, templates, variant, whole)

  def _row(
    self,
    cell: Cell,
    task: str,
    row: Mapping[str, Any] | str,
    number: int,
    templates: prompts.Templates,
    variant: prompts.Variant,
    others: list[Mapping[str, Any]],
  ) -> origin.Row:
    where, rng = f"{task}, row {number + 1}", random.Random(f"{self.seed}/{cell.name}/{task}/{number}")
    if isinstance(row, str):
      return f"{where}: {row}"
    try:
      shots = rng.sample(others, min(6, len(others))) if variant.few_shot else []
      shots = [one for one in shots if one is not row]
      asked, answer, at = prompts.render(templates, row, variant, rng, shots, self.longest)
    except fields.BadRow as e:
      return f"{where}: {e}"
    told = {"template": f"{cell.kind}/{at}", "task": task, "variant": cell.variant}
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    return {"id": f"{cell.name}/{task}/{number}", "messages": turns, "source": told}

  def _templates(self, kind: str, task: str) -> str:
    own = [os.path.join(self.templates, f"{name}.json") for name in (task, kind)] if self.templates else []
    return next((path for path in own if os.path.isfile(path)), kind)


def read(sub_mixture: str, path: str) -> Iterator[Mapping[str, Any] | str]:
  """The rows of a task in the fields of its sub-mixture, or why one is none."""
  if path.endswith(".json") and isinstance(files.read_json(path), dict):
    yield from schemas.of_super_ni(sub_mixture, files.read_object(path), path)
    return
  for _, raw in containers.rows(path):
    yield raw.reason if isinstance(raw, lines.Bad) else schemas.read(sub_mixture, raw)
