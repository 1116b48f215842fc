"""Tasks of SeqIO that a user registered, as benchmarks: `seqio:NAME@MODULE` (or `seqio:NAME/SPLIT@MODULE`) asks a model
the task's inputs, and the task's own `postprocess_fn` and `metric_fns` make the figures.

The task lives in a process of its own (`data/origins/seqio_metrics.py`), since it needs TensorFlow, which neither
training nor generation imports. It is started when the benchmark is made, and serves all evaluations of a run.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import functools
import hashlib
import json
import subprocess
import sys
import threading
from typing import Any, NamedTuple

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.evals import ask as ask_lib
from itune_jax.evals import folders
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests as requests_lib

PREFIX = "seqio:"
_PROGRAM = "itune_jax.data.origins.seqio_metrics"
_LIMIT = 256  # tokens of an answer, where nobody says how many


class Name(NamedTuple):
  """What `seqio:NAME/SPLIT@MODULE+MODULE` says. split: "" for validation, or test, or the first that there is."""

  task: str
  split: str
  modules: tuple[str, ...]


def parsed(name: str) -> Name:
  """The parts of a name. Raises InputError for one without a task."""
  said, _, modules = name.removeprefix(PREFIX).partition("@")
  task, slash, split = said.partition("/")
  fine = task and (split or not slash)
  check.require(
    fine, f"{name}: write it as {PREFIX}NAME or {PREFIX}NAME/SPLIT, with --import=MODULE or @MODULE behind it"
  )
  return Name(task, split, tuple(one for one in modules.split("+") if one))


def named(names: Sequence[str], modules: Sequence[str]) -> tuple[str, ...]:
  """Names with the modules that register the tasks among them, where they do not say so themselves."""
  behind = f"@{'+'.join(modules)}" if modules else ""
  return tuple(f"{one}{behind}" if one.startswith(PREFIX) and "@" not in one else one for one in names)


class Process:
  """The process of one split of a task. Raises InputError for what its modules and the task do not give."""

  def __init__(self, name: Name):
    self._name, self._lock = name, threading.Lock()
    self._known: dict[str, dict[str, float]] = {}
    # SeqIO imports JAX: the devices are the parent's.
    program = ["env", "JAX_PLATFORMS=cpu", "TF_CPP_MIN_LOG_LEVEL=3", sys.executable, "-m", _PROGRAM]
    pipe = subprocess.PIPE
    self._running = subprocess.Popen(program, stdin=pipe, stdout=pipe, text=True, encoding="utf-8")
    how = {"name": name.task, "modules": list(name.modules), "split": name.split, "path": sys.path}
    self.described: Mapping[str, Any] = self._ask({"open": how})
    for one in self.described["left_out"]:
      log.info(f"{PREFIX}{name.task}: its metric {one} is left out")

  def figures(self, form: str, numbers: Sequence[int], answers: Sequence[Any]) -> dict[str, float]:
    """The figures of answers to these examples; those of the last ones are kept, since each is asked for by itself."""
    request = {"form": form, "numbers": list(numbers), "answers": list(answers)}
    key = hashlib.sha256(json.dumps(request).encode()).hexdigest()
    if key not in self._known:
      self._known = {key: self._ask({"figures": request})}
    return self._known[key]

  def _ask(self, request: Mapping[str, Any]) -> Any:
    stdin, stdout = self._running.stdin, self._running.stdout
    assert stdin is not None and stdout is not None
    with self._lock:
      try:
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        line = stdout.readline()
      except BrokenPipeError:
        line = ""
    if not line:
      code = self._running.wait()
      raise errors.RunError(
        f"{PREFIX}{self._name.task}: the process of its metrics ended with {code}; what it said stands above"
      )
    reply = json.loads(line)
    if "error" in reply:
      raise errors.InputError(reply["error"])
    return reply["reply"]


@functools.lru_cache(32)
def process(name: Name) -> Process:
  """The process of a task, started once. It ends when this one does, as its standard input then does."""
  return Process(name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Foreign(official.Published):
  """A task of SeqIO as a published benchmark is had. task: what its name says."""

  task: Name

  def folder(self, roots: Sequence[str]) -> folders.Folder:
    """Its examples, whose digest stands for them; it has no files of ours."""
    del roots
    return _Examples("", task=self.task)

  def checked(self, settings: official.Settings) -> official.Settings:
    """The settings. Raises InputError for a variant, and for shots: the task writes its prompts itself."""
    check.require(not settings.variant, f"{self.name} has no variants; its split is named as {PREFIX}NAME/SPLIT")
    check.require(not settings.shots, f"{self.name}: a task of SeqIO writes its prompts itself: it takes no shots")
    return dataclasses.replace(settings, shots=0)


@dataclasses.dataclass(frozen=True)
class _Examples(folders.Folder):
  task: Name = Name("", "", ())

  def digest(self, patterns: Sequence[str]) -> str:
    """Of inputs and targets."""
    del patterns
    items = process(self.task).described["items"]
    return hashlib.sha256(json.dumps(items).encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class Figure(metrics_lib.Metric):
  """One of the figures of a task's metric functions, of values (number of the example, answer). It has no interval: the
  function is of all examples at once, whatever it makes of them."""

  task: Name
  form: str
  figure: str
  better: contracts.Better = "higher"

  def __call__(self, values: Sequence[metrics_lib.Value], clusters: Sequence[str]) -> metrics_lib.Figure:
    """The figure. Raises InputError where the functions give none of this name for these answers."""
    del clusters
    known = [value for value in values if value is not None]
    if not known:
      return metrics_lib.Figure(float("nan"), None, None, 0)
    found = process(self.task).figures(self.form, *map(list, zip(*known, strict=True)))
    if self.figure not in found:
      given = ", ".join(found) or "none"
      raise errors.InputError(f"{PREFIX}{self.task.task}: its metrics give no {self.figure!r} here; they give {given}")
    return metrics_lib.Figure(found[self.figure], None, None, len(known))


class Said(NamedTuple):
  """An answer, and the log-likelihood of the target."""

  response: requests_lib.Response
  score: requests_lib.Score


@dataclasses.dataclass(frozen=True, kw_only=True)
class Both(protocol.Ask):
  """Asks for an answer and for the log-likelihood of the target; the answer is both."""

  generate: ask_lib.Generate
  score: ask_lib.Score

  def __call__(
    self, items: Sequence[protocol.Item], responder: requests_lib.Responder, progress: requests_lib.Progress
  ) -> list[Any]:
    """Both of each item."""
    said: Sequence[Any] = self.generate(items, responder, progress)
    scored: Sequence[Any] = self.score(items, responder, progress)
    return [Said(*both) for both in zip(said, scored, strict=True)]

  def row(self, item: protocol.Item, answer: Any) -> dict[str, Any]:
    """What both show."""
    return {**self.score.row(item, answer.score), **self.generate.row(item, answer.response)}


def find(name: str) -> Foreign:
  """The benchmark of a name. The task is looked for when it is made."""
  task = parsed(name)
  return Foreign(
    name=".".join(filter(None, ("seqio", task.task, task.split))),
    axis="own",
    files=(),
    source=f"SeqIO task {task.task}",
    licence="",
    size="",
    metric="",
    make=lambda _, settings: _benchmark(task, settings),
    task=task,
  )


def _benchmark(task: Name, settings: official.Settings) -> protocol.Benchmark:
  described = process(task).described
  names: Mapping[str, Sequence[str]] = described["names"]
  made = {one: Figure(task, form, one) for form, ones in names.items() for one in ones}
  twice = set(names.get("predictions", ())) & set(names.get("scores", ()))
  check.require(not twice, f"{PREFIX}{task.task}: two of its metrics give {', '.join(sorted(twice))}")
  generate = official.generate(settings, **({} if settings.max_new_tokens else {"limit": _LIMIT}))
  score = ask_lib.Score(form=generate.form)
  asks = {"predictions": generate, "scores": score}
  ask = asks[next(iter(names))] if len(names) == 1 else Both(generate=generate, score=score)
  grade = functools.partial(_grade, names=names)
  items = functools.partial(_items, described["items"])
  return protocol.Benchmark(name=task.task, items=items, ask=ask, grade=protocol.each(grade), metrics=made)


def _items(given: Sequence[Mapping[str, str]]) -> Iterator[protocol.Item]:
  for number, one in enumerate(given):
    yield protocol.Item(id=str(number), question=one["inputs"], answer=one["targets"])


def _grade(item: protocol.Item, answer: Any, *, names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
  """The example's number and what was said of it, under every figure."""
  said = answer if isinstance(answer, Said) else Said(answer, answer)
  found: dict[str, Any] = {}
  if "predictions" in names:
    texts = [sample.text for sample in said.response.samples]
    found |= dict.fromkeys(names["predictions"], [int(item.id), texts[0] if len(texts) == 1 else texts])
  if "scores" in names:
    found |= dict.fromkeys(names["scores"], [int(item.id), said.score.logprob])
  return found
