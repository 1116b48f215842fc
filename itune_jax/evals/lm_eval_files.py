"""lm-evaluation-harness's files of samples (`samples_TASK_TIME.jsonl`), read as rows.

A line is a document behind one filter. The format is that of lm-eval 0.4.13 (`evaluator.evaluate`,
`loggers/evaluation_tracker.py`, `result_schema.SampleResult`); arguments as lists, which lm-eval wrote before 0.4.4,
are read too.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import gzip
import json
from typing import Any, NamedTuple

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files

FILTER = "none"  # lm-eval's name for answers as they are


class Logprob(NamedTuple):
  """Of one given text: its log-probability in nats, and whether greedy decoding would give it."""

  logprob: float
  is_greedy: bool


@dataclasses.dataclass(frozen=True)
class Row:
  """One line of a samples file.

  id: the document's number. prompt: as the model read it. responses: what it said, of each repeat; filtered: the same
  behind the filter. logprobs: of given continuations, where nothing was generated (a rolling text has one, never
  greedy). metrics: its values by name. where: file and line.
  """

  id: str
  doc: Mapping[str, Any]
  doc_hash: str
  prompt: str
  target: str
  responses: tuple[str, ...]
  filtered: tuple[str, ...]
  continuations: tuple[str, ...]
  logprobs: tuple[Logprob, ...]
  filter: str
  metrics: Mapping[str, Any]
  where: str

  @property
  def response(self) -> str:
    """The first answer. Raises InputError where the file is of a task that generates none."""
    check.require(self.responses, f"{self.where}: a task that scores given texts has no responses")
    return self.responses[0]


def is_samples(line: Mapping[str, Any]) -> bool:
  """Whether a row of JSON lines is one of a samples file."""
  return all(key in line for key in ("doc_id", "arguments", "resps", "filtered_resps"))


def read(path: str) -> list[Row]:
  """The lines of a samples file (`.gz` too). Raises InputError, with file and line, for what is none."""
  with files.opened(path, "rb") as f:
    held = f.read()
  try:
    text = (gzip.decompress(held) if path.endswith(".gz") else held).decode()
  except (OSError, EOFError, UnicodeDecodeError) as e:
    raise errors.InputError(f"{path}: cannot be read as lines of UTF-8 ({e})") from None
  numbered = [(f"{path}:{number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
  check.require(numbered, f"{path}: no line of samples")
  return [row_of(_parsed(text, where), where) for where, text in numbered]


def _parsed(text: str, where: str) -> Mapping[str, Any]:
  try:
    line = json.loads(text)
  except ValueError as e:
    raise errors.InputError(f"{where}: no JSON ({e})") from None
  check.require(isinstance(line, dict), f"{where}: a line of samples is an object")
  return line


def row_of(line: Mapping[str, Any], where: str) -> Row:
  """A line as it was read from JSON. Raises InputError naming what it lacks."""
  missing = [key for key in ("doc_id", "doc", "arguments", "resps", "filtered_resps", "metrics") if key not in line]
  check.require(not missing, f"{where}: {', '.join(missing)} missing: this is no line of lm-eval's samples")
  try:
    asked = _arguments(line["arguments"])
    said = [list(repeats) for repeats in line["resps"]]
    generates = len(asked[0]) > 1 and isinstance(asked[0][1], Mapping)
    texts = tuple(map(str, said[0])) if generates else ()
    filtered = line["filtered_resps"]
    return Row(
      id=str(line["doc_id"]),
      doc=line["doc"],
      doc_hash=str(line.get("doc_hash", "")),
      prompt=str(asked[0][0]),
      target=str(line.get("target", "")),
      responses=texts,
      filtered=_filtered(filtered) if generates else (),
      continuations=() if generates else tuple(str(one[1]) for one in asked if len(one) > 1),
      logprobs=() if generates else tuple(_logprob(repeats[0]) for repeats in said),
      filter=str(line.get("filter", FILTER)),
      metrics={name: line[name] for name in line["metrics"] if name in line},
      where=where,
    )
  except (TypeError, ValueError, IndexError, KeyError) as e:
    raise errors.InputError(f"{where}: arguments or resps are not as lm-eval writes them ({e!r})") from None


def _arguments(given: Any) -> list[list[Any]]:
  """The arguments of each request: by name since lm-eval 0.4.4, as lists before."""
  if isinstance(given, Mapping):
    return [[one[f"arg_{i}"] for i in range(len(one))] for one in (given[f"gen_args_{k}"] for k in range(len(given)))]
  return [list(one) for one in given]


def _filtered(given: Sequence[Any]) -> tuple[str, ...]:
  """A filter leaves one text, or one for each repeat."""
  first = given[0]
  return tuple(map(str, first)) if isinstance(first, list) else (str(first),)


def _logprob(given: Any) -> Logprob:
  if isinstance(given, (list, tuple)):
    return Logprob(float(given[0]), str(given[1]) == "True")
  return Logprob(float(given), False)
