"""What a judge is asked: a rubric as a value, with fields for what is judged, and how its answer is read."""

from collections.abc import Mapping
import dataclasses
import hashlib
import re
from typing import Literal

from itune_jax.core import check
from itune_jax.core import conversation as conversation_lib
from itune_jax.core import jsontext
from itune_jax.grading.judging import parsers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompt:
  """A judge's prompt. A field stands in braces ({question}); braces that hold no name of `fields` are text.

  name: under which figures bear it. kind: one answer is rated, or two are compared. template: the user's turn. fields:
  what it is filled with. system: the system's turn, "" for none. reads: the parser (`parsers.PARSERS`). tokens: answers
  of one token and what each is worth, where the rubric asks for such (a pair's are worth 1 for the first answer, 0 for
  the second). exact: whether space in front of such a token makes it another answer. scale: least and most of a rating.
  limit: new tokens that an answer needs. source: where it is from.
  """

  name: str
  kind: Literal["single", "pair"]
  template: str
  fields: tuple[str, ...]
  system: str = ""
  reads: str
  tokens: Mapping[str, float] = dataclasses.field(default_factory=dict)
  exact: bool = False
  scale: tuple[float, float] = (0.0, 1.0)
  limit: int = 2048
  source: str = ""

  def __post_init__(self):
    check.check_types(self)
    known = ", ".join(parsers.PARSERS)
    check.require(
      self.reads in parsers.PARSERS, f"judge's prompt {self.name}: no parser {self.reads!r}; known: {known}"
    )
    lacking = [field for field in self.fields if f"{{{field}}}" not in self.template]
    check.require(not lacking, f"judge's prompt {self.name}: its template has no {{{', '.join(lacking)}}}")
    check.require(self.scale[0] < self.scale[1], f"judge's prompt {self.name}: its scale is {self.scale}: least, most")

  def filled(self, values: Mapping[str, str]) -> conversation_lib.Conversation:
    """The conversation that asks about these values; braces within them stay text. Raises InputError for a field
    without a value."""
    lacking = [field for field in self.fields if field not in values]
    check.require(not lacking, f"judge's prompt {self.name} asks for {', '.join(lacking)}, which this item lacks")
    pattern = "|".join(map(re.escape, self.fields))
    text = re.sub(rf"\{{({pattern})\}}", lambda match: values[match[1]], self.template)
    system = ({"role": "system", "content": self.system},) if self.system else ()
    return conversation_lib.Conversation((*system, {"role": "user", "content": text}))

  @property
  def digest(self) -> str:
    """Of all that the judge reads, and how its answer is read."""
    return digest(dataclasses.asdict(self))


def digest(value: object) -> str:
  """16 hexadecimal digits of a value that JSON can write."""
  return hashlib.sha256(jsontext.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
