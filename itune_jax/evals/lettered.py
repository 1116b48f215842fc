"""Multiple choice whose choices stand in the prompt under letters: the likeliest letter, or the letter that an answer
names.

| variant | how it is asked | figures |
|---|---|---|
| `letter` | the log-probabilities of the letters behind the prompt | `acc`: the first of the likeliest is right |
| `generate` | an answer of the model, in its chat template | `acc`, and `unparsed`: the share that names no letter |

An answer that names no letter is wrong; it is never given a letter by chance.
"""

from collections.abc import Callable, Iterable, Sequence
import functools
from typing import Any

from itune_jax.core import check
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.grading import extract
from itune_jax.grading import letters
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.grading.statistics import pair_metrics
from itune_jax.sampling import requests as requests_lib

VARIANTS = ("letter", "generate")
NEW_TOKENS = 256
NONE = "none"  # the class of an answer that names no letter


def listed(options: Sequence[str], mark: str = "{}. {}\n") -> str:
  """The choices under their letters, a line for each."""
  return "".join(mark.format(letters.letter(i), option) for i, option in enumerate(options))


def item(options: Sequence[str], right: int, **own: Any) -> protocol.Item:
  """An item with its letters. own: the other fields of `protocol.Item`. Raises InputError for a right choice that is
  none of them, and for fewer than two."""
  where = own.get("where", "")
  check.require(2 <= len(options) <= 26, f"{where}: has {len(options)} choices; two to twenty-six are asked")
  check.require(0 <= right < len(options), f"{where}: the answer is choice {right} of {len(options)} (the first is 0)")
  choices = tuple(" " + letters.letter(i) for i in range(len(options)))
  shown = {"options": list(options), **own.pop("shown", {})}
  return protocol.Item(choices=choices, answer=letters.letter(right), shown=shown, **own)


def benchmark(
  name: str,
  items: Callable[[], Iterable[protocol.Item]],
  settings: official.Settings,
  *,
  tags: tuple[str, ...] = (),
  macro_f1: bool = False,
  **own: Any,
) -> protocol.Benchmark:
  """The benchmark of lettered items in the variant of the settings. macro_f1: whether that is a figure too. own: other
  fields of `protocol.Benchmark`."""
  generates = settings.variant == "generate"
  metrics: dict[str, metrics_lib.Metric] = {"acc": metrics_lib.Mean()}
  metrics |= {"macro_f1": pair_metrics.MacroF1()} if macro_f1 else {}
  metrics |= {"unparsed": metrics_lib.Mean("lower")} if generates else {}
  asked = official.generate(settings, limit=NEW_TOKENS, form="chat", temperature=0.0)
  return protocol.Benchmark(
    name=name,
    items=items,
    ask=asked if generates else official.choose(settings),
    grade=protocol.each(functools.partial(said if generates else likeliest, macro_f1=macro_f1)),
    metrics=metrics,
    tags=tags,
    **own,
  )


def likeliest(item: protocol.Item, answer: Sequence[requests_lib.Score], *, macro_f1: bool = False) -> protocol.Graded:
  """Whether the first of the likeliest letters is right."""
  scores = [score.logprob for score in answer]
  chosen = letters.letter(scores.index(max(scores)))
  return protocol.Graded(_values(item.answer, [chosen], macro_f1), {"chosen": chosen})


def said(item: protocol.Item, answer: requests_lib.Response, *, macro_f1: bool = False) -> protocol.Graded:
  """Whether the answer names the right letter; the share of the samples where it does."""
  found = [letters.chosen(sample.text, item.shown["options"]) for sample in answer.samples]
  unparsed = sum(one == extract.INVALID for one in found) / len(found)
  values = _values(item.answer, found, macro_f1) | {"unparsed": unparsed}
  return protocol.Graded(values, {"chosen": found[0]})


def _values(right: str, found: Sequence[str], macro_f1: bool) -> dict[str, Any]:
  """macro-F1 is of the first sample."""
  pair = (right, NONE if found[0] == extract.INVALID else found[0])
  values: dict[str, Any] = {"acc": sum(one == right for one in found) / len(found)}
  return values | ({"macro_f1": pair} if macro_f1 else {})
