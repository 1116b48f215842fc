"""Tags by rules alone: task, domain, difficulty, language and skills, from words and from what can be counted.

The words are English; a text in another language has the tags that do not hang on words. Where a row must be told
surely, ask a model (`asked_tagging`): these rules are for strata and mixtures, where most must be right.
"""

from collections.abc import Callable, Mapping
import dataclasses
import re
from typing import Literal

from itune_jax.core import check
from itune_jax.select import row_fields
from itune_jax.select import row_texts
from itune_jax.select import select_protocol
from itune_jax.select.standard import tagging

Kind = Literal["task", "domain", "difficulty", "language", "skills"]
_words = lambda *words: re.compile(rf"(?i)\b(?:{'|'.join(words)})\b")
# The first that fits is the domain.
DOMAINS: Mapping[str, re.Pattern[str]] = {
  "medicine": _words(
    "patients?", "diseases?", "symptoms?", "diagnos\\w+", "clinical", "doses?", "therap\\w+", "medical"
  ),
  "law": _words("court", "plaintiff", "defendant", "statut\\w+", "contracts?", "legal\\w*", "lawsuit", "liabilit\\w+"),
  "finance": _words(
    "stocks?", "invest\\w*", "portfolio", "revenue", "interest rates?", "inflation", "bank\\w*", "shares"
  ),
  "technology": _words(
    "software", "computers?", "python", "javascript", "sql", "api", "algorithm\\w*", "database", "code"
  ),
  "science": _words("physics", "chemi\\w+", "biolog\\w+", "molecul\\w+", "atoms?", "energy", "species", "planets?"),
  "history": _words("century", "emperor", "empire", "revolution", "world war", "ancient", "king", "medieval"),
  "arts": _words("paint\\w+", "novels?", "poems?", "music\\w*", "films?", "movies?", "theat\\w+", "songs?"),
  "daily life": _words("recipes?", "cook\\w*", "travel\\w*", "garden\\w*", "family", "holiday", "exercise", "shopping"),
}
# All that fit.
SKILLS: Mapping[str, re.Pattern[str]] = {
  "programming": re.compile(r"```|(?i:\b(?:python|javascript|java|sql|function|regex|debug|compile)\b)"),
  "arithmetic": re.compile(r"\d\s*[-+*/^=×÷]\s*\d|(?i:\b(?:calculate|compute|how many|how much|sum of|average)\b)"),
  "logic": _words("prove", "deduce", "therefore", "if and only if", "puzzle", "contradict\\w+", "infer\\w*"),
  "planning": _words("plan", "schedule", "step[- ]by[- ]step", "itinerary", "strategy", "roadmap"),
  "creativity": _words("story", "poem", "imagine", "slogan", "compose", "invent", "brainstorm", "fictional"),
  "formatting": _words("table", "bullet points?", "json", "markdown", "csv", "xml", "list of"),
  "comprehension": _words(
    "summar\\w+", "passage", "paragraph", "article", "according to", "text below", "following text"
  ),
}
_DEMANDS = _words(
  "explain", "why", "prove", "compare", "analy[sz]e", "derive", "justify", "at least", "exactly", "must"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuleTags(select_protocol.RowStep):
  """Writes tags into `tags`, and `rules` into `tagged_by` for each; a tag that a row has stays.

  task: the first of `tagging.TASKS` that fits. domain: the first of `DOMAINS`. skills: all of `SKILLS`. language: what
  the step `language_filter.Languages` wrote. difficulty: easy, medium or hard by what the prompt demands (`demand`).

  kinds: the tags that are written. field: the text that they are read from. otherwise: the value of a task or domain
  that no rule gives.
  """

  kinds: tuple[Kind, ...] = ("task", "domain", "difficulty", "language", "skills")
  field: str = row_texts.PROMPT
  otherwise: str = "other"

  def __post_init__(self):
    check.check_types(self)
    check.require(self.kinds, "RuleTags.kinds is empty")
    check.require(self.otherwise, "RuleTags.otherwise is empty")

  def row(self, row: select_protocol.Row) -> select_protocol.Outcome:
    """The row with its tags, each marked."""
    known = {} if row.get("tags") is None else row["tags"]
    if not isinstance(known, dict):
      return select_protocol.Outcome(row, marks=("`tags` is no object: left as it is",))
    text = row_texts.get(row, self.field)
    if not text.strip():
      return select_protocol.Outcome(row, marks=("no text to tag",))
    found = {kind: self._value(kind, row, text) for kind in self.kinds if kind not in known}
    given = {kind: value for kind, value in found.items() if value}
    marks = [
      f"{kind}: {one}" for kind, value in given.items() for one in ([value] if isinstance(value, str) else value)
    ]
    marks += [f"{kind}: no rule fits" for kind, value in found.items() if not value]
    if not given:
      return select_protocol.Outcome(row, marks=tuple(marks))
    by = {**row_fields.object_in(row, "tagged_by"), **dict.fromkeys(given, "rules")}
    return select_protocol.Outcome({**row, "tags": {**known, **given}, "tagged_by": by}, marks=tuple(marks))

  def _value(self, kind: Kind, row: select_protocol.Row, text: str) -> str | list[str]:
    if kind == "language":
      given = row.get("language")
      return given if isinstance(given, str) else ""
    if kind == "skills":
      return [name for name, pattern in SKILLS.items() if pattern.search(text)]
    if kind == "difficulty":
      return _level(demand(text))
    return _FIRST[kind](text) or self.otherwise


def demand(text: str) -> float:
  """How much a prompt asks for: a point for each 60 words, each further question, each word that demands reasons or
  sets a bound, and for formulas or code in it."""
  questions = max(0, text.count("?") - 1)
  formal = bool(SKILLS["programming"].search(text)) + bool(SKILLS["arithmetic"].search(text))
  return len(row_texts.words(text)) / 60 + questions + len(_DEMANDS.findall(text)) + formal


def _level(points: float) -> str:
  return "easy" if points < 1 else "medium" if points < 3 else "hard"


def _task(text: str) -> str:
  return next((value for _, value, pattern in tagging.TASKS if re.search(pattern, text)), "")


def _domain(text: str) -> str:
  return next((name for name, pattern in DOMAINS.items() if pattern.search(text)), "")


_FIRST: Mapping[str, Callable[[str], str]] = {"task": _task, "domain": _domain}
