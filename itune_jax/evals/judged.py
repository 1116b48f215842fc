"""Answers that a judge reads: compared in both orders, or rated; and all that says how far the judge can be trusted.

A judge is a responder with a rubric. Whatever makes its verdicts what they are (prompt, parser, model, how it is asked)
is hashed into a key that stands in every row, and in the ids of its requests: figures of two keys are not one.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any, Literal, NamedTuple

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.evals import ask as ask_lib
from itune_jax.evals import protocol
from itune_jax.grading.judging import judge_prompt as prompt_lib
from itune_jax.grading.judging import reading as reading_lib
from itune_jax.grading.judging import reliability
from itune_jax.grading.judging import rubrics
from itune_jax.grading.statistics import metrics as statistics
from itune_jax.grading.statistics import pair_metrics
from itune_jax.sampling import requests as requests_lib

By = Literal["text", "tokens", "scores"]


class Game(NamedTuple):
  """One thing a judge is asked: its name among all, and what fills the prompt."""

  id: str
  prompt: prompt_lib.Prompt
  values: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judge:
  """Who judges, and how it is asked.

  responder: who answers; None is whoever is evaluated, so that a model judges itself or by one of its adapters. name:
  what else makes the judge what it is, such as the model on the mesh: it is shown, and hashed. prompt: a rubric by
  name or file, "" for the benchmark's own. by: verdicts are read in its text, weighed by the log-probabilities that
  come with its first token (`tokens`), or by those of every answer that the rubric knows (`scores`: models on the
  mesh). top: so many tokens are weighed. temperature: of its answers. limit: their new tokens, 0 for the rubric's.
  adapter: of those that ride on the responder's base. repeats: how often it is asked each thing, drawn anew each time.
  panel: further judges, who read the same rubric; a verdict is then the mean over all voices (Verga et al. 2024), and
  how far they agree stands beside the figures.
  """

  responder: requests_lib.Responder | None = None
  name: str = ""
  prompt: str = ""
  by: By = "text"
  top: int = 20
  temperature: float = 0.0
  limit: int = 0
  adapter: str | None = None
  repeats: int = 1
  panel: "tuple[Judge, ...]" = ()

  def __post_init__(self):
    check.check_types(self)
    check.require(self.top > 0 and self.limit >= 0, "Judge.top counts tokens from 1, Judge.limit from 0")
    warm = 0 <= self.temperature < float("inf")
    check.require(warm, f"Judge.temperature = {self.temperature:g}; it is a number, 0 or more")
    drawn = self.by == "text" and self.temperature > 0
    check.require(
      self.repeats == 1 or (self.repeats > 1 and drawn),
      f"Judge.repeats = {self.repeats}, at temperature {self.temperature:g} by {self.by}: a judge says the same each "
      "time unless its text is drawn (by = 'text', a temperature above 0)",
    )
    for one in self.panel:
      check.require(not one.prompt and not one.panel, "a judge of a panel has no rubric and no panel of its own")
    if self.prompt:
      rubrics.named(self.prompt)

  def bound(self, responder: requests_lib.Responder) -> "Judge":
    """The same, where whoever has no responder of its own is this one."""
    panel = tuple(one.bound(responder) for one in self.panel)
    return dataclasses.replace(self, responder=self.responder or responder, panel=panel)

  @property
  def voices(self) -> list[str]:
    """The name of each voice: of the judge and its panel, as often as each speaks."""
    judges = (self, *self.panel)
    named = [one.name or f"judge {k}" for k, one in enumerate(judges, 1)]
    return [
      name if one.repeats == 1 else f"{name}, {k}"
      for name, one in zip(named, judges, strict=True)
      for k in range(1, one.repeats + 1)
    ]

  @property
  def identity(self) -> dict[str, Any]:
    """What makes its verdicts what they are beside the prompts, as JSON: no key of an endpoint is in it."""
    names = ("name", "prompt", "by", "temperature", "limit", "adapter")
    settings = {} if self.responder is None else dict(self.responder.settings)
    own = {name: vars(self)[name] for name in names} | {"top": self.top if self.by == "tokens" else 0}
    own |= {"repeats": self.repeats} if self.repeats > 1 else {}
    own |= {"panel": [one.identity for one in self.panel]} if self.panel else {}
    return own | {"responder": settings}

  def rubric(self, own: prompt_lib.Prompt) -> prompt_lib.Prompt:
    """The prompt that is chosen, or else the benchmark's own. Raises InputError for one of another kind."""
    found = rubrics.named(self.prompt) if self.prompt else own
    check.require(found.kind == own.kind, f"the judge's prompt {found.name} is {found.kind}; {own.kind} is asked for")
    return found

  def key(self, prompts: Sequence[prompt_lib.Prompt]) -> str:
    """16 digits of everything that makes the verdicts what they are."""
    return prompt_lib.digest([[prompt.digest for prompt in prompts], self.identity])

  def ask(self, games: Sequence[Game], key: str) -> list[reading_lib.Reading]:
    """A verdict for each, all asked together; of several voices what they say together. Raises InputError where the
    rubric has no answers of one token and is to be weighed by them."""
    said = [one._once(games, f"{key}{_nth(k)}") for one in (self, *self.panel) for k in range(one.repeats)]
    if len(said) == 1:
      return said[0]
    return [reading_lib.together(list(zip(self.voices, each, strict=True))) for each in zip(*said, strict=True)]

  def shown(self, key: str, readings: Sequence[reading_lib.Reading]) -> dict[str, Any]:
    """What a row shows of the judge: its key and name, how often it gave no verdict and why, and of several voices the
    votes of each reading."""
    lost, votes = reading_lib.count(readings), [list(one.votes) for one in readings if one.votes]
    more = ({"judge_faults": lost} if lost else {}) | ({"votes": votes} if votes else {})
    return {"judge": key, "judge_name": ", ".join(self.voices) if self.panel else self.name, **more}

  def _once(self, games: Sequence[Game], key: str) -> list[reading_lib.Reading]:
    """What one voice says."""
    if self.responder is None:
      raise ValueError("a judge without a responder of its own is bound to one before it is asked")
    for prompt in {game.prompt.name: game.prompt for game in games}.values() if self.by != "text" else ():
      check.require(prompt.tokens, f"the judge's prompt {prompt.name} has no answers of one token: ask it by text")
    return self._scored(games, self.responder) if self.by == "scores" else self._answered(games, key, self.responder)

  def _answered(self, games, key: str, responder: requests_lib.Responder) -> list[reading_lib.Reading]:
    weighed = self.by == "tokens"
    asked = [
      requests_lib.Request(
        conversation=game.prompt.filled(game.values),
        id=f"{key}/{game.id}",
        limit=self.limit or game.prompt.limit,
        adapter=self.adapter,
        temperature=self.temperature,
        top=self.top if weighed else 0,
      )
      for game in games
    ]
    said = [response.samples[0] for response in responder.answer(asked)]
    return [self._read(game.prompt, sample) for game, sample in zip(games, said, strict=True)]

  def _read(self, prompt: prompt_lib.Prompt, sample: requests_lib.Sample) -> reading_lib.Reading:
    if sample.finish == "failed":
      return reading_lib.Reading(None, "failed", sample.problem)
    if self.by == "tokens":
      return reading_lib.of_tokens(prompt, sample.top[0] if sample.top else None, sample.text)
    text = sample.text.rpartition(ask_lib.THINK_END)[2]
    return reading_lib.of_text(prompt, text, sample.finish)._replace(said=sample.text)

  def _scored(self, games, responder: requests_lib.Responder) -> list[reading_lib.Reading]:
    pairs = [
      requests_lib.Pair(game.prompt.filled(game.values), token, self.adapter)
      for game in games
      for token in game.prompt.tokens
    ]
    scores = iter(responder.score(pairs))
    told = [{token: next(scores).logprob for token in game.prompt.tokens} for game in games]
    weighed = zip(games, told, strict=True)
    return [reading_lib.of_tokens(game.prompt, tuple(logprobs.items()), "") for game, logprobs in weighed]


