"""The data of a run as a page: what its sources hold, which rows are left out and why, and a sample of rows to search.

Every row is counted, and compared with those before it by its text; of each source the same number of rows, drawn by a
seed, is read and rendered. So a million rows take a pass over their files, and the page is as long for them as for a
thousand.
"""

import base64
import collections
from collections.abc import Callable, Iterable, Sequence
import dataclasses
import hashlib
import itertools
import json
import os
import random
from typing import Any

import jinja2
import markupsafe

from itune_jax.core import errors
from itune_jax.data import converting
from itune_jax.data import example as example_lib
from itune_jax.data import mixture as mixture_lib
from itune_jax.data import splits
from itune_jax.data.readers import readers
from itune_jax.data.readers import row_ids
from itune_jax.data.render import chat
from itune_jax.select.cleaning import language_filter

SHOWN = 6000  # characters of a row on the page
BINS = (0, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)  # borders of lengths in tokens
_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}  # what could end the element that JSON stands in
Pieces = Callable[[Sequence[int], Sequence[float]], Iterable[tuple[str, float]]]


@dataclasses.dataclass(frozen=True)
class Sampled:
  """Rows of a source: how many there are, how many repeat an earlier one to the letter, and those that were drawn."""

  rows: int
  repeated: int
  entries: list[converting.Entry]


def data(
  sources: Sequence[mixture_lib.Source],
  renderer: chat.Renderer,
  pieces: Pieces,
  manifests: Sequence[dict[str, Any] | None],
  sample: int,
) -> dict[str, Any]:
  """What the page shows. pieces: the text and weight of each token of a row. manifests: of the sources that are
  prepared, whose counts are those of all rows. sample: rows that are drawn of each source."""
  found, rows = [], []
  for number, (source, manifest) in enumerate(zip(sources, manifests, strict=True)):
    sampled = draw(source, sample)
    own = [row for entry in sampled.entries for row in _rows(source, entry, renderer, pieces)]
    _add_languages(own)
    for row in own:
      row["source"] = number
    rows += own
    found.append(_source(source, sampled, own, manifest))
  return {"sources": found, "rows": rows, "bins": BINS}


def draw(source: mixture_lib.Source, count: int) -> Sampled:
  """So many rows of a source, each as likely as any other, in their order: one pass, and no more of them in memory."""
  entries = readers.raws(source.path) if source.is_of_files else source.rows()
  rng, seen, kept, repeated, total = random.Random(0), row_ids.IdSet(), {}, 0, 0
  for total, entry in enumerate(entries, 1):
    repeated += not seen.add(row_ids.digest(_text(entry)))
    place = total - 1 if total <= count else rng.randrange(total)
    if place < count:
      kept[place] = (total, entry)
  return Sampled(total, repeated, [entry for _, entry in sorted(kept.values(), key=lambda one: one[0])])


def _text(entry: converting.Entry) -> str:
  if isinstance(entry, readers.Row):
    return splits.content(entry.example) if entry.example is not None else f"{entry.problem} {entry.line}"
  return entry.value if isinstance(entry.value, str) else json.dumps(entry.value, default=str, sort_keys=True)


def _rows(
  source: mixture_lib.Source, entry: converting.Entry, renderer: chat.Renderer, pieces: Pieces
) -> Iterable[dict[str, Any]]:
  if isinstance(entry, readers.Row):
    read = [entry]
  else:
    how = readers.How(source.format, dict(source.columns), source.split_of.column)
    read = readers.rows_of(entry, how, source.provenance).rows
    read = list(splits.taken(lambda: read, source.split_of, source.take))
  for row in read:
    yield {"where": f"{row.file}:{row.line}", "schema": row.schema or "unknown", **_shown(row, renderer, pieces)}


