"""Tags by a model, out of closed sets: task, domain, difficulty, language, skills."""

from collections.abc import Mapping
import dataclasses
import json
from typing import Any, Literal

from itune_jax.core import check
from itune_jax.core import conversation as conversation_lib
from itune_jax.select import row_fields
from itune_jax.select import row_texts
from itune_jax.select import select_protocol
from itune_jax.select.standard import asked_rows

SETS = (
  ("task", ("question", "writing", "summary", "translation", "rewriting", "classification", "extraction", "reasoning",
            "math", "code", "brainstorming", "conversation", "other")),
  ("domain", ("general", "science", "technology", "medicine", "law", "finance", "education", "history", "arts",
              "entertainment", "daily life", "other")),
  ("difficulty", ("easy", "medium", "hard")),
  ("language", ("en", "de", "fr", "es", "it", "pt", "nl", "ru", "zh", "ja", "ko", "ar", "hi", "other")),
  ("skills", ("knowledge", "comprehension", "logic", "arithmetic", "programming", "planning", "creativity",
              "formatting", "multilingual", "none")),
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class AskedTags(asked_rows.AskedStep):
  """Writes tags into `tags`: {"task": "summary", "skills": ["logic"], …}, and into `tagged_by` who gave each. A tag
  that a row has stays, and is not asked for. A value out of its set is not read, and counted by its tag.

  sets: (tag, values) of each tag that is asked for. many: the tags of which a row may have several values. field: the
  text that is tagged. letters: so many characters of it are shown at the most.
  """

  sets: tuple[tuple[str, tuple[str, ...]], ...] = SETS
  many: tuple[str, ...] = ("skills",)
  field: str = row_texts.PROMPT
  letters: int = 4000
  limit: int = 200
  unread: Literal["keep", "drop"] = "keep"

  def __post_init__(self):
    super().__post_init__()
    names = [name for name, _ in self.sets]
    check.require(
      names and all(len(values) > 1 for _, values in self.sets), "AskedTags.sets: a tag has two values or more"
    )
    check.require(len(set(names)) == len(names), f"AskedTags.sets has a tag twice: {', '.join(names)}")
    check.require(self.letters > 0, f"AskedTags.letters = {self.letters}; it counts from 1")

  writes = {"tagged_by": row_fields.object_in}

  def question(self, row: select_protocol.Row) -> conversation_lib.Conversation | select_protocol.Outcome:
    """The sets that the row lacks a tag of, and its text."""
    if not isinstance(row.get("tags") or {}, dict):
      return select_protocol.Outcome(row, marks=("`tags` is no object: left as it is",))
    wanted, text = self._wanted(row), row_texts.get(row, self.field)
    if not wanted:
      return select_protocol.Outcome(row)
    if not text.strip():
      return select_protocol.Outcome(row, marks=("no text to tag",))
    lines = [
      f"- {name}: {'a list of one or more' if name in self.many else 'one'} of {', '.join(values)}"
      for name, values in wanted.items()
    ]
    asked = "Tag the text between the marks. Answer with one JSON object that has these keys, and nothing else.\n"
    return conversation_lib.of(f"{asked}{chr(10).join(lines)}\n\n<text>\n{text[: self.letters]}\n</text>")

  def answered(self, row: select_protocol.Row, text: str, who: str) -> select_protocol.Outcome:
    """The row with the tags that could be read."""
    wanted = self._wanted(row)
    said = _object(text, wanted)
    if said is None:
      return self.unanswered(row, "tags: the answer holds no object of them")
    found = {name: value for name in wanted if (value := self._value(name, wanted[name], said.get(name))) is not None}
    missing = tuple(f"{name}: not read" for name in wanted if name not in found)
    if missing and self.unread == "drop":
      return select_protocol.dropped(missing[0])
    if not found:
      return select_protocol.Outcome(row, marks=missing)
    own = {
      "tags": {**row_fields.object_in(row, "tags"), **found},
      "tagged_by": {**row_fields.object_in(row, "tagged_by"), **dict.fromkeys(found, who)},
    }
    marks = [
      f"{name}: {one}" for name, value in found.items() for one in ([value] if isinstance(value, str) else value)
    ]
    return select_protocol.Outcome({**row, **own}, marks=(*marks, *missing))

  def _wanted(self, row: select_protocol.Row) -> dict[str, tuple[str, ...]]:
    known = row_fields.object_in(row, "tags")
    return {name: values for name, values in self.sets if name not in known}

  def _value(self, name: str, values: tuple[str, ...], given: Any) -> Any:
    """The value of a tag as its set writes it, or a list of values; None for what is none."""
    known = {value.casefold(): value for value in values}
    listed = given if isinstance(given, list) else [given]
    found = [known.get(one.strip().casefold()) if isinstance(one, str) else None for one in listed]
    if not found or None in found:
      return None
    if name in self.many:
      return list(dict.fromkeys(found))
    return found[0] if len(found) == 1 else None


def _object(text: str, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
  """The first JSON object of a text that has one of the keys; None where there is none."""
  decoder, start = json.JSONDecoder(), text.find("{")
  while start >= 0:
    try:
      found, _ = decoder.raw_decode(text, start)
      if isinstance(found, dict) and found.keys() & wanted.keys():
        return found
    except (ValueError, RecursionError):
      pass
    start = text.find("{", start + 1)
  return None
