"""Files of instruction data as examples: messages, Alpaca, ShareGPT, prompt/completion, question/answer, and
Super-NaturalInstructions; .json, .jsonl, and either with .gz.

Images are parts of a message's content, `{"type": "image", "image": path or data URL}`. Read as such are also parts
`image_url`, and rows with a column `images` (or `image`) whose places are parts without a source or the word <image> in
the text. Paths are relative to the data file.
"""

from collections.abc import Callable, Iterator
import dataclasses
import glob
import gzip
import hashlib
import json
import os
import re
from typing import Any

from itune_jax.core import conversation
from itune_jax.core import errors
from itune_jax.data import example as example_lib


@dataclasses.dataclass(frozen=True)
class Row:
  """One row of a file: where it stands, and the example or the reason why it is none."""

  file: str
  line: int
  example: example_lib.Example | None
  problem: str = ""


def read(path: str, format: str = "auto", source: dict[str, Any] | None = None) -> Iterator[Row]:
  """Rows of a file, a folder, or a glob pattern, in order of file name.

  Args:
    format: "auto" (by the keys of each row) or a name of FORMATS. source: provenance for rows without any.

  Raises:
    InputError when nothing is there or the format is unknown.
  """
  if format != "auto" and format not in FORMATS:
    raise errors.InputError(f"unknown format {format!r}; formats are auto, {', '.join(FORMATS)}")
  for file in files(path):
    for line, raw in _rows(file):
      try:
        raw = _object(raw)
        row = _with_images(_parse(raw, format), raw, os.path.dirname(file))
      except example_lib.BadRow as e:
        yield Row(file, line, None, str(e))
        continue
      stamped = {"dataset": os.path.basename(file), "kind": "annotated"} | (source or {}) | row.source
      yield Row(file, line, dataclasses.replace(row, source=stamped))


def examples(path: str, **how) -> list[example_lib.Example]:
  """All examples of a file. Raises InputError with the first bad row's line."""
  found = []
  for row in read(path, **how):
    if row.example is None:
      raise errors.InputError(f"{row.file}:{row.line}: {row.problem}")
    found.append(row.example)
  return found


def question(raw: Any, folder: str, begun: bool = False) -> conversation.Conversation:
  """What a row asks: the conversation up to its last answer, by the same formats as examples; one without an answer
  (a prompt alone, messages that end with the user's) is asked as it is. Raises BadRow.

  folder: which paths of images are relative to. begun: the last answer stays, and is to be continued.
  """
  raw = _object(raw)
  answer = next((given for asked, given in _ANSWERS.items() if asked in raw and not _known(raw)), None)
  example = _parse(raw if answer is None else {**raw, answer: "-"}, "auto")
  example = _with_images(example, raw, folder)
  if begun and answer is None and example.messages[-1]["role"] == "assistant":
    return dataclasses.replace(example.question, messages=example.messages)
  return example.question


def files(path: str) -> list[str]:
  """The data files behind a path. Raises InputError when there are none."""
  if os.path.isdir(path):
    found = sorted(
      f for ext in ("json", "jsonl", "json.gz", "jsonl.gz") for f in glob.glob(os.path.join(path, f"*.{ext}"))
    )
  else:
    found = [path] if os.path.exists(path) else sorted(glob.glob(path))
  if not found:
    raise errors.InputError(f"{path}: no such file, and no data files (.json, .jsonl, with or without .gz) behind it")
  return found


def _rows(file: str) -> Iterator[tuple[int, Any]]:
  opener = gzip.open if file.endswith(".gz") else open
  try:
    with opener(file, "rt", encoding="utf-8") as f:
      if file.removesuffix(".gz").endswith(".jsonl"):
        for line, text in enumerate(f, 1):
          if text.strip():
            yield line, text
      else:
        yield from _whole(file, f.read())
  except (OSError, EOFError, UnicodeDecodeError) as e:
    raise errors.InputError(f"{file}: cannot be read ({e})") from None


