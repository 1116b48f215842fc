"""What several people's answers to one item come to: one value and how far they agree on it, or why there is none."""

from collections.abc import Mapping, Sequence
import collections
import dataclasses
import math
from typing import NamedTuple

from itune_jax.core import check
from itune_jax.grading import rouge
from itune_jax.run.label import saying
from itune_jax.run.label import sheets
from itune_jax.select import row_texts

CONTROL = "a control"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Threshold:
  """When an answer counts. agree: an item on which people agree less is left out: the share that gave the value, of
  ratings 1 - their range over that of the scale, of answers in words the mean ROUGE-L (F1) with the one that is kept.
  least: so many people must have answered it. right: an annotator with a smaller share of right controls is left out.
  """

  agree: float = 0.0
  least: int = 1
  right: float = 0.0

  def __post_init__(self):
    check.check_types(self)
    check.require(0 <= self.agree <= 1 and 0 <= self.right <= 1, "--agree and --right are shares, between 0 and 1")
    check.require(self.least > 0, f"--least={self.least}: it counts people, from 1")


class Settled(NamedTuple):
  """What an item came to. agreement: as `Threshold.agree` has it. by: whose answers it was made of, of words the one
  whose text it is first."""

  value: saying.Value
  agreement: float
  by: tuple[str, ...]


class Controls(NamedTuple):
  """How an annotator did on items whose value is known."""

  right: int
  seen: int

  @property
  def share(self) -> float:
    """Of right ones; not a number without any."""
    return self.right / self.seen if self.seen else math.nan


def controls(said: Sequence[saying.Said]) -> dict[str, Controls]:
  """By annotator, over all sheets; right is what equals the known value."""
  right: collections.Counter[str] = collections.Counter()
  seen: collections.Counter[str] = collections.Counter()
  for one in said:
    gold = {item.id: item.gold for item in one.sheet.items if item.gold is not None}
    for answer in one.answers:
      if answer.item in gold:
        seen[answer.annotator] += 1
        right[answer.annotator] += answer.value == gold[answer.item]
  names = sorted({name for one in said for name in one.annotators})
  return {name: Controls(right[name], seen[name]) for name in names}


def failing(found: Mapping[str, Controls], threshold: Threshold) -> list[str]:
  """The annotators whose answers do not count. One that saw no control is judged by none."""
  return [name for name, one in found.items() if one.seen and one.share < threshold.right]


def settle(said: saying.Said, threshold: Threshold) -> tuple[dict[str, Settled], dict[str, int]]:
  """What each item came to, by id, and how many items were left out by reason. Controls are known, and left out."""
  found: dict[str, Settled] = {}
  left_out: collections.Counter[str] = collections.Counter()
  by_item = said.by_item()
  for item in said.sheet.items:
    answers = {name: one.value for name, one in by_item.get(item.id, {}).items()}
    one = _settled(said.sheet, item, answers, threshold)
    if isinstance(one, str):
      left_out[one] += 1
    else:
      found[item.id] = one
  return found, dict(left_out)


def _settled(
  sheet: sheets.Sheet, item: sheets.Item, answers: Mapping[str, saying.Value], threshold: Threshold
) -> Settled | str:
  if item.gold is not None:
    return CONTROL
  if not answers:
    return "nobody answered it"
  if len(answers) < threshold.least:
    return f"fewer than {threshold.least} people answered it"
  one = _HOW[sheet.kind](sheet, answers)
  if one is None:
    return "people are split evenly"
  if one.agreement < threshold.agree:
    return f"agreement below {threshold.agree:g}"
  if sheet.kind == "preference" and one.value == sheets.TIE:
    return "neither is preferred (a tie)"
  return one


def _majority(sheet: sheets.Sheet, answers: Mapping[str, saying.Value]) -> Settled | None:
  """The value of most; None where two values have as many."""
  del sheet
  counts = collections.Counter(answers.values()).most_common()
  if len(counts) > 1 and counts[0][1] == counts[1][1]:
    return None
  return Settled(counts[0][0], counts[0][1] / len(answers), tuple(sorted(answers)))


def _mean(sheet: sheets.Sheet, answers: Mapping[str, saying.Value]) -> Settled:
  """The mean rating."""
  numbers, (low, high) = [float(value) for value in answers.values()], sheet.scale
  agreement = 1 - (max(numbers) - min(numbers)) / (high - low)
  return Settled(math.fsum(numbers) / len(numbers), agreement, tuple(sorted(answers)))


def _nearest(sheet: sheets.Sheet, answers: Mapping[str, saying.Value]) -> Settled:
  """The text that is nearest to all others, by ROUGE-L; of several the first by its annotator's name."""
  del sheet
  names = sorted(answers)
  if len(names) == 1:
    return Settled(answers[names[0]], 1.0, (names[0],))
  words = {name: row_texts.words(str(answers[name])) for name in names}

  def likeness(a: str, b: str) -> float:
    return 1.0 if answers[a] == answers[b] else rouge.rouge_l(words[a], words[b])

  means = {a: math.fsum(likeness(a, b) for b in names if b != a) / (len(names) - 1) for a in names}
  best = max(names, key=lambda name: means[name])
  return Settled(answers[best], means[best], (best, *(name for name in names if name != best)))


_HOW = {"answer": _nearest, "rating": _mean, "label": _majority, "preference": _majority}
