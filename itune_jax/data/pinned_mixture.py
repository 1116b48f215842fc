"""A prepared mixture that is pinned by its manifest: what is trained on is what `itune prepare` left, byte for byte.

The manifest says of every file of its sources how many bytes it has and their digest, and of the rendering what it was.
A run that is given it reads no file of raw data, and needs none. Digests are kept by name, size and time of change
(`file_digests`): a file that has not changed since is not read for its digest again.
"""

import dataclasses
import os
from collections.abc import Iterable, Mapping
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.data import file_digests
from itune_jax.data import tokenised
from itune_jax.data.render import chat
from itune_jax.data.render import tokenizer as tokenizer_lib

_PINS = "pins"
_ENDINGS = (".arrayrecord", ".npy", ".json")


def pins(root: str, keys: Iterable[str], renderer: chat.Renderer) -> dict[str, Any]:
  """What goes into a manifest so that it pins its sources, by their keys."""
  found = {key: _files(tokenised.source_folder(root, key)) for key in keys}
  return {_PINS: {"rendering": renderer.digest(), "files": found}}


def has_pins(manifest: Mapping[str, Any]) -> bool:
  """Whether a manifest pins its sources; those of an earlier version do not."""
  return _PINS in manifest


def read(path: str, renderer: chat.Renderer) -> dict[str, Any]:
  """The manifest of a prepared mixture, whose files are there and are what it says, made for this renderer.

  Raises InputError, naming what differs: no manifest, a file that is missing, of another length or of other bytes,
  another tokenizer, template or rendering.
  """
  check.require(not files.is_remote(path), f"{path}: a mixture is read from a disk: mount the bucket, or copy it here")
  manifest = files.read_object(path)
  known = isinstance(manifest.get("sources"), list) and isinstance(manifest.get("rates"), dict)
  check.require(known, f"{path}: is no manifest of a prepared mixture; itune prepare says where it writes one")
  check.require(has_pins(manifest), f"{path}: an earlier version wrote it, without pins: run itune prepare again")
  try:
    _require_rendering(path, manifest, renderer)
    for source in manifest["sources"]:
      folder = folder_of(path, source["key"])
      for name, (size, digest) in manifest[_PINS]["files"][source["key"]].items():
        _require_file(path, os.path.join(folder, name), size, digest)
  except (KeyError, TypeError, ValueError, AttributeError) as e:  # somebody wrote in it
    raise errors.InputError(
      f"{path}: is no whole manifest ({type(e).__name__}: {e}): run itune prepare again"
    ) from None
  return manifest


def folder_of(path: str, key: str) -> str:
  """The folder of a source of a manifest: as `itune prepare` leaves them, beside the folder of the manifest."""
  return tokenised.source_folder(os.path.dirname(os.path.dirname(os.path.abspath(path))), key)


def _files(folder: str) -> dict[str, tuple[int, str]]:
  """The bytes and the digest of each file of a source that training reads."""
  names = [name for name in files.names(folder) if name.endswith(_ENDINGS)]
  each = {name: os.path.join(folder, name) for name in names}
  return {name: (os.path.getsize(one), file_digests.digest(b"", [one])) for name, one in each.items()}


def _require_file(path: str, file: str, size: int, digest: str) -> None:
  if not os.path.exists(file):
    raise errors.InputError(f"{path}: {file} is missing: copy the folder `tokenised` beside that of the manifest")
  there = os.path.getsize(file)
  cure = "it is not what was prepared: copy it again, or run itune prepare"
  check.require(there == size, f"{path}: {file} has {there:,} bytes, and {size:,} in the manifest: {cure}")
  check.require(
    file_digests.digest(b"", [file]) == digest, f"{path}: {file} has other bytes than the manifest says: {cure}"
  )


def _require_rendering(path: str, manifest: Mapping[str, Any], renderer: chat.Renderer) -> None:
  for source in manifest["sources"]:
    own = {"tokenizer": source["tokenizer_sha256"], "chat template": source["chat_template_sha256"]}
    given = {"tokenizer": renderer.tokenizer_digest, "chat template": tokenizer_lib.template_digest(renderer.tokenizer)}
    for what, digest in own.items():
      if digest != given[what]:
        raise errors.InputError(
          f"{path}: source {source['name']} was prepared with another {what} ({digest[:12]}) than this model's "
          f"({given[what][:12]}): name the model that it was prepared for, or prepare again"
        )
    values = dataclasses.asdict(renderer.config)
    other = [
      f"{name} = {source['rendering'].get(name)!r}, not {value!r}"
      for name, value in values.items()
      if source["rendering"].get(name) != value
    ]
    check.require(not other, f"{path}: source {source['name']} was rendered with {'; '.join(other)}: set it so")
  check.require(
    manifest[_PINS]["rendering"] == renderer.digest(),
    f"{path}: it was rendered by another version, or for a model of another kind: run itune prepare again",
  )
