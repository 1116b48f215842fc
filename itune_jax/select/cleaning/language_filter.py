"""The language that a text is in, by lingua's models of letters."""

from collections.abc import Iterable, Iterator, Sequence
import dataclasses
import functools
import itertools
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import lazy
from itune_jax.select import row_texts
from itune_jax.select import select_protocol
from itune_jax.select.cleaning import text_step

lingua = lazy.module("lingua")
BLOCK = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class Languages(select_protocol.Step):
  """Keeps rows in some languages, and writes the language of each into `language`.

  keep: codes of two letters (ISO 639-1), all without any. among: the languages that are told apart, all of lingua's
  without any; fewer are quicker and surer. field: the text that is looked at, without its code. letters: a text of
  fewer is not judged, is kept and counted. confidence: of a language that is believed; a row of a lower one is kept
  and counted too.
  """

  keep: tuple[str, ...] = ()
  among: tuple[str, ...] = ()
  field: str = row_texts.ALL
  letters: int = 20
  confidence: float = 0.5

  def __post_init__(self):
    check.check_types(self)
    check.require(0 <= self.confidence <= 1, f"Languages.confidence = {self.confidence}; it is between 0 and 1")
    lost = [code for code in self.keep if self.among and code not in self.among]
    check.require(not lost, f"Languages.keep: {', '.join(lost)} is not in Languages.among, and would never be found")
    check.require(self.letters >= 0, f"Languages.letters = {self.letters}; it counts")

  def apply(
    self, rows: Iterable[select_protocol.Row], notes: select_protocol.Notes
  ) -> Iterator[select_protocol.Outcome]:
    """Row by row, a block on all cores at once."""
    _known(self.keep, "keep")
    detector, stream = _detector(self.among), iter(rows)
    counts: dict[str, int] = {}
    notes["languages"] = counts
    while block := list(itertools.islice(stream, BLOCK)):
      for row, code in zip(block, self._codes(detector, block), strict=True):
        counts[code or "unknown"] = counts.get(code or "unknown", 0) + 1
        if not code:
          yield select_protocol.Outcome(row, marks=("language unknown",))
        elif self.keep and code not in self.keep:
          yield select_protocol.dropped(f"language {code}")
        else:
          yield select_protocol.Outcome({**row, "language": code})

  def _codes(self, detector: Any, block: Sequence[select_protocol.Row]) -> list[str]:
    texts = [text_step.prose(row_texts.get(row, self.field)) for row in block]
    judged = [i for i, text in enumerate(texts) if sum(map(str.isalpha, text)) >= self.letters]
    found = [""] * len(texts)
    values = detector.compute_language_confidence_values_in_parallel([texts[i] for i in judged])
    for i, each in zip(judged, values, strict=True):
      if each and each[0].value >= self.confidence:
        found[i] = each[0].language.iso_code_639_1.name.lower()
    return found


def _known(codes: Sequence[str], what: str) -> dict[str, Any]:
  """The languages of lingua by code. Raises InputError for codes that are none."""
  known = {language.iso_code_639_1.name.lower(): language for language in lingua.Language.all()}
  if unknown := [code for code in codes if code not in known]:
    raise errors.InputError(
      f"Languages.{what}: {unknown[0]!r} is none of lingua's codes of two small letters: {', '.join(sorted(known))}"
    )
  return known


@functools.lru_cache(4)
def _detector(among: tuple[str, ...]):
  builder = lingua.LanguageDetectorBuilder
  if not among:
    return builder.from_all_languages().build()
  known = _known(among, "among")
  return builder.from_languages(*(known[code] for code in among)).build()
