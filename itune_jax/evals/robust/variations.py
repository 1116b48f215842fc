"""Variations of a benchmark: the same items asked in another way, each a benchmark of its own.

| kind | what changes |
|---|---|
| `format` | how the prompt is written (`formats`) |
| `perturb` | typos, case, spaces, contractions, dialect, spelling, paraphrases, a sentence beside the point |
| `options` | the order of lettered options: rotations, by which circular accuracy is made |
| `shots` | the order of the examples in front |
| `examples` | which examples stand in front: as many of all that its files have, or half where there are no more |
| `system` | the system's turn in front of a conversation |
| `temperature` | how answers are drawn: 0, 0.7 and 1 |
| `seed` | which answers are drawn, at the temperature 0.7 or the benchmark's own above 0 |
| `jailbreaks` | templates around harmful requests |
| `quantised` | the model itself: its frozen kernels in 8 and in 4 bits (made by who has the model, not here) |
| `confidence` | nothing: each answer is put back to the model, which says how sure it is of it (`verbal`) |

An item that a variation cannot change is asked as it is, and its row says `unchanged`; a benchmark of which no item
can be changed is passed over, and the reason is told.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import dataclasses
import itertools
from typing import NamedTuple

import numpy as np

from itune_jax.core import conversation as conversation_lib
from itune_jax.core import rng as rng_lib
from itune_jax.evals import ask as ask_lib
from itune_jax.evals import protocol
from itune_jax.evals.robust import prompt_formats
from itune_jax.evals.robust import perturbations
from itune_jax.grading.safety import jailbreaks

QUANTISED, CONFIDENCE = "quantised", "confidence"
KINDS = (
  *("format", "perturb", "options", "shots", "examples", "system", "temperature", "seed", "jailbreaks"),
  QUANTISED,
  CONFIDENCE,
)
SYSTEMS = (
  "You are a helpful assistant.",
  "You are an expert. Answer as briefly and exactly as you can.",
  "Think carefully before you answer.",
  "You are a careful assistant who never guesses.",
)
_LOOKED_AT = 32  # items that are looked at to see whether a variation applies

Change = Callable[[protocol.Item], protocol.Item | None]


class Variant(NamedTuple):
  """A variation of a benchmark: its kind and name, and the benchmark that asks so."""

  kind: str
  name: str
  benchmark: protocol.Benchmark


@dataclasses.dataclass(frozen=True)
class Changed:
  """Items, changed one by one; what cannot be changed is marked."""

  items: Callable[[], Iterable[protocol.Item]]
  change: Change

  def __call__(self) -> Iterator[protocol.Item]:
    """The items, as a stream."""
    for item in self.items():
      found = self.change(item)
      yield found or dataclasses.replace(item, shown={**item.shown, "unchanged": True})


def variants(
  benchmark: protocol.Benchmark, kind: str, count: int, seed: int, pool: protocol.Benchmark | None = None
) -> tuple[list[Variant], str]:
  """The variations of a kind, `count` at most; or none, and why. pool: the benchmark with as many examples in front as
  there are, of which `examples` draws some. Raises ValueError for a kind that there is not."""
  if kind == "examples":
    return _examples(benchmark, count, seed, pool or benchmark)
  make = {
    "format": _formats,
    "perturb": _perturbed,
    "options": _rotated,
    "shots": _shots,
    "system": _systems,
    "temperature": _temperatures,
    "seed": _seeds,
    "jailbreaks": _jailbreaks,
  }
  if kind not in make:
    raise ValueError(f"no variation is called {kind}; they are {', '.join(KINDS)}")
  return make[kind](benchmark, count, seed)


def by_items(
  benchmark: protocol.Benchmark, kind: str, changes: Sequence[tuple[str, Change]], why: str
) -> tuple[list[Variant], str]:
  """Variations that change items; none, with the reason, where no item of the first is changed by any."""
  first = list(itertools.islice(benchmark.items(), _LOOKED_AT))
  if not any(change(item) for _, change in changes for item in first):
    return [], why
  return [_variant(benchmark, kind, name, items=Changed(benchmark.items, change)) for name, change in changes], ""


def _variant(benchmark: protocol.Benchmark, kind: str, name: str, **changes) -> Variant:
  return Variant(kind, name, dataclasses.replace(benchmark, name=f"{benchmark.name}@{kind}.{_slug(name)}", **changes))


def _slug(name: str) -> str:
  """A name as a file may have it."""
  plain = "".join(c if c.isalnum() and c.isascii() else "_" for c in name)
  return f"{plain}_{rng_lib.stream(name):08x}" if plain != name else plain


def text_changed(item: protocol.Item, change: Callable[[str], str | None]) -> protocol.Item | None:
  """The item with another text: its question, or the last turn of its conversation. None where nothing changes."""
  question = item.question
  if isinstance(question, str):
    found = change(question)
    return None if found is None or found == question else dataclasses.replace(item, question=found)
  *before, last = question.messages
  content = last.get("content")
  found = change(content) if isinstance(content, str) else None
  if found is None or found == content:
    return None
  asked = dataclasses.replace(question, messages=(*before, {**last, "content": found}))
  return dataclasses.replace(item, question=asked)


def reformatted(how: prompt_formats.Format, numbers: bool = True) -> Change:
  """Items in a format. numbers: whether options may be numbered otherwise; then choices that are their labels follow,
  in the same order, and an answer that is one of the choices with them."""

  def change(item: protocol.Item) -> protocol.Item | None:
    if not isinstance(item.question, str):
      return text_changed(item, lambda text: _written(text, how, False))
    found = prompt_formats.parts(item.question)
    if not any(one.kind != "text" for one in found):
      return None
    own = prompt_formats.labels(found)
    renamed = numbers and bool(own) and [choice.strip() for choice in item.choices] == own
    lone = _as_read(found, how) if own and not renamed else how
    table = {old: prompt_formats.NUMBERS[lone.number](i) for i, old in enumerate(own)} if renamed else {}
    open_ended = prompt_formats.written(found, lone)[-1:].isspace()
    put = lambda text: _behind(text, table, open_ended)
    choices = tuple(put(choice) for choice in item.choices)
    answer = put(item.answer) if isinstance(item.answer, str) and item.answer in item.choices else item.answer
    written = lambda text: _written(text, lone, True) or text
    shots = tuple(protocol.Shot(written(shot.question), put(shot.answer)) for shot in item.shots)
    return dataclasses.replace(
      item, question=prompt_formats.written(found, lone), choices=choices, answer=answer, shots=shots
    )

  return change


def _as_read(found: Sequence[prompt_formats.Part], how: prompt_formats.Format) -> prompt_formats.Format:
  """The format with the options' own labels: what must be said again must stay."""
  first = next(one for one in found if one.kind == "option")
  number = "1" if first.label.isdigit() else "a" if first.label.islower() else "A"
  return dataclasses.replace(how, number=number, wrapper=first.wrapper)


