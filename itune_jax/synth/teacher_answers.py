"""Answers of a teacher to given prompts: one, or the best of several by a check, a judge, or a vote."""

import collections
import dataclasses
from typing import Any, Literal

from itune_jax.core import check
from itune_jax.grading import checkers
from itune_jax.grading import normal
from itune_jax.grading import numbers
from itune_jax.synth import generator
from itune_jax.synth import rating


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherAnswers(generator.OverPrompts):
  """A row for each prompt that has a good answer.

  samples: answers that are drawn of each. best: the first without a fault (`first`), the first that passes the row's
  own check (`check`), the one that a judge rates highest (`judge`), or one of what most say: the same final number, or
  else the same words (`vote`). rubric: of the judge. least: rating that is kept.
  """

  name: str = "teacher_answers"
  samples: int = 1
  best: Literal["first", "check", "judge", "vote"] = "first"
  rubric: str = "additive"
  least: float = 0.0

  def __post_init__(self):
    super().__post_init__()
    check.require(self.samples > 0, f"TeacherAnswers.samples = {self.samples}; it counts from 1")
    rating.named(self.rubric)

  @property
  def kind(self) -> str:
    """Distilled of a teacher."""
    return "distilled"

  @property
  def roles(self) -> tuple[str, ...]:
    """A judge too, where one chooses."""
    return (generator.TEACHER, rating.JUDGE) if self.best == "judge" else (generator.TEACHER,)

  @property
  def prompts(self):
    """The judge's."""
    return {self.rubric: rating.named(self.rubric).template} if self.best == "judge" else {}

  def make(self, n: int, pool: generator.Pool) -> generator.Steps:
    """Answers a row and chooses."""
    example = self.rows_in.examples[n]
    turns = ({"role": "system", "content": self.system},) if self.system else ()
    asked = dataclasses.replace(example.question, messages=(*turns, *example.prompt))
    (response,) = yield from generator.ask([self.request(n, "answer", asked, n=self.samples)])
    faults = [self.faults.of(one, example.language) for one in response.samples]
    texts = [one.text.strip() for one in response.samples]
    ratings: list[float | None] = [None] * self.samples
    if self.best == "judge":
      question = _last_question(asked.messages)
      pairs = {str(k): rating.Pair(question, texts[k]) for k in range(self.samples) if not faults[k]}
      told = yield from rating.rate(self, n, pairs, self.rubric)
      ratings = [told.get(str(k)) for k in range(self.samples)]
    chosen, others = self._choose(texts, faults, ratings, example.check)
    found = []
    for k, text in enumerate(texts):
      row: dict[str, Any] = {"messages": [*asked.messages, {"role": "assistant", "content": text}]}
      row["source"] = {"parents": [example.id], "sample": k}
      row |= {"tools": list(example.tools)} if example.tools else {}
      row |= {"check": example.check} if example.check else {}
      row |= {"scores": {self.rubric: ratings[k]}} if ratings[k] is not None else {}
      found.append(generator.Candidate(row, "" if k == chosen else faults[k] or others[k]))
    return found

  def _choose(self, texts, faults, ratings, test) -> tuple[int | None, list[str]]:
    """The sample that is kept, and why the others are not."""
    good = [k for k, fault in enumerate(faults) if not fault]
    if self.best == "check" and not test:
      return None, ["its row has no check"] * len(texts)
    if self.best == "check":
      right = [k for k in good if checkers.judge(texts[k], test)]
      why = ["a better one is kept" if k in right else "wrong" for k in range(len(texts))]
      return (right[0] if right else None), why
    if self.best == "judge":
      enough = [k for k in good if ratings[k] is not None and ratings[k] >= self.least]
      first = rating.best([ratings[k] if k in enough else None for k in range(len(texts))])
      why = ["rating not read" if one is None else "rated too low" for one in ratings]
      return first, ["a better one is kept" if k in enough else why[k] for k in range(len(texts))]
    if self.best == "vote" and good:
      said = {k: _said(texts[k]) for k in good}
      most = collections.Counter(said.values()).most_common(1)[0][0]  # the first of equally many
      good = [k for k in good if said[k] == most]
      why = ["a better one is kept" if said.get(k) == most else "says what most do not" for k in range(len(texts))]
      return good[0], why
    return (good[0] if good else None), ["a better one is kept"] * len(texts)


def _last_question(messages) -> str:
  """The last user turn of some messages as text."""
  return next((str(turn["content"]) for turn in reversed(messages) if turn["role"] == "user"), "")


def _said(text: str) -> str:
  number = numbers.final(text)
  return normal.normalised(text) if number is None else f"= {number.normalize()}"
