"""Where the images of a row stand in its messages, and where their files are.

Images are parts of a message's content, `{"type": "image", "image": path or data URL}`. Read as such are also parts
`image_url`, and rows with a column `images` (or `image`) whose places are parts without a source or the word <image> in
the text, of a content or of a part. Paths are relative to the data file, and do not lead out of its folder; one from
the root stands for itself. Bytes, as `datasets` keeps them in tables, become data URLs.
"""

import base64
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from itune_jax.core import jsontext
from itune_jax.data import example as example_lib
from itune_jax.data import fields
from itune_jax.data import messages as messages_lib

_MARKER = "<image>"
_ADDRESS = re.compile(r"data:|[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def with_images(example: example_lib.Example, raw: Mapping[str, Any], folder: str) -> example_lib.Example:
  """The example with every image as a part that names its own source. Raises BadRow."""
  columns = [
    raw[key] for key in example_lib.IMAGE_KEYS if not fields.is_null(raw.get(key)) and raw[key] not in ("", [])
  ]
  if len(columns) > 1:
    raise fields.BadRow("it has both columns `images` and `image`")
  column = columns[0] if columns else []
  waiting = list(column) if isinstance(column, list) else [column]
  empty = any(raw.get(key) in ("", []) for key in example_lib.IMAGE_KEYS)
  if empty and not waiting and any(_MARKER in messages_lib.text_of(m.get("content")) for m in example.messages):
    raise fields.BadRow(f"its text writes {_MARKER}, and its column of images is empty")
  if not waiting and not any(isinstance(m.get("content"), list) for m in example.messages):
    return example
  messages = tuple(place(m, waiting, folder, bool(columns)) for m in example.messages)
  if waiting:
    raise fields.BadRow(f"{len(waiting)} of its images have no place in the text: write <image> where they belong")
  named = not fields.is_null(raw.get("id")) and raw["id"] != ""
  own = hashlib.sha256(json.dumps(raw, sort_keys=True, default=repr).encode()).hexdigest()[:16]
  return dataclasses.replace(example, messages=messages, id=example.id if named else own)


def place(message: Mapping[str, Any], waiting: list[Any], folder: str, markers: bool = False) -> dict[str, Any]:
  """A message whose image parts have absolute sources; those without one take the next of `waiting`.

  markers: whether the word <image> in its text is the place of one.
  """
  content = message.get("content")
  if markers and isinstance(content, str) and _MARKER in content:
    content = _pieces(content)
  if not isinstance(content, list):
    return dict(message)
  parts = [piece for part in content for piece in (_split(part) if markers else [part])]
  return {**message, "content": [_image_part(part, waiting, folder) for part in parts]}


def _split(part):
  """A part of text as parts of text and of images where it marks them."""
  return _pieces(part["text"]) if part.get("type") == "text" and _MARKER in part["text"] else [part]


def _pieces(text):
  found = (piece for piece in re.split(r"\n?(<image>)\n?", text) if piece)
  return [{"type": "image"} if piece == _MARKER else {"type": "text", "text": piece} for piece in found]


def _image_part(part, waiting, folder):
  if part.get("type") not in ("image", "image_url"):
    return part
  source = next((part[key] for key in ("image", "image_url", "url", "path") if key in part), None)
  if source is None:
    if not waiting:
      raise fields.BadRow("an image part names no image, and the row's column `images` has none left for it")
    source = waiting.pop(0)
  if isinstance(source, dict) and isinstance(source.get("bytes"), bytes):
    source = "data:image/png;base64," + base64.b64encode(source["bytes"]).decode()
  if isinstance(source, dict):
    source = next((source[key] for key in ("url", "path") if not fields.is_null(source.get(key))), None)
  if not isinstance(source, str) or not source.strip():
    raise fields.BadRow(f"an image is a path or a data URL, not {jsontext.shown(source)}")
  fields.text(source, "the path of an image")
  if not _ADDRESS.match(source):
    if not os.path.isabs(source) and os.path.normpath(source).startswith(".."):
      raise fields.BadRow(
        f"the image {jsontext.shown(source)} lies outside of the data file's folder: name it from the root"
      )
    source = os.path.abspath(os.path.join(folder, source))
  return {"type": "image", "image": source}
