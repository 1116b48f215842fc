"""What a run trains on, as a value: named sources with provenance, and how they mix."""

import dataclasses
import hashlib
import json
import os
from typing import Literal

from itune_jax.core import check
from itune_jax.core import files
from itune_jax.data.render import images
from itune_jax.data.readers import readers
from itune_jax.data.starter import rows as rows_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
  """A file, folder, glob, or `starter:train` / `starter:heldout`. `rate` weighs it when the mixture says "given".

  skip leaves the first rows out, stride then takes every so many-th, limit stops after so many: one file can be
  split, and a sample spread over it.

  name: of the source, in logs and figures. path: of the data. format: "auto" (told by the keys of each row) or the
  name of one. rate: its weight when the mixture says "given". kind: who wrote the answers; it is kept as provenance.
  licence: of the data, kept as provenance. skip: rows left out at the beginning. stride: of the rest, every so
  many-th is taken. limit: rows taken at most, 0 for all.
  """

  name: str
  path: str
  format: str = "auto"
  rate: float = 1.0
  kind: Literal["annotated", "distilled", "self_generated"] = "annotated"
  licence: str = ""
  limit: int = 0
  skip: int = 0
  stride: int = 1

  def __post_init__(self):
    check.check_types(self)
    check.require(self.rate > 0, f"Source {self.name}: rate = {self.rate}; it must be positive")
    check.require(
      self.stride > 0 and self.skip >= 0 and self.limit >= 0, f"Source {self.name}: stride >= 1, skip and limit >= 0"
    )

  def rows(self):
    """The rows of this source, in order, of which skip, stride and limit leave some."""
    taken = 0
    for n, row in enumerate(self._all()):
      if n < self.skip or (n - self.skip) % self.stride:
        continue
      if self.limit and taken >= self.limit:
        return
      taken += 1
      yield row

  def _all(self):
    if self.path.startswith("starter:"):
      return rows_lib.rows(self.path.removeprefix("starter:"))
    provenance = {"dataset": self.name, "kind": self.kind} | ({"licence": self.licence} if self.licence else {})
    return readers.read(self.path, self.format, provenance)

  def digest(self, with_images: bool = False) -> str:
    """SHA-256 over the bytes of the data, of its image files if asked for, and what selects rows of it."""
    sha = hashlib.sha256(
      json.dumps([self.format, self.kind, self.licence, self.limit, self.skip, self.stride, self.name]).encode()
    )
    if self.path.startswith("starter:"):
      for example in (row.example for row in self._all()):
        sha.update(json.dumps(example.to_json() if example else None, sort_keys=True).encode())
    else:
      for file in readers.files(self.path):
        with open(file, "rb") as f:
          while block := f.read(1 << 20):
            sha.update(block)
    for file in self._image_files() if with_images else ():
      sha.update(files.sha256(file).encode() if os.path.isfile(file) else b"missing")
    return sha.hexdigest()

  def _image_files(self) -> list[str]:
    """The image files that the rows name, each once, in order."""
    parts = [p for row in self.rows() if row.example for p in images.parts(row.example.messages)]
    return list(dict.fromkeys(p["image"] for p in parts if not str(p["image"]).startswith("data:")))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixture:
  """Sources and their rates.

  rates: "given" uses each source's rate; "proportional" is examples-proportional, each counted up to `cap`
  (T5, Raffel et al. 2020), raised to 1/temperature. bad_rows: "drop" counts and lists them, "refuse" stops.

  name: of the mixture, in logs and caches. sources: what is mixed. cap: examples that "proportional" counts of a
  source at most, 0 for no limit. temperature: above 1 it evens the rates out.
  """

  name: str
  sources: tuple[Source, ...]
  rates: Literal["proportional", "given"] = "proportional"
  cap: int = 0
  temperature: float = 1.0
  bad_rows: Literal["drop", "refuse"] = "drop"

  def __post_init__(self):
    check.check_types(self)
    names = [source.name for source in self.sources]
    check.require(
      names and len(set(names)) == len(names), f"Mixture {self.name}: sources need different names; got {names}"
    )
