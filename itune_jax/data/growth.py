"""Which cache a file of JSON lines had when it was shorter: rows appended to it are then all that is converted.

`<root>/grown/<what>.json` says of a file, and of how its rows are read and rendered, which cache was last made of it,
and what the file was then: its size, and the digest of so many bytes.
"""

import hashlib
import json
import os
from typing import Any

from itune_jax.core import files
from itune_jax.data import file_digests
from itune_jax.data import mixture as mixture_lib
from itune_jax.data import records
from itune_jax.data import shards
from itune_jax.data.readers import readers
from itune_jax.data.readers import streams
from itune_jax.data.render import chat

_ENDINGS = (".jsonl", ".ndjson")


def note(root: str, source: mixture_lib.Source, renderer: chat.Renderer, key: str, folder: str) -> None:
  """Says that a source has this cache, if it may grow and the cache can be gone on with."""
  file = _file(source)
  if file and renderer.images is None and (shards.last_state(folder) or {}).get("ends_whole"):
    about = {"key": key, "size": os.path.getsize(file), "digest": source.digest()}
    files.write_json(_path(root, source, renderer), about)


def earlier(root: str, source: mixture_lib.Source, renderer: chat.Renderer, cut: shards.Cut) -> str:
  """The folder of the cache that the begin of a source has; "" where there is none.

  The file must hold what it held, byte for byte, up to an end of a line, and more behind it.
  """
  path, file = _path(root, source, renderer), _file(source)
  if not file or not os.path.exists(path):
    return ""
  known = files.read_object(path)
  folder = os.path.join(root, "tokenised", known["key"])
  state = shards.last_state(folder) if os.path.exists(os.path.join(folder, "manifest.json")) else None
  if state is None or state["of"] != cut.shard or not 0 < known["size"] < os.path.getsize(file):
    return ""
  return folder if file_digests.of_begin(source.about(), file, known["size"]) == known["digest"] else ""


def _file(source: mixture_lib.Source) -> str:
  """The one file of plain JSON lines that a source is, "" of another."""
  if not source.is_of_files or source.path == streams.STDIN or files.is_remote(source.path):
    return ""
  found = readers.files(source.path)
  if len(found) != 1 or not found[0].endswith(_ENDINGS):
    return ""
  with streams.raw(found[0]) as f:
    start = f.read(64)
  first = start.lstrip().splitlines()[:1]
  is_lines = bool(first) and first[0].startswith(b"{") and first[0].strip() != b"{"
  return found[0] if is_lines and not streams.compression(start) else ""


def _path(root: str, source: mixture_lib.Source, renderer: chat.Renderer) -> str:
  own: list[Any] = [os.path.abspath(source.path), source.about().decode(), renderer.tokenizer_digest]
  own += [renderer.digest(), records.VERSION, records.GROUPS_VERSION]
  return os.path.join(root, "grown", f"{hashlib.sha256(json.dumps(own).encode()).hexdigest()[:24]}.json")
