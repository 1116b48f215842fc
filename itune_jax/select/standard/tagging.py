"""Tags by rules: what kind of task a row is, and whatever else patterns tell."""

import dataclasses
import functools
import re

from itune_jax.core import check
from itune_jax.select import row_texts
from itune_jax.select import select_protocol

# A few kinds of tasks by their words in English; the first that fits is the task.
TASKS = (
  ("task", "code", r"(?i)```|\b(?:python|javascript|java|sql|c\+\+|function|regex|debug|code)\b"),
  ("task", "math", r"(?i)\b(?:solve|equation|calculate|compute|probability|integral|derivative|sum of|how many)\b"),
  ("task", "translation", r"(?i)\btranslat(?:e|ion)\b"),
  ("task", "summary", r"(?i)\b(?:summari[sz]e|summary|tl;?dr|in one sentence)\b"),
  ("task", "classification", r"(?i)\b(?:classify|categori[sz]e|sentiment|which category|label the)\b"),
  ("task", "extraction", r"(?i)\b(?:extract|identify all|list all|find all)\b"),
  ("task", "rewriting", r"(?i)\b(?:rewrite|paraphrase|rephrase|edit|proofread|correct the)\b"),
  ("task", "writing", r"(?i)\b(?:write|compose|draft|story|poem|essay|letter|e-?mail)\b"),
  ("task", "question", r"(?i)^\s*(?:what|who|when|where|why|how|which|is|are|do|does|can)\b|\?\s*$"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tags(select_protocol.RowStep):
  """Writes tags into `tags`: {"task": "summary", …}; a tag that a row has stays.

  rules: (tag, value, pattern), the first that fits gives a tag its value. field: the text that patterns are looked for
  in. otherwise: the value of a tag that no rule gives, "" for none.
  """

  rules: tuple[tuple[str, str, str], ...] = TASKS
  field: str = row_texts.PROMPT
  otherwise: str = "other"

  def __post_init__(self):
    check.check_types(self)
    check.require(self.rules, "Tags.rules has no rule")
    for _, _, pattern in self.rules:
      check.regex(pattern, "Tags.rules")

  def row(self, row: select_protocol.Row) -> select_protocol.Outcome:
    """The row with its tags, each marked."""
    text = row_texts.get(row, self.field)
    known = row.get("tags")
    if known is not None and not isinstance(known, dict):
      return select_protocol.Outcome(row, marks=("`tags` is no object: left as it is",))
    found: dict[str, str] = {}
    for tag, value, pattern in self.rules:
      if tag not in found and _compiled(pattern).search(text):
        found[tag] = value
    if self.otherwise:
      found = {**{tag: self.otherwise for tag, _, _ in self.rules}, **found}
    tags = {**found, **(known or {})}
    return select_protocol.Outcome({**row, "tags": tags}, marks=tuple(f"{tag}: {tags[tag]}" for tag in found))


@functools.lru_cache(256)
def _compiled(pattern: str) -> re.Pattern[str]:
  return re.compile(pattern)
