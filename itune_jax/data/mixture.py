"""What a run trains on, as a value: named sources with provenance, and how they mix."""

import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from typing import Literal

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import lazy
from itune_jax.data import file_digests
from itune_jax.data import mixing_text
from itune_jax.data import splits
from itune_jax.data.origins import origin as origin_lib
from itune_jax.data.origins import pins
from itune_jax.data.origins import values
from itune_jax.data.readers import named_columns as columns_lib
from itune_jax.data.readers import readers
from itune_jax.data.starter import rows as rows_lib

images = lazy.module("itune_jax.data.render.images")  # it loads what decodes pictures, which rows of text do without


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
  """A file, folder, glob, or a split of the starter set (`starter:train`, `heldout`, `pairs`, `heldout_pairs`,
  `unpaired`, `heldout_unpaired`); or a
  task of SeqIO, a data set of TFDS, a dataset of Grain, or another origin, which `itune prepare` reads once. `rate`
  weighs it when the mixture says "given".

  skip leaves the first rows out, stride then takes every so many-th, limit stops after so many: one file can be
  split, and a sample spread over it.

  name: of the source, in logs and figures. path: of the data. format: "auto" (told by the keys of each row) or the
  name of one; "preference" reads pairs of answers, "unpaired", "scored", "ranked", "stepwise" and
  "prompt_preference" what else may be said of answers (`readers.told_answers`). rate: its weight when the mixture says
  "given". kind: who wrote the answers; it is kept as provenance. licence: of the data, kept as provenance. skip: rows
  left out at the beginning. stride: of the rest, every so many-th is taken. limit: rows taken at most, 0 for all.
  held_out: a share of those rows, chosen by the hash of their text. take: all rows, the held-out ones, or the rest.
  columns: the column of each field of
  a schema that has another name, {"prompt": "q", "completion": "a"}; within an object "meta.q". held_out_by: what is
  hashed: "content", "id", or "column:NAME", whose values are clusters that stay together. held_out_where: "NAME=a,b"
  holds out the rows whose column NAME is one of these. task: a task or mixture registered
  with SeqIO, in place of a path. tfds: "name/config:version" of a TFDS data set on this machine. grain:
  "module:function" that returns a dataset of Grain with an end. origin: another origin, as a value. split: of the task
  or data set. data_dir: where SeqIO's caches, or TFDS's data sets, lie. chat: the mapping from their fields to a row:
  "inputs_targets", "ids", "rows", "json", or "module:function"; "" is "inputs_targets" for tasks, and
  "rows" for the others.
  teacher: a model whose own tokens of each conversation are put beside the student's, for a teacher of another
  vocabulary. context: what a teacher is told in front of each conversation (a system message), and the student is not.
  """

  name: str
  path: str = ""
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
  columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
  held_out_by: str = splits.CONTENT
  held_out_where: str = ""
  task: str = ""
  tfds: str = ""
  grain: str = ""
  origin: origin_lib.Origin | None = None
  split: str = ""
  data_dir: str = ""
  chat: str = ""

  def __post_init__(self):
    check.check_types(self)
    self.split_of.require(self.name)
    columns_lib.require(self.name, self.columns)
    check.require(
      not self.path.startswith("starter:") or not (self.columns or self.split_of.column),
      f"Source {self.name}: the starter set has no columns of other names",
    )
    named = [key for key in ("path", "task", "tfds", "grain", "origin") if self.__dict__[key]]
    check.require(
      len(named) == 1,
      f"Source {self.name}: it is read from {' and '.join(named) or 'nowhere'}; set one of path, task, tfds, grain, "
      "origin",
    )
    foreign = [key for key in ("split", "data_dir", "chat") if self.__dict__[key]]
    check.require(
      not foreign or named[0] in ("task", "tfds", "grain"),
      f"Source {self.name}: {' and '.join(foreign)} is of a task, of TFDS or of Grain, and it is read from {named[0]}",
    )
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
    check.require(
      self.take != "all" or not (self.held_out or self.held_out_where),
      f"Source {self.name}: held_out says which rows are kept apart, and take = 'all' takes them too: set take = "
      "'rest' to train on the others, or 'held_out' to measure on them",
    )
    check.require(self.rate > 0, f"Source {self.name}: rate = {self.rate}; it must be positive")
    check.require(
      self.stride > 0 and self.skip >= 0 and self.limit >= 0, f"Source {self.name}: stride >= 1, skip and limit >= 0"
    )

  @property
  def is_taught(self) -> bool:
    """Whether what a teacher reads stands beside each conversation."""
    return bool(self.teacher or self.context)

  def read_from(self) -> origin_lib.Origin | None:
    """What is no file and has to be read once by `itune prepare` (`data.opening`); None for files."""
    how = {key: value for key in ("split", "data_dir", "chat") if (value := self.__dict__[key])}
    where = how.pop("data_dir", "")
    if self.task:
      return values.Task(name=self.task, cache_dir=where, **how)
    if self.tfds:
      return values.Tfds(name=self.tfds, data_dir=where, **how)
    if self.grain:
      check.require(
        not ({"split"} & set(how) or where), f"Source {self.name}: a dataset of Grain has no split or folder"
      )
      return values.Grain(make=self.grain, **how)
    return self.origin

  @property
  def split_of(self) -> splits.Split:
    """Which of its rows are held out."""
    return splits.Split(self.held_out, self.held_out_by, self.held_out_where)

  @property
  def provenance(self) -> dict[str, str]:
    """What rows that say nothing of where they come from are given."""
    return {"dataset": self.name, "kind": self.kind} | ({"licence": self.licence} if self.licence else {})

  @property
  def is_of_files(self) -> bool:
    """Whether its rows are all those of files, and whether one is taken hangs on that row alone: then rows are read
    where they are converted, by any process."""
    whole = bool(self.path) and not self.path.startswith(_OWN) and not (self.skip or self.limit or self.stride > 1)
    return whole and (self.take == "all" or self.split_of.is_safe)

  def rows(self) -> Iterator[readers.Row]:
    """The rows of this source, in order, of which skip, stride and limit leave some."""
    whole = not (self.skip or self.limit or self.stride > 1)
    return splits.taken(self._selected, self.split_of, self.take, whole=whole)

  def _selected(self) -> Iterator[readers.Row]:
    rows = itertools.islice(self._all(), self.skip, None, self.stride)
    return itertools.islice(rows, self.limit) if self.limit else rows

  def _all(self):
    if self.path.startswith("starter:"):
      return rows_lib.rows(self.path.removeprefix("starter:"))
    if (origin := self.read_from()) is not None:
      raise errors.InputError(f"source {self.name} ({origin.called}) is read by `itune prepare`, and not here")
    if self.path.startswith(pins.SCHEME):
      return pins.rows(self.path.removeprefix(pins.SCHEME), self.format, self.provenance)
    return readers.read(self.path, self.format, self.provenance, self.columns, self.split_of.column)

  def digest(self, with_images: bool = False) -> str:
    """SHA-256 over the bytes of the data, of its image files if asked for, and what selects rows of it."""
    about = self.about()
    if self.path and not self.path.startswith(_OWN) and not with_images:
      return file_digests.digest(about, readers.files(self.path))
    sha = hashlib.sha256(about)
    if self.path.startswith("starter:"):
      for example in (row.example for row in self._all()):
        sha.update(json.dumps(example.to_json() if example else None, sort_keys=True).encode())
    elif self.path.startswith(pins.SCHEME):
      sha.update(pins.manifest(self.path.removeprefix(pins.SCHEME))["digest"].encode())
    else:
      for file in readers.files(self.path):
        with readers.content(file) as f:
          while block := f.read(1 << 20):
            sha.update(block)
    for file in self._image_files() if with_images else ():
      sha.update(files.sha256(file).encode() if os.path.isfile(file) else b"missing")
    return sha.hexdigest()

  def about(self) -> bytes:
    """What selects rows of the data, and what is said of them: its digest begins with it."""
    chosen = [self.format, self.kind, self.licence, self.limit, self.skip, self.stride, self.name]
    chosen += [self.held_out, self.take] if self.take != "all" else []
    chosen += [self.teacher, self.context] if self.is_taught else []
    if self.columns or not self.split_of.is_safe:
      chosen += [dict(self.columns), self.held_out_by, self.held_out_where]
    return json.dumps(chosen).encode()

  def _image_files(self) -> list[str]:
    """The image files that the rows name, each once, in order."""
    parts = [p for row in self.rows() if row.example for p in images.parts(row.example.messages)]
    return list(dict.fromkeys(p["image"] for p in parts if not str(p["image"]).startswith("data:")))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixture:
  """Sources and their rates.

  rates: "given" uses each source's rate; "proportional" is examples-proportional, each counted up to `cap`
  (T5, Raffel et al. 2020), raised to 1/temperature. bad_rows: "drop" counts and lists them, "refuse" stops.

  A source whose path says several things, as `--data` does (`mixing_text`), stands for all of them; shares written
  there make the rates "given".

  name: of the mixture, in logs and caches. sources: what is mixed. seqio: a task or mixture registered with SeqIO, in
  place of sources; its own rates hold. grain: "module:function" that returns a dataset of Grain, in place of sources,
  which is read, rendered and packed as it is trained on (`grain_feed`). manifest: the file that `itune prepare` wrote
  of a mixture, in place of sources: it is trained on as it was prepared, and no raw file is read. cap: examples that
  "proportional" counts of a source at most, 0 for no limit. temperature: above 1 it evens the rates out.
  """

  name: str
  sources: tuple[Source, ...] = ()
  rates: Literal["proportional", "given"] = "proportional"
  cap: int = 0
  temperature: float = 1.0
  bad_rows: Literal["drop", "refuse"] = "drop"
  seqio: str = ""
  grain: str = ""
  manifest: str = ""

  def __post_init__(self):
    check.check_types(self)
    if self.manifest:
      beside = self.sources or self.seqio or self.grain
      check.require(not beside, f"Mixture {self.name}: manifest = {self.manifest!r} stands in place of sources")
      return
    if self.seqio:
      check.require(not self.sources, f"Mixture {self.name}: seqio = {self.seqio!r} stands in place of sources")
      object.__setattr__(self, "sources", (Source(name=self.seqio, task=self.seqio),))
      object.__setattr__(self, "seqio", "")  # it is one of the sources now
    self._expand()
    if self.grain:
      check.require(not self.sources, f"Mixture {self.name}: grain = {self.grain!r} stands in place of sources")
      return
    names = [source.name for source in self.sources]
    check.require(
      names and len(set(names)) == len(names), f"Mixture {self.name}: sources need different names; got {names}"
    )
    check.require(
      self.cap >= 0 and self.temperature > 0,
      f"Mixture {self.name}: cap = {self.cap}, temperature = {self.temperature}; cap >= 0 (0 is none), temperature > 0",
    )

  def _expand(self) -> None:
    """Takes sources of one text apart."""
    read = [(s, mixing_text.read(s.path) if s.path and not s.path.startswith(_OWN) else []) for s in self.sources]
    if any(one.share is not None for _, found in read for one in found):
      check.require(
        len(self.sources) == 1, f"Mixture {self.name}: write rates as Source.rate where there are several sources"
      )
      object.__setattr__(self, "rates", "given")
    if any(not _is_path(found) for _, found in read):
      parts = tuple(part for source, found in read for part in _apart(source, found))
      object.__setattr__(self, "sources", parts)

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


_OWN = ("starter:", pins.SCHEME)
_FIELDS = {"path": "path", "seqio": "task", "tfds": "tfds", "grain": "grain"}


def _is_path(found: list[mixing_text.One]) -> bool:
  """Whether a text is one path, and says nothing else."""
  return len(found) < 2 and all(one.kind == "path" and one.share is None for one in found)


def _apart(source: Source, found: list[mixing_text.One]) -> list[Source]:
  """The sources that one stands for; names that would be the same are numbered."""
  if _is_path(found):
    return [source]
  names, made = [mixing_text.name(one) for one in found], []
  for i, one in enumerate(found):
    name = names[i] if names.count(names[i]) == 1 else f"{names[i]}_{names[: i + 1].count(names[i])}"
    own = {"name": name if len(found) > 1 else source.name, "path": "", _FIELDS[one.kind]: one.what}
    own |= {"split": one.split} if one.split else {}
    made.append(dataclasses.replace(source, **own, rate=source.rate if one.share is None else one.share))
  return made
