"""Stored responses as a responder: a file of answers that somebody made before is scored without a model.

A row is a JSON object with the id of an item, or its prompt, and a response: text, or a list of texts. Rows of
lm-evaluation-harness' sample files are read as well, and MT-bench's, whose turns answer ITEM, ITEM/2, …. What matches
no item, and items that no row answers, are counted and named.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import json
from typing import Any

from itune_jax.core import conversation as conversation_lib
from itune_jax.core import errors
from itune_jax.core import jsontext
from itune_jax.evals import folders
from itune_jax.sampling import requests as requests_lib

_IDS = ("id", "key", "task_id", "question_id", "item_id")
_PROMPTS = ("prompt", "instruction", "question")
_RESPONSES = ("response", "responses", "output", "outputs", "completion", "completions", "resps")


@dataclasses.dataclass(frozen=True)
class Row:
  """One row: what may name its item, in the order in which it is believed, and its responses."""

  where: str
  ids: tuple[str, ...]
  prompts: tuple[str, ...]
  responses: tuple[str, ...]


class Stored(requests_lib.Responder):
  """Answers from a file. Raises InputError with file and line for a row that cannot be read, and for two rows of one
  item."""

  def __init__(self, path: str):
    self._path = path
    self._rows = list(rows(path))
    if not self._rows:
      raise errors.InputError(f"{path}: holds no response")
    self._by_id = self._index(lambda row: row.ids[:1], "id")
    self._by_doc = self._index(lambda row: row.ids[1:], "")
    self._by_prompt = self._index(lambda row: row.prompts, "")
    self._used: set[str] = set()
    self.missing: list[str] = []

  def _index(self, names_of: Any, what: str) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for row in self._rows:
      for name in names_of(row):
        if what and name in found:
          raise errors.InputError(f"{row.where}: answers {what} {name!r} again, as {found[name].where} does")
        found.setdefault(name, row)
    return found

  def answer(
    self, requests: Sequence[requests_lib.Request], progress: requests_lib.Progress = lambda n: None
  ) -> list[requests_lib.Response]:
    """What the file has for each request; a sample that is `missing` where it has nothing."""
    found = [self._one(request) for request in requests]
    progress(len(found))
    return found

  def _one(self, request: requests_lib.Request) -> requests_lib.Response:
    name = request.id.partition("/")[2] or request.id
    row = self._by_id.get(name) or self._by_doc.get(name)
    row = row or next((self._by_prompt[p] for p in _texts(request.conversation) if p in self._by_prompt), None)
    if row is None:
      self.missing.append(name)
      return requests_lib.Response(request.id, (requests_lib.Sample("", "missing"),))
    self._used.add(row.where)
    return requests_lib.Response(request.id, tuple(requests_lib.Sample(text, "stop") for text in row.responses))

  @property
  def unmatched(self) -> list[str]:
    """The rows that answered nothing."""
    return list(dict.fromkeys(row.where for row in self._rows if row.where not in self._used))

  def said(self) -> str:
    """What was left over on either side, in one line; "" where nothing was."""
    parts = []
    if self.missing:
      parts.append(f"{len(self.missing)} items have no response ({_some(self.missing)})")
    if self.unmatched:
      parts.append(f"{len(self.unmatched)} rows match no item ({_some(self.unmatched)})")
    return f"{self._path}: {'; '.join(parts)}" if parts else ""


def _some(names: Sequence[str]) -> str:
  return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def rows(path: str) -> Iterator[Row]:
  """The rows of a file. lm-eval writes a response once for each filter of its task: it is one row here."""
  filtered: set[str] = set()
  for where, raw in folders.objects(path):
    if "filter" in raw and "resps" in raw:
      said = json.dumps([raw.get("doc_id"), raw.get("doc"), raw["resps"]], sort_keys=True)
      if said in filtered:
        continue
      filtered.add(said)
    given_doc = raw.get("doc")
    doc: dict[str, Any] = given_doc if isinstance(given_doc, dict) else {}
    ids = [str(given[name]) for given in (raw, doc) for name in _IDS if type(given.get(name)) in (str, int)]
    prompts = [given[name] for given in (raw, doc) for name in _PROMPTS if isinstance(given.get(name), str)]
    prompts += _argument(raw)
    if ids and isinstance(raw.get("choices"), list):
      for turn, text in enumerate(_turns(raw["choices"], where), 1):
        yield Row(where, (ids[0] if turn == 1 else f"{ids[0]}/{turn}",), (), (text,))
      continue
    if not ids and not prompts:
      raise errors.InputError(f"{where}: names no item; it needs one of {', '.join((*_IDS, *_PROMPTS))}")
    yield Row(where, tuple(dict.fromkeys(ids)), tuple(dict.fromkeys(prompts)), _responses(raw, where))


def _turns(choices: Sequence[Any], where: str) -> list[str]:
  """The answers to all turns of a row of FastChat's `model_answer`."""
  turns = choices[0].get("turns") if len(choices) == 1 and isinstance(choices[0], dict) else None
  if not isinstance(turns, list) or not turns or not all(isinstance(one, str) for one in turns):
    raise errors.InputError(f"{where}: choices is {jsontext.shown(choices)}; it must be one, with `turns` of text")
  return turns


def _argument(raw: Mapping[str, Any]) -> list[str]:
  """The prompt of a row of lm-evaluation-harness, which writes arguments as `gen_args_0.arg_0`, or as lists."""
  arguments = raw.get("arguments")
  if isinstance(arguments, dict):
    first = arguments.get("gen_args_0")
    arguments = [[first.get("arg_0")]] if isinstance(first, dict) else []
  if isinstance(arguments, list) and arguments and isinstance(arguments[0], list):
    return [one for one in arguments[0][:1] if isinstance(one, str)]
  return []


def _responses(raw: Mapping[str, Any], where: str) -> tuple[str, ...]:
  name = next((name for name in _RESPONSES if name in raw), None)
  if name is None:
    raise errors.InputError(f"{where}: holds no response; it is under one of {', '.join(_RESPONSES)}")
  value = raw[name]
  if name == "resps" and isinstance(value, list) and value and isinstance(value[0], list):
    value = value[0]
  texts = [value] if isinstance(value, str) else value
  if not isinstance(texts, list) or not texts or not all(isinstance(one, str) for one in texts):
    raise errors.InputError(f"{where}: {name} is {jsontext.shown(value)}; it must be text, or a list of texts")
  return tuple(texts)


def _texts(asked: conversation_lib.Conversation | str) -> list[str]:
  """What a row may call the prompt of a request: the whole of it, or its last text."""
  if isinstance(asked, str):
    return [asked]
  content = asked.messages[-1].get("content")
  return [content] if isinstance(content, str) else []
