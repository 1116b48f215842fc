"""Verifiable constraints, written backward: from an answer to constraints that it keeps, with IFEval's checkers along.

Backward: a teacher answers (or the row's own answer is taken), constraints are read off the answer, and some of them
are added to the prompt. Forward: they are read off one answer, added, and a second answer must keep them. The kinds of
constraints and their checkers are those of IFEval (arXiv 2311.07911).
"""

from collections.abc import Callable
import dataclasses
import json
import re
from typing import Any, Literal, NamedTuple

import numpy as np

from itune_jax.core import check
from itune_jax.grading import checkers
from itune_jax.grading.ifeval import texts
from itune_jax.synth import generator
from itune_jax.synth import sources


class Constraint(NamedTuple):
  """A kind of IFEval with its arguments, and the sentence that asks for it."""

  kind: str
  kwargs: dict[str, Any]
  sentence: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Constraints(generator.OverPrompts):
  """Prompts with constraints that can be checked, and answers that keep them.

  constraints: most of a prompt; fewer where an answer shows fewer. direction: whether the answer that showed them is
  kept (`backward`), or another that is asked with them (`forward`). own_answers: whether rows' own answers are read
  instead of asking a teacher for the first.
  """

  name: str = "constraints"
  constraints: int = 3
  direction: Literal["backward", "forward"] = "backward"
  own_answers: bool = False

  def __post_init__(self):
    super().__post_init__()
    check.require(self.constraints > 0, f"Constraints.constraints = {self.constraints}; it counts from 1")

  @property
  def asks(self) -> bool:
    """Where rows' own answers are kept no teacher says anything."""
    return not (self.own_answers and self.direction == "backward")

  def make(self, n: int, pool: generator.Pool) -> generator.Steps:
    """An answer, its constraints, and the row."""
    example = self.rows_in.examples[n]
    question, answer = sources.asked(example), example.answer
    source: dict[str, Any] = {"parents": [example.id]}
    row: dict[str, Any] = {"messages": generator.pair(question, answer, self.system), "source": source}
    if not question or (self.own_answers and not answer):
      return [generator.Candidate(row, "its row has no answer" if question else "its row has not one question")]
    if not self.own_answers:
      (response,) = yield from generator.ask([self.request(n, "free", self.question(question))])
      answer = response.text.strip()
      if reason := self.faults.of(response.samples[0]):
        return [generator.Candidate(row, reason)]
    chosen = draw(answer, self.random(n), self.constraints)
    if not chosen:
      return [generator.Candidate(row, "the answer shows no constraint")]
    asked = question + "\n\n" + " ".join(one.sentence for one in chosen)
    test = {"name": "ifeval", "instruction_id_list": [one.kind for one in chosen], "kwargs": [c.kwargs for c in chosen]}
    if self.direction == "forward":
      (response,) = yield from generator.ask([self.request(n, "constrained", self.question(asked))])
      answer = response.text.strip()
      if reason := self.faults.of(response.samples[0]):
        return [generator.Candidate(row, reason)]
    row |= {"messages": generator.pair(asked, answer, self.system), "check": test}
    source["constraints"] = [one.kind for one in chosen]
    return [generator.Candidate(row, "" if checkers.judge(answer, test) else "a constraint is not kept")]


def draw(answer: str, rng: np.random.Generator, most: int) -> list[Constraint]:
  """Constraints that an answer keeps, of different groups, in an order that is drawn."""
  found: list[Constraint] = []
  for read in (READERS[i] for i in rng.permutation(len(READERS))):
    one = read(answer, rng)
    taken = {constraint.kind.partition(":")[0] for constraint in found}
    if one is not None and one.kind.partition(":")[0] not in taken and len(found) < most:
      found.append(one)
  return found


def _least_words(answer: str, rng: np.random.Generator) -> Constraint | None:
  bound = len(texts.words(answer)) // 10 * 10
  told = {"num_words": bound, "relation": "at least"}
  return Constraint("length_constraints:number_words", told, f"Use at least {bound} words.") if bound else None


