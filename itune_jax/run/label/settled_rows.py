"""What people settled on, as rows in the project's schemas: annotated conversations, scores, labels, preferences."""

from collections.abc import Iterator, Mapping
from typing import Any

from itune_jax.core import check
from itune_jax.data import example as example_lib
from itune_jax.data.readers import formats
from itune_jax.run.label import saying
from itune_jax.run.label import settling
from itune_jax.run.label import sheets
from itune_jax.run.label import shown_rows

Row = shown_rows.Row
HUMAN = "human"  # the score that a rating becomes
AGREEMENT = "agreement"


def rows(said: saying.Said, settled: Mapping[str, settling.Settled], field: str = "label") -> Iterator[Row]:
  """The rows of a sheet that were settled, in its order. field: the key that a label is written under.

  An answer becomes the last turn of a conversation (`source.kind` is then annotated; one that was left as it was keeps
  its kind). A rating becomes the score `human`. A preference is a row of the format of that name. All bear the
  agreement as a score, and who answered as `source.annotators`.
  """
  columns = tuple(said.sheet.origin.get("columns", ()))
  for item in said.sheet.items:
    if item.id in settled:
      yield _row(said.sheet.kind, item, settled[item.id], columns, field)


def _row(kind: sheets.Kind, item: sheets.Item, settled: settling.Settled, columns: tuple[str, ...], field: str) -> Row:
  if kind == "answer":
    return _answered(item, settled)
  if kind == "preference":
    sides = dict(item.sides)
    row = shown_rows.preferred(dict(item.row), columns, str(settled.value), sides)
    return _stamped(row, settled)
  own = {field: settled.value} if kind == "label" else {}
  more = {HUMAN: float(settled.value)} if kind == "rating" else {}
  return _stamped({**item.row, **own}, settled, more)


def _answered(item: sheets.Item, settled: settling.Settled) -> Row:
  """The conversation with the answer that was written."""
  messages, before = shown_rows.prompt(dict(item.row))
  row: Row = {key: value for key, value in item.row.items() if key in example_lib.ROW_KEYS}
  answer: dict[str, Any] = {"role": "assistant"}
  if before:
    found = formats.parse(dict(item.row))
    row, answer = found.to_json(), dict(found.messages[-1])
  source = _source(row)
  if before != settled.value:
    answer.pop("reasoning_content", None)  # it led to another answer
    source |= {"kind": "annotated"} | ({"corrected": True} if before else {})
  messages = [*messages, {**answer, "content": settled.value}]
  return _stamped({**row, "id": item.id, "messages": messages, "source": source}, settled)


def _stamped(row: Row, settled: settling.Settled, more: Mapping[str, float] | None = None) -> Row:
  """With the agreement, and who answered."""
  scores = {**(row.get("scores") or {}), **(more or {}), AGREEMENT: settled.agreement}
  return {**row, "scores": scores, "source": {**_source(row), "annotators": list(settled.by)}}


def _source(row: Mapping[str, Any]) -> dict[str, Any]:
  """Provenance as an object; a name alone is that of the data set."""
  given = row.get("source")
  if given is None:
    return {}
  check.require(isinstance(given, (str, dict)), f"row {row.get('id')}: its `source` is neither an object nor a name")
  return {"dataset": given} if isinstance(given, str) else dict(given)