def _written(text: str, how: prompt_formats.Format, numbers: bool) -> str | None:
  found = prompt_formats.parts(text)
  if not any(one.kind != "text" for one in found):
    return None
  return prompt_formats.written(found, how if numbers or not prompt_formats.labels(found) else _as_read(found, how))


def _behind(text: str, table: dict[str, str], open_ended: bool) -> str:
  plain = table.get(text.strip())
  found = text if plain is None else text.replace(text.strip(), plain)
  return found.lstrip(" ") if open_ended else found


def _formats(benchmark: protocol.Benchmark, count: int, seed: int) -> tuple[list[Variant], str]:
  generates = benchmark.ask.generates  # what is generated is read by the benchmark's own labels
  changes = [(one.name, reformatted(one, not generates)) for one in prompt_formats.sampled(count, seed)]
  return by_items(benchmark, "format", changes, "its prompts have no descriptors or options that could be read")


def _perturbed(benchmark: protocol.Benchmark, count: int, seed: int) -> tuple[list[Variant], str]:
  changes = [(name, perturbed(name, seed)) for name in list(perturbations.KINDS)[: count or None]]
  return by_items(benchmark, "perturb", changes, "its items have no text that could be changed")


def perturbed(name: str, seed: int) -> Change:
  """Items with a perturbation of what is free text or a field's: options, labels and descriptors stay as they are."""

  def of(item: protocol.Item, text: str) -> str:
    rng = np.random.default_rng([seed, rng_lib.stream(f"{name}/{item.id}")])
    found = prompt_formats.parts(text) or [prompt_formats.Part("text", text)]
    put = [
      one if one.kind == "option" or not one.text.strip() else dataclasses.replace(one, text=_once(name, one.text, rng))
      for one in (found if name != "distractor" else found[:1])
    ]
    return prompt_formats.plain([*put, *found[len(put) :]])

  return lambda item: text_changed(item, lambda text: of(item, text))


def _once(name: str, text: str, rng: np.random.Generator) -> str:
  return perturbations.KINDS[name](text, rng)


def rotated(by: int) -> Change:
  """Items whose options begin with another one; the letter that is right moves with its text."""

  def change(item: protocol.Item) -> protocol.Item | None:
    if not isinstance(item.question, str):
      return None
    found = prompt_formats.parts(item.question)
    own = prompt_formats.labels(found)
    if len(own) < 2 or item.answer not in own or [one.strip() for one in item.choices] not in ([], own):
      return None
    texts = [one.text for one in found if one.kind == "option"]
    places = [(k + by) % len(own) for k in range(len(own))]
    turned = iter(texts[place] for place in places)
    put = [dataclasses.replace(one, text=next(turned)) if one.kind == "option" else one for one in found]
    answer = own[places.index(own.index(item.answer))]
    return dataclasses.replace(item, question=prompt_formats.plain(put), answer=answer) if by % len(own) else None

  return change