def _shown(row: readers.Row, renderer: chat.Renderer, pieces: Pieces) -> dict[str, Any]:
  """Tokens, and the text in stretches of one weight; or why there are none."""
  try:
    if row.example is None:
      raise example_lib.BadRow(row.problem)
    rendered = renderer.render(dataclasses.replace(row.example, rejected=(), others=(), values=()))
  except (example_lib.BadRow, errors.InputError) as e:
    said = renderer.shown(row.example)[:SHOWN] if row.example is not None else ""
    return {"dropped": str(e), "tokens": 0, "trained": 0, "text": [[said, 0.0]], "language": ""}
  stretches, left = [], SHOWN
  for one in rendered:
    tokens = pieces(one.ids.tolist(), one.weights.tolist())
    for weight, run in itertools.groupby(tokens, key=lambda token: token[1]):
      text = "".join(text for text, _ in run)[:left]
      left -= len(text)
      stretches += [[text, weight]] if text else []
  weights = collections.Counter(float(w) for one in rendered for w in one.weights.tolist())
  found = {"dropped": "", "tokens": sum(weights.values()), "trained": sum(n for w, n in weights.items() if w)}
  language = row.example.language if row.example is not None else ""
  return {**found, "weights": sorted(weights.items()), "text": stretches, "language": language, "cut": left <= 0}


def _add_languages(rows: list[dict[str, Any]]) -> None:
  """The languages of rows that say none, by lingua where it is installed."""
  unknown = [row for row in rows if not row["language"] and not row["dropped"]]
  texts = [{"text": "".join(text for text, _ in row["text"])} for row in unknown]
  try:
    outcomes = list(language_filter.Languages(field="text").apply(texts, {}))
  except errors.InputError:  # lingua is of the extra `data`
    outcomes = [None] * len(unknown)
  for row, outcome in zip(unknown, outcomes, strict=True):
    said = outcome.row if outcome is not None else None
    row["language"] = str((said or {}).get("language", "unknown"))


def _source(
  source: mixture_lib.Source, sampled: Sampled, rows: list[dict[str, Any]], manifest: dict[str, Any] | None
) -> dict[str, Any]:
  """Counts of a source: of all its rows where it is prepared, else of those that were drawn."""
  kept = [row for row in rows if not row["dropped"]]
  of = lambda name: collections.Counter(row[name] for row in kept).most_common()
  weights: collections.Counter[float] = collections.Counter()
  for row in kept:
    weights.update(dict(row["weights"]))
  drops = collections.Counter(row["dropped"] for row in rows if row["dropped"]).most_common()
  lengths = [
    sum(low < row["tokens"] <= high for row in kept) for low, high in zip(BINS, (*BINS[1:], 1e18), strict=True)
  ]
  counts: dict[str, Any] = {"kept": len(kept), "dropped": len(rows) - len(kept), "drops": drops}
  if manifest is not None:
    told = collections.Counter(manifest["dropped_by_reason"]).most_common()
    counts = {"kept": manifest["kept"], "dropped": manifest["dropped"], "drops": told}
    counts |= {"tokens": manifest["tokens"], "trained": manifest["trained_tokens"]}
  return {
    "name": source.name,
    "path": source.path,
    "kind": source.kind,
    "licence": source.licence,
    "rows": sampled.rows,
    "repeated": sampled.repeated,
    "sampled": len(rows),
    "prepared": manifest is not None,
    **counts,
    "schemas": of("schema"),
    "languages": of("language"),
    "lengths": lengths,
    "weights": sorted(weights.items()),
  }


def page(title: str, found: dict[str, Any]) -> str:
  """One file without network, whose only script is its own."""
  loader = jinja2.FileSystemLoader(os.path.dirname(__file__))
  environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, loader=loader)
  script = environment.get_template("explorer.js.j2").render()
  text = environment.get_template("explorer.html.j2").render(
    title=title,
    found=found,
    data=markupsafe.Markup(json.dumps(found, ensure_ascii=False, allow_nan=False).translate(_ESCAPES)),
    script=markupsafe.Markup(script),
    digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
  )
  return text.encode("utf-8", "backslashreplace").decode()