def _most_words(answer: str, rng: np.random.Generator) -> Constraint | None:
  bound = (len(texts.words(answer)) // 10 + 1) * 10
  told = {"num_words": bound, "relation": "less than"}
  return Constraint("length_constraints:number_words", told, f"Answer with less than {bound} words.")


def _sentences(answer: str, rng: np.random.Generator) -> Constraint | None:
  bound = len(texts.sentences(answer)) + 1
  told = {"num_sentences": bound, "relation": "less than"}
  return Constraint("length_constraints:number_sentences", told, f"Write less than {bound} sentences.")


def _keywords(answer: str, rng: np.random.Generator) -> Constraint | None:
  words = sorted({word.lower() for word in re.findall(r"\b[A-Za-z]{6,}\b", answer)})
  if len(words) < 2:
    return None
  chosen = [words[i] for i in rng.permutation(len(words))[:2]]
  return Constraint("keywords:existence", {"keywords": chosen}, f"Include the words {' and '.join(chosen)}.")


def _often(answer: str, rng: np.random.Generator) -> Constraint | None:
  words = re.findall(r"\b[a-z]{5,}\b", answer.lower())
  twice = sorted({word for word in words if words.count(word) > 1})
  if not twice:
    return None
  word = twice[int(rng.integers(len(twice)))]
  count = words.count(word)
  told = {"keyword": word, "frequency": count, "relation": "at least"}
  return Constraint("keywords:frequency", told, f"Use the word {word} at least {count} times.")


def _forbidden(answer: str, rng: np.random.Generator) -> Constraint | None:
  # Only words that answers are prone to: a ban on what nobody would write asks for nothing.
  prone = ("important", "various", "overall", "additionally", "ensure", "crucial", "furthermore", "essential")
  absent = [word for word in prone if not re.search(rf"\b{word}\b", answer, re.I)]
  if len(absent) < 2:
    return None
  chosen = [absent[i] for i in rng.permutation(len(absent))[:2]]
  told = {"forbidden_words": chosen}
  return Constraint("keywords:forbidden_words", told, f"Do not use the words {' and '.join(chosen)}.")


def _no_comma(answer: str, rng: np.random.Generator) -> Constraint | None:
  enough = "," not in answer and len(answer.split()) > 8
  return Constraint("punctuation:no_comma", {}, "Do not use any commas.") if enough else None


def _bullets(answer: str, rng: np.random.Generator) -> Constraint | None:
  count = len(re.findall(r"^\s*\*[^\*].*$", answer, re.M)) + len(re.findall(r"^\s*-.*$", answer, re.M))
  said = f"Give exactly {count} bullet points, in markdown with * or -."
  return Constraint("detectable_format:number_bullet_lists", {"num_bullets": count}, said) if count > 1 else None


def _json(answer: str, rng: np.random.Generator) -> Constraint | None:
  try:
    value = json.loads(answer)
  except ValueError:
    return None
  is_object = isinstance(value, (dict, list))
  return Constraint("detectable_format:json_format", {}, "The whole answer must be JSON.") if is_object else None


def _title(answer: str, rng: np.random.Generator) -> Constraint | None:
  said = "Give a title, in double angular brackets, like <<a title>>."
  return Constraint("detectable_format:title", {}, said) if re.search(r"<<[^\n]+>>", answer) else None


def _ending(answer: str, rng: np.random.Generator) -> Constraint | None:
  words = answer.strip().split()
  phrase = " ".join(words[-4:])
  if len(words) < 12 or '"' in phrase or not re.fullmatch(r"[\w ,.!?'-]+", phrase):
    return None
  said = f"End with exactly this phrase, and nothing behind it: {phrase}"
  return Constraint("startend:end_checker", {"end_phrase": phrase}, said)


def _lower_case(answer: str, rng: np.random.Generator) -> Constraint | None:
  said = "Write in English, in lower case alone."
  return Constraint("change_case:english_lowercase", {}, said) if answer.islower() else None


def _language(answer: str, rng: np.random.Generator) -> Constraint | None:
  told = texts.language(answer) if len(answer.split()) > 12 else None
  if told in (None, "en"):
    return None
  said = f"Answer in the language `{told}` (ISO 639-1) alone."
  return Constraint("language:response_language", {"language": told}, said)


READERS: tuple[Callable[[str, np.random.Generator], Constraint | None], ...] = (
  _least_words, _most_words, _sentences, _keywords, _often, _forbidden, _no_comma, _bullets, _json, _title, _ending,
  _lower_case, _language,
)  # fmt: skip
