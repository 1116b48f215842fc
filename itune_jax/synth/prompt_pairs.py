"""Preferences over prompts, made of given answers by constraints that can be checked (Rc-DPO, MAPL).

Of an answer y to a prompt x it is known, by a checker, which constraints it follows. So pairs need no judge:

  added    (x + one that y follows, y) over (x + one that y breaks, y)
  removed  (x, y) over (x + one that y breaks, y): the prompt without it is the one that y answers
  swapped  (x + a + b, y) over (x + a + c, y), y following a and b and breaking c
  across   (x + one that y follows, y) over (x + the same, z), z another answer to x, or to a prompt like it, that
           breaks it; the prompt of both is x

The rows are of the format `prompt_preference`, so any loss on pairs learns from them. Kinds, places and constraints are
drawn from a seed and the row's number.
"""

from collections.abc import Iterator, Sequence
import dataclasses
from typing import Any, Literal
import zlib

import numpy as np

from itune_jax.core import check
from itune_jax.core import ranges
from itune_jax.data import example as example_lib
from itune_jax.grading.ifeval import instruction
from itune_jax.grading.ifeval import kinds as kinds_lib

Kind = Literal["added", "removed", "swapped", "across"]
KINDS: tuple[Kind, ...] = ("added", "removed", "swapped", "across")


@dataclasses.dataclass(frozen=True)
class Constraint:
  """What is asked in words, and the checker of it."""

  text: str
  checker: instruction.Instruction

  def holds(self, answer: str) -> bool:
    """Whether an answer follows it; a blank one follows nothing."""
    return bool(answer.strip()) and self.checker.follows(answer)


def constraints() -> tuple[Constraint, ...]:
  """Constraints that answers of any kind follow or break: on length, case, marks, words and form."""
  made: list[tuple[str, str, dict[str, Any]]] = []
  for words in (10, 20, 40, 80, 150):
    made.append(
      (f"Use at least {words} words.", "length_constraints:number_words", dict(num_words=words, relation="at least"))
    )
    made.append(
      (f"Use fewer than {words} words.", "length_constraints:number_words", dict(num_words=words, relation="less than"))
    )
  for word in ("the", "and", "because", "however", "first", "example"):
    made.append((f"Include the word '{word}'.", "keywords:existence", dict(keywords=[word])))
    made.append((f"Do not use the word '{word}'.", "keywords:forbidden_words", dict(forbidden_words=[word])))
  made += [
    ("Do not use commas.", "punctuation:no_comma", {}),
    ("Write in lower case only.", "change_case:english_lowercase", {}),
    ("Write in capital letters only.", "change_case:english_capital", {}),
    ("Put the whole answer in double quotation marks.", "startend:quotation", {}),
    ("Answer with JSON alone.", "detectable_format:json_format", {}),
    ("Give a title in double angular brackets, such as <<title>>.", "detectable_format:title", {}),
    ("Use exactly 3 bullet points, such as * this.", "detectable_format:number_bullet_lists", dict(num_bullets=3)),
    (
      "Highlight at least 2 parts, such as *this*.",
      "detectable_format:number_highlighted_sections",
      dict(num_highlights=2),
    ),
  ]
  return tuple(Constraint(text, kinds_lib.build(kind, kwargs)) for text, kind, kwargs in made)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pairs:
  """How pairs are made.

  kinds: of "added", "removed", "swapped" and "across", which are made of each answer where they can be. most: pairs of
  an answer at most. seed: of what is drawn.
  """

  kinds: tuple[str, ...] = KINDS
  most: int = 4
  seed: ranges.Seed = 0

  def __post_init__(self):
    check.check_types(self)
    wrong = [kind for kind in self.kinds if kind not in KINDS]
    check.require(self.kinds and not wrong, f"prompt_pairs.Pairs.kinds has {wrong}; they are {', '.join(KINDS)}")
    check.require(self.seed >= 0, f"prompt_pairs.Pairs.seed must be 0 or more, not {self.seed}")
    check.require(self.most > 0, f"prompt_pairs.Pairs.most must be positive, not {self.most}")

  def rows(
    self, examples: Sequence[example_lib.Example], counts: dict[str, int] | None = None
  ) -> Iterator[dict[str, Any]]:
    """Rows of pairs, and in `counts` how many of each kind, and how many answers left none."""
    counts, known = {} if counts is None else counts, constraints()
    for number, example in enumerate(examples):
      rs = np.random.Generator(np.random.PCG64([self.seed, zlib.crc32(b"constraints"), number]))
      found = list(self._of(rs, example, examples[(number + 1) % len(examples)], known))[: self.most]
      for kind, row in found:
        counts[kind] = counts.get(kind, 0) + 1
        yield row | {"id": f"{example.id}/{kind}", "source": dict(example.source) | {"kind": "self_generated"}}
      if not found:
        counts["none"] = counts.get("none", 0) + 1

  def _of(self, rs, example, other, known) -> Iterator[tuple[str, dict[str, Any]]]:
    answer = example.answer
    if not answer.strip() or not example.prompt or any(not isinstance(m["content"], str) for m in example.prompt):
      return
    holds = [one.holds(answer) for one in known]
    follows = [known[i] for i in rs.permutation(len(known)) if holds[i]]
    breaks = [known[i] for i in rs.permutation(len(known)) if not holds[i]]
    ask = lambda *more: _asked(example.prompt, [one.text for one in more])
    say = lambda prompt, text: [*prompt, {"role": "assistant", "content": text}]
    if "added" in self.kinds and follows and breaks:
      yield "added", {"chosen": say(ask(follows[0]), answer), "rejected": say(ask(breaks[0]), answer)}
    if "removed" in self.kinds and breaks:
      yield "removed", {"chosen": say(ask(), answer), "rejected": say(ask(breaks[-1]), answer)}
    if "swapped" in self.kinds and len(follows) > 1 and breaks:
      a, b, c = follows[0], follows[1], breaks[len(breaks) // 2]
      yield "swapped", {"chosen": say(ask(a, b), answer), "rejected": say(ask(a, c), answer)}
    theirs = other.answer
    apart = [one for one in follows if theirs.strip() and not one.holds(theirs)]
    if "across" in self.kinds and apart and theirs != answer:
      yield "across", {"chosen": say(ask(apart[0]), answer), "rejected": say(ask(apart[0]), theirs)}


def _asked(prompt: Sequence[dict[str, Any]], constraints: Sequence[str]) -> list[dict[str, Any]]:
  """The prompt with what is asked for behind its last message."""
  asked = [dict(message) for message in prompt]
  if constraints:
    asked[-1]["content"] = "\n\n".join([asked[-1]["content"], " ".join(constraints)])
  return asked
