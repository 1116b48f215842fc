"""The arms of a round of self-improvement: rows that a model made and rows that people wrote, at equal tokens."""

from collections.abc import Callable, Iterable, Mapping, Sequence
import collections
from typing import Any, Literal, NamedTuple
import zlib

import numpy as np

from itune_jax.core import check
from itune_jax.core import jsontext
from itune_jax.data import example as example_lib
from itune_jax.data.readers import readers
from itune_jax.synth import gates
from itune_jax.synth import sources

By = Literal["random", "longest"]
Tokens = Callable[[example_lib.Example], int]


class Arm(NamedTuple):
  """The rows that are trained on, their tokens, and how many others were left out, by reason."""

  rows: list[example_lib.Example]
  tokens: int
  dropped: dict[str, int]


def generated(paths: Sequence[str], heldout: Iterable[example_lib.Example]) -> tuple[list[example_lib.Example], Any]:
  """The rows of several generators without those that are near one another or ask what is evaluated on; and how many
  were left out, by reason."""
  asked = [text for one in heldout if (text := sources.asked(one))]
  gate, kept, dropped = gates.Novel(lambda row: row["text"], asked), [], collections.Counter()
  for number, example in enumerate(one for path in paths for one in readers.examples(path)):
    row = {"text": sources.asked(example), "source": {"item": number}}
    reason = gate.admits(row) if row["text"] else ""
    if reason:
      dropped[reason] += 1
    else:
      gate.took(row)
      kept.append(example)
  return kept, dropped


def chosen(examples: Sequence[example_lib.Example], count: Tokens, budget: int, by: By, seed: int) -> Arm:
  """Rows up to a budget of tokens: drawn by a seed, or those with the longest answers; a row that does not fit any more
  is passed over. Equal rows of equal length are told apart by their ids alone."""
  dropped: collections.Counter[str] = collections.Counter()
  sizes = [count(one) for one in examples]
  usable = [k for k, size in enumerate(sizes) if size]
  check.require(usable, f"none of {len(examples)} rows can be rendered within Improve.max_length by the template")
  dropped["cannot be rendered"] = len(examples) - len(usable)
  rng = np.random.Generator(np.random.PCG64([seed, zlib.crc32(b"arm")]))
  order = [usable[k] for k in rng.permutation(len(usable))]
  if by == "longest":
    order = sorted(usable, key=lambda k: (-len(examples[k].answer), examples[k].id))
  rows, total = [], 0
  for k in order:
    if total + sizes[k] <= budget:
      rows.append(examples[k])
      total += sizes[k]
  dropped["beyond the budget of tokens"] = len(usable) - len(rows)
  check.require(rows, f"no row fits a budget of {budget} tokens: give more rows, or a larger budget")
  return Arm(rows, total, {reason: n for reason, n in dropped.items() if n})


def lines(examples: Iterable[example_lib.Example]) -> str:
  """Rows as JSON lines."""
  return "".join(jsontext.dumps(one.to_json()) + "\n" for one in examples)


def equal(
  made: Sequence[example_lib.Example],
  real: Sequence[example_lib.Example],
  count: Tokens,
  budget: int,
  by: By,
  seed: int,
) -> dict[str, Arm]:
  """Both arms at equal tokens: as many as `budget` says, or as the smaller one has. Rows are of unequal lengths, so
  both are cut once more to what the one that filled its budget less reached."""
  budget = budget or min(sum(map(count, made)), sum(map(count, real)))
  arms = {"generated": chosen(made, count, budget, by, seed), "real": chosen(real, count, budget, "random", seed)}
  least = min(arm.tokens for arm in arms.values())
  cut = lambda name, how: chosen(arms[name].rows, count, least, how, seed)._replace(dropped=arms[name].dropped)
  return {"generated": cut("generated", by), "real": cut("real", "random")}


def told(arms: Mapping[str, Arm]) -> dict[str, Any]:
  """What a manifest says of arms."""
  return {name: {"rows": len(arm.rows), "tokens": arm.tokens, "dropped": arm.dropped} for name, arm in arms.items()}
