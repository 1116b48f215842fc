"""lm-evaluation-harness's `samples_TASK_DATE.jsonl`, with what `results_DATE.json` beside it says of them."""

from collections.abc import Iterator, Mapping
import json
import os
import re
from typing import Any

from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import jsontext
from itune_jax.evals import folders
from itune_jax.run.comparison import evaluated
from itune_jax.run.comparison import own_folders

_NAME = re.compile(r"samples_(?P<task>.+?)(?:_(?P<date>\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?))?\.jsonl(?:\.gz)?")
# The harness writes numpy's truth values and numbers as text.
_AS_TEXT: Mapping[str, Any] = {"True": True, "False": False, "nan": None}


def is_one(name: str) -> bool:
  """Whether a file of this name is one of the harness's samples."""
  return _NAME.fullmatch(os.path.basename(name)) is not None


def found_in(folder: str) -> list[str]:
  """The files of samples of a folder, and of its subfolders (the harness makes one for each model)."""
  inside = [os.path.join(folder, name) for name in files.names(folder)]
  deeper = [os.path.join(path, name) for path in inside if os.path.isdir(path) for name in files.names(path)]
  return [path for path in (*inside, *deeper) if is_one(path)]


def read(paths: list[str]) -> dict[str, evaluated.Evaluation]:
  """The evaluations of files of samples, by task. Raises InputError with file and line for what cannot be read, and for
  two files of one task: which one is meant is not guessed."""
  found: dict[str, evaluated.Evaluation] = {}
  for path in paths:
    one = _evaluation(path)
    if one.benchmark in found:
      raise errors.InputError(f"{path}: task {one.benchmark} is in {found[one.benchmark].where} too; name one of them")
    found[one.benchmark] = one
  return found


def _evaluation(path: str) -> evaluated.Evaluation:
  match = _NAME.fullmatch(os.path.basename(path))
  assert match, path
  task = match["task"]
  rows = list(folders.objects(path, halves=True))
  filters = {_filter(row, where) for where, row in rows}
  items = _items(rows, several=len(filters) > 1)
  beside = os.path.join(os.path.dirname(path), f"results_{match['date']}.json")
  told = files.read_object(beside) if match["date"] and files.exists(beside) else {}
  of = _under(told, "n-samples", task).get("original", 0)
  if type(of) is not int or of < 0:
    raise errors.InputError(f"{beside}: n-samples of {task} is {jsontext.shown(of)}; it must be a number of items")
  settings = {"version": _under(told, "versions").get(task), "shots": _under(told, "n-shot").get(task)}
  higher = _under(told, "higher_is_better", task)
  return evaluated.Evaluation(
    benchmark=task,
    where=path,
    items=items,
    figures=_figures(task, _under(told, "results", task), len(items)),
    of=of or len(items),
    settings={name: str(value) for name, value in settings.items() if value is not None},
    better={
      metric: "higher" if higher[metric.split(",")[0]] else "lower"
      for item in list(items.values())[:1]
      for metric in item.values
      if isinstance(higher.get(metric.split(",")[0]), bool)
    },
  )


def _filter(row: Mapping[str, Any], where: str) -> str:
  name = row.get("filter", "none")
  if not isinstance(name, str):
    raise errors.InputError(f"{where}: filter is {jsontext.shown(name)}; it must be a name")
  return name