def _whole(file, text):
  try:
    content = json.loads(text)
  except ValueError:
    if text.lstrip().startswith("{") and "\n{" in text:  # JSON lines under the name .json
      yield from ((i, line) for i, line in enumerate(text.splitlines(), 1) if line.strip())
      return
    raise errors.InputError(f"{file}: is not JSON") from None
  if isinstance(content, dict) and "Instances" in content:
    for i, instance in enumerate(content["Instances"], 1):
      yield i, {"Definition": content.get("Definition"), **instance, "task": os.path.basename(file).split(".")[0]}
  elif isinstance(content, list):
    yield from enumerate(content, 1)
  else:
    raise errors.InputError(f"{file}: expected a list of rows, or a task file with Instances")


def _known(raw) -> str | None:
  """The format that a row's keys tell."""
  return next((name for name, keys in _KEYS.items() if any(all(key in raw for key in c) for c in keys)), None)


def _parse(raw, format) -> example_lib.Example:
  name = _known(raw) if format == "auto" else format
  if name is not None:
    return FORMATS[name](raw)
  raise example_lib.BadRow(f"no known format has the keys {sorted(raw)[:8]}")


def _object(raw) -> dict[str, Any]:
  if isinstance(raw, str):
    try:
      raw = json.loads(raw)
    except ValueError as e:
      raise example_lib.BadRow(f"not JSON ({e})") from None
  if not isinstance(raw, dict):
    raise example_lib.BadRow(f"a row is an object, this one is {type(raw).__name__}")
  return raw


def _with_images(example: example_lib.Example, raw: dict[str, Any], folder: str) -> example_lib.Example:
  """The example with every image as a part that names its own source."""
  column = raw.get("images", raw.get("image")) or []
  waiting = list(column) if isinstance(column, list) else [column]
  has_parts = any(isinstance(m.get("content"), list) for m in example.messages)
  if not waiting and not has_parts:
    return example
  messages = tuple(place_images(m, waiting, folder, bool(column)) for m in example.messages)
  if waiting:
    raise example_lib.BadRow(f"{len(waiting)} of its images have no place in the text: write <image> where they belong")
  own = raw.get("id") or hashlib.sha256(json.dumps(raw, sort_keys=True).encode()).hexdigest()[:16]
  return dataclasses.replace(example, messages=messages, id=str(own))


def place_images(message: dict[str, Any], waiting: list[Any], folder: str, markers: bool = False) -> dict[str, Any]:
  """A message whose image parts have absolute sources; those without one take the next of `waiting`.

  markers: whether the word <image> in its text is the place of one.
  """
  content = message.get("content")
  if markers and isinstance(content, str) and "<image>" in content:
    content = [
      {"type": "image"} if piece == "<image>" else {"type": "text", "text": piece}
      for piece in re.split(r"\n?(<image>)\n?", content)
      if piece
    ]
  if not isinstance(content, list):
    return message
  return {**message, "content": [_image_part(part, waiting, folder) for part in content]}


def _image_part(part, waiting, folder):
  if part.get("type") not in ("image", "image_url"):
    return part
  source = part.get("image", part.get("image_url", part.get("url", part.get("path"))))
  if source is None:
    if not waiting:
      raise example_lib.BadRow("an image part names no image, and the row's column `images` has none left for it")
    source = waiting.pop(0)
  if isinstance(source, dict):
    source = source.get("url", source.get("path"))
  if not isinstance(source, str):
    raise example_lib.BadRow("an image is a path or a data URL")
  if not source.startswith(("data:", "http://", "https://")):
    source = os.path.abspath(os.path.join(folder, source))
  return {"type": "image", "image": source}


def _text(raw, *keys) -> str:
  for key in keys:
    if isinstance(raw.get(key), str):
      return raw[key]
  raise example_lib.BadRow(f"no text under {' or '.join(keys)}")


