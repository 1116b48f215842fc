"""Fields that are missing, filled by a model: the row says which field, and by whom."""

from collections.abc import Mapping
import dataclasses
import re
from typing import Any, Literal

from itune_jax.core import check
from itune_jax.core import conversation as conversation_lib
from itune_jax.data import example as example_lib
from itune_jax.data import fields
from itune_jax.data.readers import building
from itune_jax.data.readers import formats
from itune_jax.data.readers import preferences
from itune_jax.select import row_fields
from itune_jax.select import row_texts
from itune_jax.select import select_protocol
from itune_jax.select.standard import asked_rows
from itune_jax.select.standard import imputing

LAST = row_texts.ANSWER  # the key that stands for the answer of a conversation
# What is asked for a key where the recipe says nothing; an answer is what the row itself asks for.
PROMPTS: Mapping[str, str] = {
  "instruction": "The text below answers a request.\n\n<answer>\n{output}\n</answer>\n\nWrite the request that it "
  "answers best, as its author would have put it. Write the request alone.",
  "input": "Below are an instruction that needs an input, and the answer to both.\n\n<instruction>\n{instruction}\n"
  "</instruction>\n\n<answer>\n{output}\n</answer>\n\nWrite the input alone.",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AskedImpute(asked_rows.AskedStep):
  """Fills a key that a row lacks, or that is null or empty, with what a model says. `imputed` of the row names the key,
  `imputed_by` who filled it; an answer of a model makes the row's `source.kind` distilled, and the model its teacher.

  key: which one; "@answer" is the answer to a conversation that ends with a question. prompt: what is asked, in which
  {name} stands for the text of another key; without one an answer is asked for as the row itself asks, `instruction`
  and `input` as `asked_imputing.PROMPTS` has it. pattern: its first group is the value, all of the answer without one.
  choices: the values that there are, any without. lacking: what becomes of a row that lacks the key, and what would be
  asked too.
  """

  key: str
  prompt: str = ""
  pattern: str = ""
  choices: tuple[str, ...] = ()
  lacking: Literal["keep", "drop"] = "keep"

  def __post_init__(self):
    super().__post_init__()
    check.regex(self.pattern, "AskedImpute.pattern")
    groups = re.compile(self.pattern).groups if self.pattern else 1
    check.require(groups == 1, f"AskedImpute.pattern = {self.pattern!r} has {groups} groups; the value is its only one")
    known = self.prompt or self.key in PROMPTS or self._is_answer
    check.require(known, f"AskedImpute.prompt: say what is asked for {self.key!r}")

  @property
  def _is_answer(self) -> bool:
    return self.key == LAST or self.key in building.ANSWERS

  writes = {"imputed": row_fields.list_in, "imputed_by": row_fields.object_in}

  def question(self, row: select_protocol.Row) -> conversation_lib.Conversation | select_protocol.Outcome:
    """What the row asks, or what the prompt makes of it."""
    try:
      if self._has(row):
        return select_protocol.Outcome(row)
      text = self.prompt or PROMPTS.get(self.key, "")
      if text:
        said = imputing.filled(text, row)
        asked = None if said is None else conversation_lib.of(said)
      else:
        asked = self._own(row)
    except example_lib.BadRow:
      asked = None
    if asked is not None:
      return asked
    if self.lacking == "drop":
      return select_protocol.dropped(f"{self.key!r} is missing, and what would be asked too")
    return select_protocol.Outcome(row, marks=(f"{self.key!r} still missing",))

  def answered(self, row: select_protocol.Row, text: str, who: str) -> select_protocol.Outcome:
    """The row with its key."""
    value = self._value(text)
    if value is None:
      return self.unanswered(row, f"{self.key!r}: the answer is none of what was asked for")
    own: dict[str, Any] = {self.key: value}
    if self.key == LAST:
      turns = fields.listed(row["messages"], "`messages`")  # which may stand there as JSON text
      own = {"messages": [*turns, {"role": "assistant", "content": value}]}
    if self._is_answer:
      own["source"] = {**_source(row), "kind": "distilled", "teacher": who}
    own["imputed"] = [*row_fields.list_in(row, "imputed"), self.key]
    own["imputed_by"] = {**row_fields.object_in(row, "imputed_by"), self.key: who}
    return select_protocol.Outcome({**row, **own}, marks=(f"{self.key!r} imputed",))

  def _has(self, row: select_protocol.Row) -> bool:
    """Whether nothing is to be filled. Raises BadRow for a row that is no conversation."""
    if self.key != LAST:
      return not imputing.lacks(row, self.key)
    if formats.known(row) != "messages":
      raise example_lib.BadRow("it has no messages")
    return formats.parse(row).messages[-1]["role"] == "assistant"

  def _own(self, row: select_protocol.Row) -> conversation_lib.Conversation | None:
    """What the row itself asks, with its tools. Raises BadRow."""
    if self.key == LAST:
      found = formats.parse(row)
      return conversation_lib.Conversation(found.messages, found.tools, found.template_kwargs)
    given = {key: value for key, value in row.items() if key != self.key}
    asked, _ = preferences.asked_beside(given, formats.ASKS)
    return conversation_lib.Conversation(tuple(asked)) if asked else None

  def _value(self, text: str) -> str | None:
    """What the answer says; None where that is nothing, or none of the choices."""
    if self.pattern:
      found = re.search(self.pattern, text, re.DOTALL)
      text = (found[1] or "") if found else ""
    text = text.strip()
    if self.choices:
      return next((one for one in self.choices if one.casefold() == text.casefold()), None)
    return text or None


def _source(row: select_protocol.Row) -> dict[str, Any]:
  """Provenance as an object; a name alone is that of the data set. Raises BadRow for what is neither."""
  given = row.get("source")
  if isinstance(given, str):
    return {"dataset": given}
  return row_fields.object_in(row, "source")