def _nth(k: int) -> str:
  """What ends the key of a voice that speaks again: requests of other ids are drawn anew."""
  return f"/{k + 1}" if k else ""


class Sides(NamedTuple):
  """What is compared: what both answers share (the question), and ours and theirs, a text for each turn."""

  shared: Mapping[str, str]
  ours: tuple[str, ...]
  theirs: tuple[str, ...]
  prompt: prompt_lib.Prompt


PAIR_METRICS: Mapping[str, statistics.Metric] = {
  "win_rate": statistics.Mean(),
  "win_rate_of_all": statistics.Mean(),
  "position_consistency": statistics.Mean(),
  "first_position_rate": statistics.Mean("lower"),
  "ties": statistics.Mean("lower"),
  "unread": statistics.Mean("lower"),
  "length_correlation": pair_metrics.Pearson("lower"),
}
"""win_rate: of pairs whose games are both read. win_rate_of_all: an unread game counts as a draw. first_position_rate:
share of decided games that the first answer won, one half without a liking. length_correlation: of what our answer is
worth with how much longer it is."""


@dataclasses.dataclass(frozen=True)
class Pairwise(protocol.Grade):
  """Our answers against others, each pair in both orders. sides: what is compared, pair by pair, nothing where there is
  no answer. more: further values of an item, by its readings in both orders."""

  judge: Judge
  prompts: tuple[prompt_lib.Prompt, ...]
  sides: Callable[[protocol.Item, Any], Sequence[Sides]]
  more: Callable[[Sequence[Sides], Sequence["Played"]], Mapping[str, Any]] = lambda sides, played: {}

  def bound(self, responder: requests_lib.Responder) -> "Pairwise":
    """The same, judged by this responder where the judge has none of its own."""
    return dataclasses.replace(self, judge=self.judge.bound(responder))

  def __call__(self, items: Sequence[protocol.Item], answers: Sequence[Any]) -> list[protocol.Graded]:
    """Values by `PAIR_METRICS` and `more`; the judge's words and key in the rows."""
    key = self.judge.key(self.prompts)
    pairs = [self.sides(*given) for given in zip(items, answers, strict=True)]
    games = [
      Game(f"{item.id}/{number}/{order}", side.prompt, placed(side, order == "swapped"))
      for item, sides in zip(items, pairs, strict=True)
      for number, side in enumerate(sides)
      for order in ("straight", "swapped")
    ]
    readings = iter(self.judge.ask(games, key))
    found = []
    for sides in pairs:
      played = [Played(next(readings), next(readings)) for _ in sides]
      values = {**_values(sides, played), **self.more(sides, played)}
      readings_ = [reading for one in played for reading in one]
      found.append(protocol.Graded(values, {**self.judge.shown(key, readings_), **shown(played)}))
    return found