def _rotated(benchmark: protocol.Benchmark, count: int, seed: int) -> tuple[list[Variant], str]:
  first = next(iter(benchmark.items()), None)
  own = prompt_formats.labels(prompt_formats.parts(first.question)) if first and isinstance(first.question, str) else []
  changes = [(f"rotated by {by}", rotated(by)) for by in range(1, len(own))]
  why = "its prompts have no lettered options of which the answer is one"
  return by_items(benchmark, "options", changes, why) if changes else ([], why)


def _shots(benchmark: protocol.Benchmark, count: int, seed: int) -> tuple[list[Variant], str]:
  def shuffled(k: int) -> Change:
    def change(item: protocol.Item) -> protocol.Item | None:
      order = np.random.default_rng([seed, k]).permutation(len(item.shots))
      shots = tuple(item.shots[i] for i in order)
      return None if shots == item.shots else dataclasses.replace(item, shots=shots)

    return change

  changes = [(f"order {k}", shuffled(k)) for k in range(1, count + 1)]
  return by_items(benchmark, "shots", changes, "there are not two examples in front of its questions")


@dataclasses.dataclass
class _Pool:
  """The examples that may stand in front of each item; they are read when the first is asked for."""

  benchmark: protocol.Benchmark
  _shots: dict[str, tuple[protocol.Shot, ...]] | None = None

  def drawn(self, k: int, seed: int) -> Change:
    """Items with other examples of the pool, as many as they have; half of them where the pool has no more."""

    def change(item: protocol.Item) -> protocol.Item | None:
      if self._shots is None:
        self._shots = {one.id: one.shots for one in self.benchmark.items()}
      pool, count = self._shots.get(item.id, ()), len(item.shots)
      count = count if count < len(pool) else (count + 1) // 2
      places = np.random.default_rng([seed, k, rng_lib.stream("examples")]).permutation(len(pool))[:count]
      shots = tuple(pool[i] for i in sorted(places))
      return None if not shots or shots == item.shots else dataclasses.replace(item, shots=shots)

    return change


def _examples(
  benchmark: protocol.Benchmark, count: int, seed: int, pool: protocol.Benchmark
) -> tuple[list[Variant], str]:
  """The same examples in front of all items of one pool: which ones is drawn by their places."""
  shared = _Pool(pool)
  changes = [(f"draw {k}", shared.drawn(k, seed)) for k in range(1, count + 1)]
  return by_items(benchmark, "examples", changes, "there are not two examples that could stand in front")


def _systems(benchmark: protocol.Benchmark, count: int, seed: int) -> tuple[list[Variant], str]:
  how = benchmark.ask
  form = how.form if isinstance(how, (ask_lib.Generate, ask_lib.Choose)) else "plain"

  def behind(system: str) -> Change:
    def change(item: protocol.Item) -> protocol.Item | None:
      asked = item.question if isinstance(item.question, conversation_lib.Conversation) else item.prompt(form)
      if not isinstance(asked, conversation_lib.Conversation):
        return None
      rest = asked.messages if asked.messages[0]["role"] != "system" else asked.messages[1:]
      messages = ({"role": "system", "content": system}, *rest)
      shots = item.shots if isinstance(item.question, conversation_lib.Conversation) else ()
      return dataclasses.replace(item, question=dataclasses.replace(asked, messages=messages), shots=shots, head="")

    return change

  changes = [(f"system {k}", behind(system)) for k, system in enumerate(SYSTEMS[: count or None], 1)]
  return by_items(benchmark, "system", changes, "it is asked in plain text, which has no system's turn")


def _drawn(benchmark: protocol.Benchmark, kind: str, values: Sequence[tuple[str, float]]) -> tuple[list[Variant], str]:
  if not isinstance(benchmark.ask, ask_lib.Generate):
    return [], "nothing is drawn: its answers are scored"
  how = benchmark.ask
  return [
    _variant(benchmark, kind, name, ask=dataclasses.replace(how, temperature=value)) for name, value in values
  ], ""


def _temperatures(benchmark: protocol.Benchmark, count: int, seed: int) -> tuple[list[Variant], str]:
  return _drawn(benchmark, "temperature", [(f"temperature {value:g}", value) for value in (0.0, 0.7, 1.0)])


def _seeds(benchmark: protocol.Benchmark, count: int, seed: int) -> tuple[list[Variant], str]:
  """Keys of random numbers hang on the ids of requests, which begin with the variation's name."""
  how = benchmark.ask
  own = (how.temperature if isinstance(how, ask_lib.Generate) else None) or 0.7
  return _drawn(benchmark, "seed", [(f"draw {seed + k}", own) for k in range(1, count + 1)])


def _jailbreaks(benchmark: protocol.Benchmark, count: int, seed: int) -> tuple[list[Variant], str]:
  def around(template: Callable[[str], str]) -> Change:
    return lambda item: text_changed(item, template) if item.harmful else None

  changes = [(name, around(template)) for name, template in list(jailbreaks.TEMPLATES.items())[: count or None]]
  return by_items(benchmark, "jailbreaks", changes, "its items are no harmful requests")
