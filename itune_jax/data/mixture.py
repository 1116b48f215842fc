"""What a run trains on, as a value: named sources with provenance, and how they mix."""

from collections.abc import Mapping
import dataclasses
import hashlib
import json
import os
from typing import Literal

from itune_jax.core import check
from itune_jax.core import files
from itune_jax.core import lazy
from itune_jax.data import example as example_lib
from itune_jax.data.readers import readers
from itune_jax.data.starter import rows as rows_lib

images = lazy.module("itune_jax.data.render.images")  # it loads what decodes pictures, which rows of text do without


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
  """A file, folder, glob, or a split of the starter set (`starter:train`, `heldout`, `pairs`, `heldout_pairs`,
  `unpaired`, `heldout_unpaired`). `rate` weighs it when the mixture says "given".

  skip leaves the first rows out, stride then takes every so many-th, limit stops after so many: one file can be
  split, and a sample spread over it.

  name: of the source, in logs and figures. path: of the data. format: "auto" (told by the keys of each row) or the
  name of one; "preference" reads pairs of answers, "unpaired", "scored", "ranked", "stepwise" and
  "prompt_preference" what else may be said of answers (`readers.answers`). rate: its weight when the mixture says
  "given". kind: who wrote the answers; it is kept as provenance. licence: of the data, kept as provenance. skip: rows
  left out at the beginning. stride: of the rest, every so many-th is taken. limit: rows taken at most, 0 for all.
  held_out: a share of those rows, chosen by the hash of their text. take: all rows, the held-out ones, or the rest.
  teacher: a model whose own tokens of each conversation are put beside the student's, for a teacher of another
  vocabulary. context: what a teacher is told in front of each conversation (a system message), and the student is not.
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
  held_out: float = 0.0
  take: Literal["all", "rest", "held_out"] = "all"
  teacher: str = ""
  context: str = ""

  def __post_init__(self):
    check.check_types(self)
    check.require(0 <= self.held_out < 1, f"Source {self.name}: held_out must be a share below 1, not {self.held_out}")
    judged = {"pairs": readers.PREFERENCE, "unpaired": "unpaired"}
    wants = next((judged[end] for end in judged if self.path.startswith("starter:") and self.path.endswith(end)), None)
    check.require(
      wants is None or self.format == wants,
      f"Source {self.name}: {self.path} holds {'pairs' if wants == readers.PREFERENCE else 'single answers'}: set "
      f"Source.format = {wants!r}",
    )
    check.require(
      not (self.is_taught and self.format in readers.JUDGED),
      f"Source {self.name}: teacher and context are for conversations, not for the format {self.format!r}",
    )
    check.require(self.rate > 0, f"Source {self.name}: rate = {self.rate}; it must be positive")
    check.require(
      self.stride > 0 and self.skip >= 0 and self.limit >= 0, f"Source {self.name}: stride >= 1, skip and limit >= 0"
    )

  @property
  def is_taught(self) -> bool:
    """Whether what a teacher reads stands beside each conversation."""
    return bool(self.teacher or self.context)

  def rows(self):
    """The rows of this source, in order, of which skip, stride and limit leave some."""
    taken = 0
    for n, row in enumerate(self._all()):
      if n < self.skip or (n - self.skip) % self.stride:
        continue
      if self.limit and taken >= self.limit:
        return
      taken += 1
      if (
        self.take == "all" or row.example is None or _held_out(row.example, self.held_out) == (self.take == "held_out")
      ):
        yield row

  def _all(self):
    if self.path.startswith("starter:"):
      return rows_lib.rows(self.path.removeprefix("starter:"))
    provenance = {"dataset": self.name, "kind": self.kind} | ({"licence": self.licence} if self.licence else {})
    return readers.read(self.path, self.format, provenance)

  def digest(self, with_images: bool = False) -> str:
    """SHA-256 over the bytes of the data, of its image files if asked for, and what selects rows of it."""
    chosen = [self.format, self.kind, self.licence, self.limit, self.skip, self.stride, self.name]
    chosen += [self.held_out, self.take] if self.take != "all" else []
    chosen += [self.teacher, self.context] if self.is_taught else []
    sha = hashlib.sha256(json.dumps(chosen).encode())
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
    check.require(
      self.cap >= 0 and self.temperature > 0,
      f"Mixture {self.name}: cap = {self.cap}, temperature = {self.temperature}; cap >= 0 (0 is none), temperature > 0",
    )

  def shares(self, counts: Mapping[str, int]) -> dict[str, float]:
    """The share of each source in what is drawn, summing to 1, of sources with so many examples.

    Examples-proportional mixing as SeqIO has it (`seqio.mixing_rate_num_examples`): the smaller of count and cap, to
    the power of 1/temperature; a cap of 0 is none.
    """
    if self.rates == "given":
      raw = {source.name: source.rate for source in self.sources}
    else:
      of = lambda n: float(min(n, self.cap or n)) ** (1.0 / self.temperature)
      raw = {source.name: of(counts[source.name]) for source in self.sources}
    total = sum(raw.values())
    check.require(total > 0, f"Mixture {self.name}: no source has an example")
    return {name: rate / total for name, rate in raw.items()}


def _held_out(example: example_lib.Example, share: float) -> bool:
  """Whether a row is among the held-out ones: its hash, as a number below 1, is below the share."""
  text = json.dumps([example.messages, example.tools], sort_keys=True, ensure_ascii=False, default=str)
  digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
  return int.from_bytes(digest[:8], "big") / 2**64 < share