class Played(NamedTuple):
  """What a judge said of one pair, in both orders."""

  straight: reading_lib.Reading
  swapped: reading_lib.Reading

  @property
  def orders(self) -> reliability.Orders:
    """What both say together."""
    return reliability.of_orders(self.straight.value, self.swapped.value)


def placed(side: Sides, swapped: bool) -> dict[str, str]:
  """What fills a pair's prompt: the first and the second answer, numbered where there are several turns."""
  first, second = (side.theirs, side.ours) if swapped else (side.ours, side.theirs)
  if len(first) == 1:
    return {**side.shared, "answer_a": first[0], "answer_b": second[0]}
  numbered = {f"answer_a_{i}": text for i, text in enumerate(first, 1)}
  return {**side.shared, **numbered, **{f"answer_b_{i}": text for i, text in enumerate(second, 1)}}


def shown(played: Sequence[Played]) -> dict[str, Any]:
  """What the rows show of games: the judge's words in both orders, and what they make of the first answer."""
  said = [{"straight": one.straight.said, "swapped": one.swapped.said} for one in played]
  return {"verdicts": said, "worth_of_first": [[one.straight.value, one.swapped.value] for one in played]}


def _values(sides: Sequence[Sides], played: Sequence[Played]) -> dict[str, Any]:
  orders = [one.orders for one in played]
  wins = [one.win for one in orders]
  halves = [(_or(one.straight.value), 1 - _or(one.swapped.value)) for one in played]
  longer = sum(len("".join(side.ours)) - len("".join(side.theirs)) for side in sides)
  win = mean(wins) if None not in wins else None
  return {
    "win_rate": win,
    "win_rate_of_all": mean([(ours + others) / 2 for ours, others in halves]),
    "position_consistency": mean([one.consistent for one in orders]),
    "first_position_rate": mean([one.first for one in orders]),
    "ties": mean([one.tie for one in orders]),
    "unread": mean([one.unread for one in orders]),
    "length_correlation": None if win is None else [win, longer],
  }


def _or(value: float | None) -> float:
  return 0.5 if value is None else value


def mean(values: Sequence[float | None]) -> float | None:
  """Of those that are known; None where none is."""
  known = [value for value in values if value is not None]
  return sum(known) / len(known) if known else None


