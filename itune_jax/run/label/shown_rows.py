"""Rows of a file as items of a sheet: what is shown of each, or why it cannot be asked."""

from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import json
import random
from typing import Any

from itune_jax.core import check
from itune_jax.core import ranges
from itune_jax.data import example as example_lib
from itune_jax.data.readers import building
from itune_jax.data.readers import formats
from itune_jax.data.readers import preferences
from itune_jax.run.label import sheets
from itune_jax.select import select_protocol

Row = select_protocol.Row
UNKNOWN = "no known format, or a field is not what its format says"
_PAIR = ("chosen", "rejected")


class CannotAsk(ValueError):
  """Why a row is no item, in words that name nothing of the row: they are counted."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class How:
  """How rows are asked. kind, values: of the sheet. columns: two keys of a row that hold the answers to compare, in
  place of `chosen` and `rejected` or `responses`. gold: the key of what is known to be right, "" for none. seed: of
  which side an answer stands on."""

  kind: sheets.Kind
  values: tuple[str, ...] = ()
  columns: tuple[str, ...] = ()
  gold: str = ""
  seed: ranges.Seed = 0

  def __post_init__(self):
    check.require(
      not self.columns or (len(set(self.columns)) == 2 and self.kind == "preference"),
      f"--columns={','.join(self.columns)}: it names the two keys of --kind=preference that hold answers",
    )
    check.require(not self.gold or self.kind != "answer", "--gold: answers in words are not right or wrong by a value")


def item(row: Row, how: How) -> sheets.Item:
  """The item of a row. Raises CannotAsk."""
  if not isinstance(row.get("scores") or {}, dict):
    raise CannotAsk("its `scores` is no object")
  try:
    found = _pair(row, how) if how.kind == "preference" else _single(row, how)
  except example_lib.BadRow:
    raise CannotAsk(UNKNOWN) from None
  gold = _gold(row, how, found)
  return dataclasses.replace(found, row=row, gold=gold, harmful=row.get("harmful") is True)


def id_of(row: Row) -> str:
  """The id of a row: its own, or a digest of all of it."""
  own = row.get("id")
  if isinstance(own, (str, int)) and not isinstance(own, bool) and str(own):
    return str(own)
  return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()[:16]


def prompt(row: Row) -> tuple[list[dict[str, Any]], str]:
  """The messages that are asked and the answer that the row has, "" without one. Raises BadRow."""
  given = {key: value for key, value in row.items() if value or key not in building.ANSWERS}
  if formats.known(given) is None:
    asked, _ = preferences.asked_beside(given)
    if not asked:
      raise example_lib.BadRow("it asks nothing")
    return asked, ""
  found = formats.parse(given)
  if found.messages and found.messages[-1]["role"] != "assistant":
    return [dict(message) for message in found.messages], ""
  return found.prompt, found.answer


def turns(messages: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
  """(role, text) of messages, as a person reads them."""
  return tuple((str(message["role"]), _text(message)) for message in messages)


def placed(id: str, seed: int, first: tuple[str, str], second: tuple[str, str]) -> tuple[tuple[str, str], ...]:
  """Two (system, text) in an order that hangs on the seed and the id alone."""
  return (second, first) if random.Random(f"{seed} {id}").random() < 0.5 else (first, second)


def is_preference(row: Row, columns: Sequence[str]) -> bool:
  """Whether a row is a preference already, of which people say whether they share it."""
  return not columns and all(key in row for key in _PAIR)


def preferred(row: Row, columns: Sequence[str], better: str, sides: Mapping[str, str]) -> Row:
  """The row as a preference, in the format of that name. better: the name of the answer that is preferred. sides: the
  texts of both by name."""
  if is_preference(row, columns):
    own = {key: value for key, value in row.items() if key not in ("margin", "score_chosen", "score_rejected")}
    return own if better == _PAIR[0] else {**own, "chosen": row["rejected"], "rejected": row["chosen"]}
  used = (*columns, *_PAIR) if columns else ("responses", *_PAIR)
  (worse,) = (text for name, text in sides.items() if name != better)
  return {**{k: v for k, v in row.items() if k not in used}, "chosen": sides[better], "rejected": worse}


def _single(row: Row, how: How) -> sheets.Item:
  messages, answer = prompt(row)
  if how.kind == "rating" and not answer.strip():
    raise CannotAsk("it has no answer to rate")
  if how.kind == "answer" and formats.known(row) is not None and formats.parse(row).messages[-1].get("tool_calls"):
    raise CannotAsk("its last turn calls tools")
  return sheets.Item(id=id_of(row), turns=turns(messages), answer=answer)


def _pair(row: Row, how: How) -> sheets.Item:
  names, texts, messages = _sides(row, how.columns)
  if not all(text.strip() for text in texts):
    raise CannotAsk("an answer of its pair is empty")
  if texts[0] == texts[1]:
    raise CannotAsk("its two answers are the same")
  id = id_of(row)
  sides = placed(id, how.seed, (names[0], texts[0]), (names[1], texts[1]))
  preferences.parse(preferred(row, how.columns, names[1], dict(sides)))  # what comes back must be readable
  return sheets.Item(id=id, turns=turns(messages), sides=sides)


def _sides(row: Row, columns: Sequence[str]) -> tuple[tuple[str, str], list[str], Sequence[Mapping[str, Any]]]:
  """The names and texts of both answers, and what they answer."""
  if is_preference(row, columns):
    found = preferences.parse(row)
    shared = len(found.prompt)
    if len(found.messages) != shared + 1 or len(found.rejected) != shared + 1:
      raise CannotAsk("an answer of its pair has several turns")
    texts = [example_lib.text(side[-1]["content"] or "") for side in (found.messages, found.rejected)]
    return _PAIR, texts, found.prompt
  if columns:
    names, given = (columns[0], columns[1]), [row.get(name) for name in columns]
  else:
    names, given = ("first", "second"), row.get("responses")
  if not isinstance(given, list) or len(given) != 2 or not all(isinstance(one, str) for one in given):
    where = " and ".join(columns) or "`chosen` and `rejected`, nor a list `responses`"
    raise CannotAsk(f"it has no two texts to compare under {where}")
  used = columns or ("responses",)
  asked, _ = preferences.asked_beside({key: value for key, value in row.items() if key not in used})
  return names, [str(one) for one in given], asked


def _gold(row: Row, how: How, found: sheets.Item) -> str | float | None:
  """What is known to be right of a control. Raises CannotAsk for a value that nobody could give."""
  value = row.get(how.gold) if how.gold else None
  if value is None or value == "":
    return None
  known = [name for name, _ in found.sides] + [sheets.TIE] if how.kind == "preference" else list(how.values)
  text = f"{value:g}" if isinstance(value, float) else str(value)
  if text not in known:
    raise CannotAsk(f"its {how.gold!r} is none of the values")
  return float(text) if how.kind == "rating" else text


def _text(message: Mapping[str, Any]) -> str:
  content = message.get("content")
  parts = content if isinstance(content, (list, tuple)) else [content]
  texts = [one.get("text", f"[{one.get('type', 'part')}]") if isinstance(one, Mapping) else one for one in parts]
  said = "".join(text for text in texts if isinstance(text, str))
  calls = message.get("tool_calls")
  return "\n".join(filter(None, [said, json.dumps(calls, ensure_ascii=False) if calls else ""]))