def _messages(raw) -> example_lib.Example:
  return example_lib.from_json(raw)


def _alpaca(raw) -> example_lib.Example:
  instruction, given = _text(raw, "instruction"), raw.get("input") or ""
  turns = [{"role": "system", "content": raw["system"]}] if raw.get("system") else []
  for question, answer in raw.get("history") or ():
    turns += _pair(question, answer)
  return _build(
    raw, turns + _pair(f"{instruction}\n\n{given}" if given else instruction, _text(raw, "output", "response"))
  )


_SHAREGPT = {
  "human": "user",
  "user": "user",
  "gpt": "assistant",
  "assistant": "assistant",
  "chatgpt": "assistant",
  "bot": "assistant",
  "system": "system",
  "tool": "tool",
  "observation": "tool",
}


def _sharegpt(raw) -> example_lib.Example:
  turns = [{"role": "system", "content": raw["system"]}] if raw.get("system") else []
  conversation = raw.get("conversations", raw.get("conversation"))
  if not isinstance(conversation, list):
    raise example_lib.BadRow("`conversations` is not a list")
  for i, turn in enumerate(conversation):
    speaker = turn.get("from", turn.get("role")) if isinstance(turn, dict) else None
    if speaker not in _SHAREGPT:
      raise example_lib.BadRow(f"turn {i} is from {speaker!r}; speakers are {', '.join(_SHAREGPT)}")
    turns.append({"role": _SHAREGPT[speaker], "content": turn.get("value", turn.get("content"))})
  return _build(raw, turns)


def _prompt_completion(raw) -> example_lib.Example:
  prompt, answer = raw["prompt"], raw.get("completion", raw.get("response"))
  if isinstance(prompt, list):
    return _build(raw, [*prompt, *(answer if isinstance(answer, list) else _pair("", answer)[1:])])
  return _build(raw, _pair(_text(raw, "prompt"), _text(raw, "completion", "response")))


def _question_answer(raw) -> example_lib.Example:
  return _build(raw, _pair(_text(raw, "question"), _text(raw, "answer")))


def _natural(raw) -> example_lib.Example:
  definition = raw.get("Definition")
  definition = " ".join(definition) if isinstance(definition, list) else str(definition or "")
  outputs = raw.get("output")
  outputs = [outputs] if isinstance(outputs, str) else outputs
  if not outputs or not isinstance(raw.get("input"), str):
    raise example_lib.BadRow("an instance needs `input` and `output`")
  row = {
    "source": {"dataset": raw["task"], "template": raw["task"]} if raw.get("task") else {},
    "id": raw.get("id", ""),
    "check": {"name": "any_of", "answers": list(outputs)},
  }
  return _build(row, _pair(f"{definition}\n\n{raw['input']}".strip(), outputs[0]))


def _pair(user, assistant):
  return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


def _build(raw, messages) -> example_lib.Example:
  return example_lib.from_json(
    {
      **{k: raw.get(k) for k in ("id", "source", "language", "domain", "scores", "check", "tools")},
      "messages": messages,
    }
  )


FORMATS: dict[str, Callable[[dict[str, Any]], example_lib.Example]] = {
  "messages": _messages,
  "sharegpt": _sharegpt,
  "alpaca": _alpaca,
  "prompt_completion": _prompt_completion,
  "question_answer": _question_answer,
  "natural_instructions": _natural,
}

_ANSWERS = {"prompt": "completion", "instruction": "output", "question": "answer"}  # what a row lacks that only asks

_KEYS = {
  "messages": (("messages",),),
  "sharegpt": (("conversations",), ("conversation",)),
  "natural_instructions": (("Definition", "input", "output"),),
  "alpaca": (("instruction", "output"), ("instruction", "response")),
  "prompt_completion": (("prompt", "completion"), ("prompt", "response")),
  "question_answer": (("question", "answer"),),
}
