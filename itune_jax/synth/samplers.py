"""What is drawn for an item without a model, so that rows differ: persona, topic, length, format, language; and how
far the rows that came of it differ."""

import collections
from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any

import numpy as np

from itune_jax.core import check
from itune_jax.grading import rouge

PERSONAS = (
  "a nurse on night shift", "a retired carpenter", "a student of law", "a farmer with few fields",
  "a parent of three small children", "a chess coach", "a network administrator", "a pastry cook",
  "a geologist in the field", "a bus driver who learns English", "a novelist between two books",
  "a volunteer at a library", "an accountant in a small firm", "a marathon runner", "a teacher of physics",
  "a shop owner at the coast", "a translator", "a beekeeper", "a city planner", "a teenager who builds robots",
)  # fmt: skip
TOPICS = (
  "cooking", "household repairs", "personal finance", "astronomy", "the history of trade", "grammar", "gardening",
  "public transport", "music theory", "basic statistics", "first aid", "letters and emails", "travel plans",
  "animal behaviour", "software debugging", "negotiation", "geometry", "weather and climate", "board games",
  "nutrition", "job interviews", "poetry", "electric circuits", "museums", "time management",
)  # fmt: skip
FORMATS = ("plain prose", "a numbered list", "a table", "a short dialogue", "step-by-step instructions", "one sentence")
LENGTHS = (
  "very short (under 30 words)",
  "short (about 60 words)",
  "medium (about 150 words)",
  "long (about 300 words)",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attributes:
  """Attributes that are drawn for each item, evenly, and told to the teacher. Without any, nothing is told.

  personas: who asks. topics: about what. lengths: how long an answer is to be. formats: how it is written. languages:
  in which language. Each is a list of phrases as the teacher reads them; an empty one draws nothing.
  """

  personas: tuple[str, ...] = ()
  topics: tuple[str, ...] = ()
  lengths: tuple[str, ...] = ()
  formats: tuple[str, ...] = ()
  languages: tuple[str, ...] = ()

  def __post_init__(self):
    check.check_types(self)

  def draw(self, rng: np.random.Generator) -> dict[str, str]:
    """A phrase of each list that has some, by its name."""
    lists = {
      "persona": self.personas,
      "topic": self.topics,
      "length": self.lengths,
      "format": self.formats,
      "language": self.languages,
    }
    return {name: phrases[int(rng.integers(len(phrases)))] for name, phrases in lists.items() if phrases}


def diverse() -> Attributes:
  """The project's own lists of personas, topics, lengths and formats."""
  return Attributes(personas=PERSONAS, topics=TOPICS, lengths=LENGTHS, formats=FORMATS)


def said(drawn: Mapping[str, str]) -> str:
  """What the teacher is told of the attributes, "" without any."""
  lines = {
    "persona": "Who asks: {}.",
    "topic": "Topic: {}.",
    "length": "Length of the answer: {}.",
    "format": "Form of the answer: {}.",
    "language": "Language: {}.",
  }
  return "\n".join(lines[name].format(value) for name, value in drawn.items())


def spread(rows: Sequence[Mapping[str, Any]], most: int = 300) -> dict[str, Any]:
  """How far rows differ: of each attribute how evenly its values came (1: all alike often), and of the questions the
  share that resembles an earlier one (ROUGE-L above 0.7), and of distinct pairs of words. `most` rows are compared,
  taken evenly."""
  values: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
  for row in rows:
    for name, value in row.get("source", {}).get("attributes", {}).items():
      values[name][value] += 1
  found: dict[str, Any] = {name: {"values": len(n), "evenness": _evenness(n)} for name, n in sorted(values.items())}
  shown = [rows[i] for i in np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)] if rows else []
  words = [question(row).lower().split() for row in shown]
  alike = sum(any(rouge.rouge_l(a, b) > 0.7 for b in words[:i]) for i, a in enumerate(words))
  pairs = collections.Counter(pair for one in words for pair in zip(one, one[1:], strict=False))
  total = pairs.total()
  return found | {
    "compared": len(words),
    "alike": round(alike / len(words), 4) if words else 0.0,
    "distinct_2": round(len(pairs) / total, 4) if total else 0.0,
  }


def question(row: Mapping[str, Any]) -> str:
  """The text of a row's first user turn."""
  turns = row.get("messages") or row.get("prompt") or ()
  texts = [turn["content"] for turn in turns if turn["role"] == "user"] if not isinstance(turns, str) else [turns]
  return texts[0] if texts and isinstance(texts[0], str) else str(row.get("text", ""))


def _evenness(counts: collections.Counter[str]) -> float:
  """Entropy as a share of what an even draw of as many values has."""
  if len(counts) < 2:
    return 0.0
  shares = [count / counts.total() for count in counts.values()]
  return round(-sum(p * math.log(p) for p in shares) / math.log(len(counts)), 4)