def _under(told: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
  for name in names:
    inside = told.get(name)
    told = inside if isinstance(inside, dict) else {}
  return told


def _figures(task: str, told: Mapping[str, Any], n: int) -> dict[tuple[str, str], contracts.Result]:
  """Of `{"acc,none": 0.5}`. Errors are the harness's own; ours are made of the rows."""
  pairs = ((name, value) for name, value in told.items() if "," in name and "_stderr," not in name)
  numbers = ((_metric(*name.split(",", 1)), value) for name, value in pairs if isinstance(value, (int, float)))
  return {(name, ""): contracts.Result(task, name, float(value), "", None, None, n, n) for name, value in numbers}


def _metric(name: str, filter_name: str) -> str:
  return name if filter_name == "none" else f"{name},{filter_name}"


def _items(rows: list[tuple[str, dict[str, Any]]], several: bool) -> dict[str, evaluated.Item]:
  """Items by the hash of their document, or by their number where a file has no hashes; each filter of the harness is
  a row of its own, and a metric of its own here."""
  by_number: dict[str, list[tuple[str, dict[str, Any]]]] = {}
  for where, row in rows:
    if not isinstance(row.get("metrics"), list):
      raise errors.InputError(f"{where}: has no list 'metrics': samples of lm-eval before 0.4.3, or of something else")
    by_number.setdefault(str(folders.field(row, "doc_id", (int, str), where)), []).append((where, row))
  found: dict[str, evaluated.Item] = {}
  for number, same in by_number.items():
    values: dict[str, Any] = {}
    for where, row in same:
      for metric, value in _values(row, where):
        if metric in values:
          raise errors.InputError(f"{where}: a second value of {metric} for document {number}")
        values[metric] = value
    row = same[0][1]
    document = str(row.get("doc_hash") or "")
    name = document[:16] or number
    name = name if name not in found else f"{name} ({number})"  # the same text twice
    found[name] = _item(name, document, number, values, [row for _, row in same], several)
  return found


def _values(row: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any]]:
  for name in row["metrics"]:
    if not isinstance(name, str):
      raise errors.InputError(f"{where}: lists the metric {jsontext.shown(name)}; it must be a name")
    if name not in row:
      raise errors.InputError(f"{where}: lists the metric {name!r} and has no value of it")
    yield _metric(name, row.get("filter", "none")), _value(row[name])


def _value(value: Any) -> Any:
  """A list of truth values is how many of them are true, and how many there are: their metric is a micro mean."""
  if isinstance(value, list) and value and all(isinstance(one, bool) for one in value):
    return [sum(value), len(value)]
  if isinstance(value, str):
    if value in _AS_TEXT:
      return _AS_TEXT[value]
    try:
      return float(value)
    except ValueError:
      return value
  return None if value != value else value


def _item(
  name: str, document: str, number: str, values: Mapping[str, Any], rows: list[dict[str, Any]], several: bool
) -> evaluated.Item:
  row = rows[0]
  asked = _arguments(row.get("arguments"))
  more = {"doc_id": number}
  if several:
    more |= {f"filtered, {one.get('filter')}": _plain(one.get("filtered_resps")) for one in rows}
  return evaluated.Item(
    id=name,
    values=values,
    cluster=name,
    document=document,
    prompt=tuple(own_folders.turns(_messages(asked[0][0]))) if asked and asked[0] else (),
    answer=_answer(row, asked),
    expected=_plain(row.get("target")),
    more=more,
  )


def _arguments(given: Any) -> list[list[Any]]:
  """Of each request what it was asked with; newer files name them gen_args_0 and arg_0."""
  if isinstance(given, dict):
    given = list(given.values())
  lists = [list(one.values()) if isinstance(one, dict) else one for one in _list(given)]
  return [one for one in lists if isinstance(one, list)]


def _list(given: Any) -> list[Any]:
  return given if isinstance(given, list) else []


def _messages(prompt: Any) -> Any:
  """A prompt, or the messages that it is as JSON (as the harness gives them to a chat endpoint)."""
  text = prompt[0] if isinstance(prompt, list) and len(prompt) == 1 else prompt
  if isinstance(text, str) and text.lstrip().startswith("[{"):
    try:
      return jsontext.loads(text)
    except ValueError:
      return text
  return text


def _answer(row: Mapping[str, Any], asked: list[list[Any]]) -> str:
  responses, scored = _list(row.get("resps")), _list(row.get("filtered_resps"))
  numbers = all(isinstance(one, list) and one and isinstance(_value(one[0]), (int, float)) for one in scored)
  if len(asked) > 1 and len(scored) == len(asked) and numbers:
    logprobs = [float(one[0]) for one in scored]
    return own_folders.chosen([one[1] if len(one) > 1 else "" for one in asked], logprobs)
  texts = [text for request in responses for text in (request if isinstance(request, list) else [request])]
  if len(texts) == 1:
    return _plain(texts[0])
  return "\n\n".join(f"[{k}] {_plain(text)}" for k, text in enumerate(texts, 1))


def _plain(value: Any) -> str:
  return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
