"""A published benchmark: where its official files are had, how it may be asked, and what of them becomes a benchmark.

One file in `evals/benchmarks/<axis>/` holds one of these, and one row of `evals/benchmarks/registry.py` names it:

BENCHMARK = official.Published(
  name="gsm8k",
  axis="utility",
  files=("test.jsonl",),                        # below the folder `gsm8k`; patterns are allowed
  source="https://github.com/openai/grade-school-math",
  licence="MIT",
  size="1.6 MB",
  count=1319,
  metric="exact_match",
  shots=8,
  make=make,                                    # (Folder, Settings) -> protocol.Benchmark
)

`make` reads nothing: its benchmark's `items` read the files when they are asked for, as a stream.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import itertools
import math
import os
from typing import Any

import numpy as np

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.core import ranges
from itune_jax.core import rng
from itune_jax.evals import ask as ask_lib
from itune_jax.evals import folders
from itune_jax.evals import judged
from itune_jax.evals import protocol
from itune_jax.grading.sandbox import sandbox as sandbox_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """How a published benchmark is asked, where that is not its own way.

  shots: examples in front of each question, None for the benchmark's own number. variant: one of the benchmark's
  variants, "" for its first. form: how the prompt is put, "" for the benchmark's own: `plain` text, `chat` (all in one
  user's turn), or `turns` (each shot a turn of its own). samples: answers to each question, 0 for the benchmark's own.
  limit: so many items, spread over its subtasks; 0 for all. limit_each: the first so many items of each subtask, 0 for
  all. max_new_tokens: of an answer, 0 for the benchmark's own. temperature: how answers are drawn, None for the
  benchmark's own. thinks: whether the model thinks before it answers (see `ask.Generate`). thinking_budget: tokens
  after which its thinking is ended and the answer follows, 0 for no such limit; where there is one it thinks. seed: of
  which items are chosen. version: the benchmark version that is meant, 0 for any. sandbox: where programs that the
  model wrote run. judge: who judges the answers, where a benchmark is judged. baseline: a file of the answers that they
  are compared with, "" for the benchmark's own.
  """

  shots: int | None = None
  variant: str = ""
  form: str = ""
  samples: int = 0
  limit: int = 0
  limit_each: int = 0
  max_new_tokens: int = 0
  temperature: float | None = None
  thinks: bool = False
  thinking_budget: int = 0
  seed: ranges.Seed = 0
  version: ranges.NonNegativeInt = 0
  sandbox: sandbox_lib.Sandbox = sandbox_lib.Sandbox()
  judge: judged.Judge | None = None
  baseline: str = ""

  def __post_init__(self):
    check.check_types(self)
    for name in ("samples", "limit", "limit_each", "max_new_tokens", "thinking_budget"):
      check.require(vars(self)[name] >= 0, f"Settings.{name} = {vars(self)[name]}; it counts, 0 is the default")
    warm = self.temperature is None or 0 <= self.temperature < math.inf
    check.require(warm, f"Settings.temperature = {self.temperature}; it is 0 (greedy) or more")
    check.require(self.shots is None or self.shots >= 0, f"Settings.shots = {self.shots}; it counts examples")
    check.require(self.form in ("", "plain", "chat", "turns"), f"Settings.form = {self.form!r}: plain, chat or turns")
    check.require(not (self.limit and self.limit_each), "Settings.limit and Settings.limit_each exclude each other")

  @property
  def identity(self) -> dict[str, Any]:
    """The settings as JSON, a judge by what makes its verdicts what they are."""
    plain = dataclasses.asdict(dataclasses.replace(self, judge=None))
    if not self.thinking_budget:  # figures of before it was there stand
      del plain["thinking_budget"]
    return plain | {"judge": None if self.judge is None else self.judge.identity}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
  """A published benchmark as a value.

  files: names or patterns below its folder, all of which it needs; `a|b` is either, and there are none where it makes
  its own items. source: where they are had; licence and size are theirs. hub: the data set's name on the hub, whose
  cache is looked into. package: of Python, whose folder `data` has the files where it is installed. also: other names
  that its folder may have. count: how many items it has officially, 0 where that is open. metric: the figure that it is
  known by. make: the benchmark of a folder and settings. variants: ways of asking by name, the default first. shots:
  its own number of examples, and most_shots how many there are at most (None: shots cannot be chosen); variant_shots is
  the number of variants that have one of their own. subtask: the tag that names subtasks, over which a limit is spread.
  format_only: no official file was had when it was written; it is held to the official scorer on perturbed answers, and
  no figure is claimed. judged: whether it needs a judge (`Settings.judge`). parity: what its scores were compared with,
  and how many of them, for the page of all benchmarks. version: as of `protocol.Benchmark`.
  """

  name: str
  axis: protocol.Axis
  files: tuple[str, ...]
  source: str
  licence: str
  size: str
  metric: str
  make: Callable[[folders.Folder, Settings], protocol.Benchmark]
  count: int = 0
  hub: str = ""
  package: str = ""
  also: tuple[str, ...] = ()
  title: str = ""
  variants: tuple[str, ...] = ()
  shots: int = 0
  variant_shots: Mapping[str, int] = dataclasses.field(default_factory=dict)
  most_shots: int | None = None
  subtask: str = ""
  format_only: bool = False
  judged: bool = False
  parity: str = ""
  version: int = 1

  def folder(self, roots: Sequence[str]) -> folders.Folder:
    """Where its files are. Raises InputError saying where to get them, their size and licence."""
    if not self.files:  # it makes its own items
      return folders.Folder("")
    found = folders.find((self.name, *self.also), self.files, (*roots, *folders.of_package(self.package)), self.hub)
    if found is None:
      looked = ", ".join(roots) or "nowhere: give --data_dir=DIR, or set ITUNE_DATA"
      raise errors.InputError(
        f"{self.name}: {', '.join(self.files)} not found (looked in {looked}); get them from {self.source} "
        f"({self.size}, {self.licence}) and put them into DIR/{self.name}"
      )
    return found

  def benchmark(self, roots: Sequence[str], settings: Settings = Settings()) -> protocol.Benchmark:
    """The benchmark, asked as the settings say. Raises InputError for settings that it does not have."""
    settings = self.checked(settings)
    folder = self.folder(roots)
    made = self.make(folder, settings)
    own = dict(name=self.name, axis=self.axis, source=self.source, licence=self.licence, version=self.version)
    if self.files:
      own["items"] = Read(made.items, self.name, folder.path)  # pyright: ignore[reportArgumentType]
    made = dataclasses.replace(made, **own)  # pyright: ignore[reportArgumentType]
    if settings.limit or settings.limit_each:
      total = self.count or sum(1 for _ in made.items())
      chosen = Chosen(made.items, self.name, self.subtask, settings, parallel=made.against is not None)
      made = dataclasses.replace(made, items=chosen, total=total)
    return made

  def checked(self, settings: Settings) -> Settings:
    """The settings with the benchmark's own variant and number of shots filled in. Raises InputError for those that it
    does not have."""
    name = self.name
    check.require(
      not settings.version or settings.version == self.version,
      f"{name}: version {settings.version} is asked for, this is version {self.version}",
    )
    if settings.variant and settings.variant not in self.variants:
      known = ", ".join(self.variants) or "none"
      raise errors.InputError(f"{name} has no variant {settings.variant!r}; its variants: {known}")
    variant = settings.variant or (self.variants[0] if self.variants else "")
    own = self.variant_shots.get(variant, self.shots)
    shots = own if settings.shots is None else settings.shots
    most = own if self.most_shots is None else self.most_shots
    check.require(shots <= most, f"{name} has {most} examples at most, {shots} are asked for (shots)")
    check.require(
      settings.shots is None or self.most_shots is not None or shots == own,
      f"{name} is asked with {own} examples; their number cannot be chosen (shots)",
    )
    return dataclasses.replace(settings, shots=shots, variant=variant)


_UNFIT = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)  # what odd values make of code


@dataclasses.dataclass(frozen=True)
class Read:
  """A benchmark's items, of files in which anything may stand: what its code makes of no official row is one line.

  Benchmarks name the field where they check one; this is for the hundreds of others.
  """

  items: Callable[[], Any]
  name: str
  path: str

  def __call__(self) -> Iterator[protocol.Item]:
    """The items, as a stream. Raises InputError naming folder and place for a row of another form."""
    last = ""
    try:
      for item in self.items():
        last = f", behind item {item.id}"
        yield item
    except errors.InputError:
      raise
    except _UNFIT as e:
      where = f"{self.path}: a row of {self.name}{last}, is not as in the official files"
      raise errors.InputError(f"{where} ({type(e).__name__}: {jsontext.said(e)})") from e


@dataclasses.dataclass(frozen=True)
class Chosen:
  """Some of a benchmark's items, in their order: so many in all, spread over subtasks, or so many of each.

  Which ones is a function of the seed, the benchmark's name and the ids alone. parallel: subtasks hold the same items,
  such as translations, so the same places of each are chosen.
  """

  items: Callable[[], Any]
  name: str
  subtask: str
  settings: Settings
  parallel: bool = False

  def __call__(self) -> Iterator[protocol.Item]:
    """The chosen items, as a stream."""
    chosen = self._ids()
    return (item for item in self.items() if item.id in chosen)

  def _ids(self) -> set[str]:
    by_subtask: dict[str, list[str]] = {}
    for item in self.items():
      by_subtask.setdefault(item.tags.get(self.subtask, ""), []).append(item.id)
    if each := self.settings.limit_each:
      return {id for ids in by_subtask.values() for id in ids[:each]}
    mixed = [self._mixed("parallel" if self.parallel else subtask, ids) for subtask, ids in by_subtask.items()]
    rounds = itertools.zip_longest(*self._mixed("", mixed))
    spread = (id for one in rounds for id in one if id is not None)
    return set(itertools.islice(spread, self.settings.limit))

  def _mixed(self, what: str, given: list[Any]) -> list[Any]:
    numbers = np.random.default_rng([self.settings.seed, rng.stream(f"{self.name}/{what}")])
    return [given[i] for i in numbers.permutation(len(given))]


def generate(settings: Settings, **own: Any) -> ask_lib.Generate:
  """`ask.Generate` as a benchmark has it (`own`), with what the settings change."""
  budget = settings.thinking_budget
  changes: dict[str, Any] = {"thinks": settings.thinks or bool(budget), "budget": budget}
  for name, value in (
    ("n", settings.samples),
    ("limit", settings.max_new_tokens),
    ("form", settings.form),
    ("temperature", settings.temperature),
  ):
    if value or (name == "temperature" and value is not None):
      changes[name] = value
  return ask_lib.Generate(**own | changes)


def choose(settings: Settings, **own: Any) -> ask_lib.Choose:
  """`ask.Choose` as a benchmark has it, with what the settings change."""
  changes: dict[str, Any] = {"form": settings.form} if settings.form else {}
  return ask_lib.Choose(**own | changes)


def judge(name: str, settings: Settings) -> judged.Judge:
  """The judge of the settings. Raises InputError where there is none."""
  if settings.judge is None:
    raise errors.InputError(f"{name} is judged: say by whom (--judge URL, or --judge self: the model itself)")
  return settings.judge


def roots(*given: str) -> tuple[str, ...]:
  """Folders to look in, in order, without empty ones and doubles."""
  return tuple(dict.fromkeys(os.path.abspath(one) for one in given if one))
