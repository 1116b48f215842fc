"""Evaluations that this project wrote: folders of NAME.json (figures), NAME.jsonl (a row an item), and, of published
benchmarks, NAME.key (what the figures hang on)."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import json
import math
import os
import typing
from typing import Any

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import jsontext
from itune_jax.evals import folders
from itune_jax.evals import judged
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.evals.benchmarks import registry
from itune_jax.evals.robust import variation
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.run import costs
from itune_jax.run.comparison import evaluated

# What a row says of its item itself; all else is shown as it is.
_KNOWN = frozenset(
  [
    "id",
    "benchmark",
    "cluster",
    "tags",
    "values",
    "prompt",
    "messages",
    "output",
    "outputs",
    "answer",
    "verdict",
    "stopped",
    "choices",
    "logprobs",
    "harmful",
    "usage",
  ]
)

# What of a key is the model itself, which is what one compares.
_MODEL = frozenset(["key", "benchmark", "base", "base_digest", "model", "methods", "imports", "arrays", "responder"])


def is_one(folder: str) -> bool:
  """Whether a folder holds evaluations of this project."""
  return any(_is_figures(folder, name) for name in files.names(folder))


def read(folder: str) -> dict[str, evaluated.Evaluation]:
  """The evaluations of a folder by name. Raises InputError with file and line for what cannot be read."""
  names = [name.removesuffix(".json") for name in files.names(folder) if _is_figures(folder, name)]
  varied = _varied(folder)
  return {name: _evaluation(folder, name, [one for one in varied if one.benchmark == name]) for name in names}


def _varied(folder: str) -> list[variation.Line]:
  """What `itune eval --robust` found of the benchmarks of a folder. Raises InputError for a file that is none of it."""
  path = os.path.join(folder, variation.FOLDER, variation.FILE)
  if not files.exists(path):
    return []
  hints, found = typing.get_type_hints(variation.Line), files.read_object(path).get("lines")
  if not isinstance(found, list):
    raise errors.InputError(f"{path}: lines is {jsontext.shown(found)}, no list; evaluate again")
  for one in found:
    whole = isinstance(one, dict) and one.keys() == hints.keys()
    check.require(whole, f"{path}: a line is {jsontext.shown(one)}, which is none of --robust; evaluate again")
    for name, value in one.items():
      known = check.fits(value, hints[name])
      check.require(known, f"{path}: {name} of a line is {jsontext.shown(value)}; evaluate again")
  return [variation.Line(**one) for one in found]


def labels(run_dir: str) -> list[str]:
  """The folders of evaluations of a run directory."""
  found = [os.path.join(run_dir, "evals", name) for name in files.names(os.path.join(run_dir, "evals"))]
  return [folder for folder in found if is_one(folder)]


def _is_figures(folder: str, name: str) -> bool:
  """A file of figures is one with rows beside it, or a list of figures itself."""
  if not name.endswith(".json"):
    return False
  path = os.path.join(folder, name)
  if files.exists(f"{path}l") or files.exists(f"{path}l.gz"):
    return True
  found = files.read_json(path)
  return isinstance(found, list) and bool(found) and all(isinstance(one, dict) and "benchmark" in one for one in found)


def _evaluation(folder: str, name: str, varied: Sequence[variation.Line]) -> evaluated.Evaluation:
  path = os.path.join(folder, f"{name}.json")
  stored = files.read_json(path)
  if not isinstance(stored, list):
    raise errors.InputError(f"{path}: is no list of results; evaluate again")
  results = [_result(one, path) for one in stored]
  key = os.path.join(folder, f"{name}.key")
  told = files.read_object(key) if files.exists(key) else {}
  ways = _ways(name, told)
  rows = next((one for one in (f"{path}l", f"{path}l.gz") if files.exists(one)), "")
  items = _items(rows) if rows else {}
  keys = dict.fromkeys(judge for item in items.values() if (judge := item.more.get("judge")))
  judges = {"judge": ", ".join(keys)} if keys else {}
  told_of_data = os.path.join(folder, evaluated.HELD_FILE)
  is_held = any(one.metric == evaluated.SHARE for one in results) and files.exists(told_of_data)
  held = {"contamination": str(files.read_object(told_of_data).get("data"))} if is_held else {}
  return evaluated.Evaluation(
    benchmark=name,
    where=rows or path,
    items=items,
    figures={(one.metric, one.tag): one for one in results},
    of=max([one.of for one in results if not one.tag], default=len(items)) or len(items),
    settings=dict(_flat({key: value for key, value in told.items() if key not in _MODEL})) | judges | held,
    cost=costs.read(folder).get(name),
    varied=tuple(varied),
    axis=registry.find(name).axis if name in registry.ROWS else "",
    better={**dict.fromkeys(evaluated.DERIVED, "lower"), **{metric: way.better for metric, way in ways.items()}},
    ways=ways,
  )


def _ways(name: str, told: Mapping[str, Any]) -> Mapping[str, metrics_lib.Metric]:
  """The metrics of a published benchmark of this name, asked as its key tells. None of a user's own, and none of
  settings that the benchmark has no more: then figures tell how they were made."""
  if name not in registry.ROWS:
    return {}
  known = {field.name for field in dataclasses.fields(official.Settings)} - {"sandbox"}  # no metric hangs on it
  given = {key: value for key, value in (told.get("settings") or {}).items() if key in known}
  published = registry.find(name)
  given["variant"] = given.get("variant") or next(iter(published.variants), "")
  given["shots"] = published.shots if given.get("shots") is None else given["shots"]
  try:
    if isinstance(given.get("judge"), dict):
      given["judge"] = judged.recalled(given["judge"])
    return published.make(folders.Folder(""), official.Settings(**given)).metrics
  except errors.InputError:
    return {}


def _flat(told: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
  """Values by dotted names."""
  for name, value in told.items():
    if isinstance(value, dict):
      yield from _flat(value, f"{prefix}{name}.")
    else:
      yield f"{prefix}{name}", _text(value)


def _result(one: Any, path: str) -> contracts.Result:
  try:
    found = contracts.Result(**one)
  except TypeError:
    raise errors.InputError(f"{path}: is no list of results; evaluate again") from None
  for field, hint in typing.get_type_hints(contracts.Result).items():
    value = found._asdict()[field]
    check.require(check.fits(value, hint), f"{path}: {field} of a result is {jsontext.shown(value)}; evaluate again")
  return found


def _items(path: str) -> dict[str, evaluated.Item]:
  """The items of a file of rows; none of rows that say nothing of items one by one, as earlier
  versions wrote those of a held-out loss."""
  rows = list(folders.objects(path, halves=True))
  without = [where for where, row in rows if "values" not in row]
  if len(without) == len(rows):
    return {}
  if without:
    raise errors.InputError(f"{without[0]}: has no 'values', as other rows of this file do; evaluate again")
  found: dict[str, evaluated.Item] = {}
  for where, row in rows:
    item = _item(row, where)
    if item.id in found:
      raise errors.InputError(f"{where}: a second row of item {item.id!r}; ids must differ")
    found[item.id] = item
  return found


def _item(row: Mapping[str, Any], where: str) -> evaluated.Item:
  """The item of a row. Raises InputError for one without id or values, and for a value that is not finite."""
  for name, kind in (("id", str), ("values", dict)):
    folders.field(dict(row), name, kind, where)
  for name, kind in (("tags", dict), ("outputs", list), ("choices", list), ("logprobs", list)):
    if row.get(name) is not None:
      folders.field(dict(row), name, kind, where)
  scores = row.get("logprobs") or []
  numbers = all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in scores)
  check.require(
    not row.get("choices") or not scores or (numbers and len(scores) == len(row["choices"])),
    f"{where}: `logprobs` must be a number for each of `choices`",
  )
  values = dict(row["values"])
  for name, value in values.items():
    if isinstance(value, float) and not math.isfinite(value):
      raise errors.InputError(f"{where}: the value of {name} is {value}, which no figure can be made of")
  verdicts = evaluated.VERDICTS if "verdict" in row else ()
  values |= {name: float(row["verdict"] == name) for name in verdicts if name not in values}
  if "thinking_cut" in row:
    values["thinking_cut"] = float(row["thinking_cut"])
  return evaluated.Item(
    id=row["id"],
    values=values,
    cluster=str(row.get("cluster") or row["id"]),
    tags=_tags(row, where),
    prompt=tuple(turns(row.get("messages") or row.get("prompt", ""))),
    answer=_answer(row),
    expected=_text(row["answer"]) if row.get("answer") is not None else "",
    verdict=str(row.get("verdict", "")),
    harmful=bool(row.get("harmful", False)),
    more={name: _spoken(value) for name, value in row.items() if name not in _KNOWN and value is not None},
  )


def turns(prompt: Any) -> Iterator[tuple[str, str]]:
  """(role, text) of each turn of a prompt: text, or messages with content that is text or parts."""
  if not isinstance(prompt, list) or not all(isinstance(one, dict) and "role" in one for one in prompt):
    yield "", _text(prompt)
    return
  for message in prompt:
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text", f"[{part.get('type', 'part')}]") if isinstance(part, dict) else part for part in parts]
    yield str(message["role"]), "".join(_text(text) for text in texts if text is not None)


def _answer(row: Mapping[str, Any]) -> str:
  if row.get("outputs") is not None:
    return "\n\n".join(f"[{k}] {_text(one)}" for k, one in enumerate(row["outputs"], 1))
  if "output" in row:
    return _text(row["output"])
  if row.get("choices") and row.get("logprobs"):
    return chosen(row["choices"], row["logprobs"])
  return f"log-probability {row['logprob']:.4f}" if isinstance(row.get("logprob"), float) else ""


def chosen(choices: Any, logprobs: Any) -> str:
  """Choices with their log-probabilities, the likeliest marked."""
  best = max(logprobs)
  lines = (f"{'→' if lp == best else ' '} {lp:9.3f}  {_text(c)}" for c, lp in zip(choices, logprobs, strict=True))
  return "\n".join(lines)


def _spoken(value: Any) -> str:
  """What somebody said, as it was said: the texts of a list or an object one below the other."""
  if isinstance(value, dict):
    return "\n".join(f"{name}: {_spoken(one)}" for name, one in value.items())
  if isinstance(value, list) and any(isinstance(one, (str, dict)) for one in value):
    return "\n\n".join(f"[{k}] {_spoken(one)}" for k, one in enumerate(value, 1))
  return _text(value)


def _text(value: Any) -> str:
  return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _tags(row: Mapping[str, Any], where: str) -> dict[str, tuple[str, ...]]:
  """The tags of a row by name. Raises InputError for one that is neither a text or number nor a list of such."""
  found = {}
  for name, value in (row.get("tags") or {}).items():
    each = value if isinstance(value, list) else [value]
    plain = all(one is None or isinstance(one, (str, int, float)) for one in each)
    check.require(plain, f"{where}: the tag {name!r} is {jsontext.shown(value)}; it must be a text, or a list of texts")
    found[name] = tuple(map(str, protocol.tagged(value)))
  return found