RATING_METRICS: Mapping[str, statistics.Metric] = {
  "score": statistics.MicroMean(),
  "score_of_all": statistics.MicroMean(),
  "unread": statistics.Mean("lower"),
  "length_correlation": pair_metrics.Pearson("lower"),
}
"""score: of the ratings that were read, as MT-bench has it. score_of_all: an unread one counts as the least."""


class Rated(NamedTuple):
  """One answer to be rated: what fills the prompt, and the text whose length counts."""

  values: Mapping[str, str]
  text: str
  prompt: prompt_lib.Prompt


@dataclasses.dataclass(frozen=True)
class Ratings(protocol.Grade):
  """Answers rated one by one. parts: what is rated of an item (each turn), in order, nothing where there is no answer.
  names: of the parts, whose scores stand beside the whole's as `score_NAME`."""

  judge: Judge
  prompts: tuple[prompt_lib.Prompt, ...]
  parts: Callable[[protocol.Item, Any], Sequence[Rated]]
  names: tuple[str, ...] = ()

  def bound(self, responder: requests_lib.Responder) -> "Ratings":
    """The same, judged by this responder where the judge has none of its own."""
    return dataclasses.replace(self, judge=self.judge.bound(responder))

  @property
  def metrics(self) -> dict[str, statistics.Metric]:
    """`RATING_METRICS`, and the score of each part."""
    return {**RATING_METRICS, **{f"score_{name}": statistics.Mean() for name in self.names}}

  def __call__(self, items: Sequence[protocol.Item], answers: Sequence[Any]) -> list[protocol.Graded]:
    """Values by `metrics`; the judge's words and key in the rows."""
    key = self.judge.key(self.prompts)
    parts = [self.parts(*given) for given in zip(items, answers, strict=True)]
    games = [
      Game(f"{item.id}/{number}", part.prompt, part.values)
      for item, rated in zip(items, parts, strict=True)
      for number, part in enumerate(rated)
    ]
    readings = iter(self.judge.ask(games, key))
    return [self._graded(rated, [next(readings) for _ in rated], key) for rated in parts]

  def _graded(self, parts: Sequence[Rated], readings: Sequence[reading_lib.Reading], key: str) -> protocol.Graded:
    scores = [one.value for one in readings]
    known = [one for one in scores if one is not None]
    full = [part.prompt.scale[0] if one is None else one for part, one in zip(parts, scores, strict=True)]
    values: dict[str, Any] = {
      "score": [sum(known), len(known)] if known else None,
      "score_of_all": [sum(full), len(full)] if full else None,
      "unread": 1 - len(known) / len(scores) if scores else None,
      "length_correlation": [sum(known) / len(known), sum(len(part.text) for part in parts)] if known else None,
    }
    by_part = scores or [None] * len(self.names)
    values |= {f"score_{name}": score for name, score in zip(self.names, by_part, strict=True)} if self.names else {}
    told = {"verdicts": [one.said for one in readings], "ratings": scores}
    return protocol.Graded(values, {**self.judge.shown(key, readings), **told})


def key_of(result: contracts.EvalResult) -> str:
  """The judge's key of all rows of a result, "" for one without a judge. Raises InputError where there are several:
  figures of two judges are no figure."""
  keys = {row["judge"]: None for row in result.rows if "judge" in row}
  check.require(len(keys) < 2, f"rows of {len(keys)} judges ({', '.join(keys)}): their figures are not to be averaged")
  return next(iter(keys), "")


def said(result: contracts.EvalResult) -> dict[str, Any]:
  """What stands beside the figures of a judged benchmark: the judge's key, and what it gave no verdict of."""
  key, lost = key_of(result), faults(result)
  return ({"judge": key} if key else {}) | ({"judge_faults": lost} if lost else {})


def faults(result: contracts.EvalResult) -> dict[str, int]:
  """How many verdicts are missing, by the reason."""
  found: dict[str, int] = {}
  for row in result.rows:
    for kind, number in row.get("judge_faults", {}).items():
      found[kind] = found.get(kind, 0) + number
  return found


def recalled(identity: Mapping[str, Any]) -> Judge:
  """A judge of an identity that was written down: how it was asked, without who answers. Raises InputError for what is
  none."""
  names = {field.name for field in dataclasses.fields(Judge)} - {"responder"}
  own: dict[str, Any] = {name: value for name, value in identity.items() if name in names}
  own["top"] = own.get("top") or Judge.top
  own["panel"] = tuple(map(recalled, own.get("panel", ())))
  return Judge(**own)
