"""How much of each source is drawn: fixed rates, those that sizes give, and rates that follow what the model learns.

What changes in training (the gin value MIXING of `itune train`) is a value of `adapt`, called at numbered steps with
figures of every source; the feed books both in its log (`data.feed.Feed`), which every checkpoint holds. The rates of a
change are a pure function of (rates before, figures), so a run that is resumed has the same ones, bit for bit.
"""

import abc
from collections.abc import Mapping
import dataclasses
import math
from typing import Literal

from itune_jax.core import check
from itune_jax.core import ranges

Rates = dict[str, float]


class Mixing(abc.ABC):
  """The rates that a run begins with."""

  @abc.abstractmethod
  def rates(self, sizes: Mapping[str, int]) -> Rates:
    """A positive rate for each source, of sum 1. sizes: the examples of each."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Proportional(Mixing):
  """By size (examples-proportional mixing, Raffel et al. 2020).

  cap: sizes above it count as it, 0 for none.
  """

  cap: int = 0

  def __post_init__(self):
    check.check_types(self)
    check.require(self.cap >= 0, f"Proportional.cap = {self.cap}; it counts examples, 0 for none")

  def rates(self, sizes: Mapping[str, int]) -> Rates:
    """min(size, cap) / Σ."""
    return normal({name: float(min(size, self.cap or size)) for name, size in sizes.items()})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Temperature(Mixing):
  """By size to the power of 1 / temperature: 1 is proportional, more is flatter.

  temperature: above 0. cap: sizes above it count as it, 0 for none.
  """

  temperature: float = 2.0
  cap: int = 0

  def __post_init__(self):
    check.check_types(self)
    check.require(self.temperature > 0 and self.cap >= 0, "Temperature.temperature is above 0, cap is 0 or more")

  def rates(self, sizes: Mapping[str, int]) -> Rates:
    """size^(1/T) / Σ."""
    return normal({name: min(n, self.cap or n) ** (1 / self.temperature) for name, n in sizes.items()})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fixed(Mixing):
  """As given.

  given: a positive rate for each source, of any sum.
  """

  given: Mapping[str, float]

  def __post_init__(self):
    check.check_types(self)

  def rates(self, sizes: Mapping[str, int]) -> Rates:
    """The given ones. Raises InputError for other names than those of the sources."""
    check.require(
      set(self.given) == set(sizes), f"Fixed.given has {', '.join(self.given)}; the sources are {', '.join(sizes)}"
    )
    return normal(dict(self.given))


class Adaptive(abc.ABC):
  """Rates that follow figures of the sources, every so many steps."""

  every: int

  @property
  def follows(self) -> Literal["loss", "alignment"]:
    """What the figures are: the objective's loss on held-out rows of each source, or the cosine of the gradient on its
    training rows with that of the task."""
    return "loss"

  @abc.abstractmethod
  def adapt(self, rates: Mapping[str, float], figures: Mapping[str, float], before: Mapping[str, float]) -> Rates:
    """The rates from here on, of sum 1, each positive. figures: of each source now; before: at the last change, or now
    where there was none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ByLoss(Adaptive):
  """By held-out loss: sources whose loss still falls get more (rate ∝ rate · exp(step · gain)), a share stays even.

  Exponentiated gradient, as DoReMi (Xie et al., NeurIPS 2023, arXiv 2305.10429) moves domain weights by excess loss;
  what a loss could still lose is not known without a reference, so the gain is what it lost since the last change, as a
  share of it (Albalak et al. 2023 weigh by what is learned too, arXiv 2312.02406).

  every: steps between two changes. step: how fast rates move. even: the share of all rates that is spread evenly, so
  that none is forgotten. toward_high: favours the sources of the highest loss, in place of those that still fall.
  """

  every: int = 100
  step: ranges.PositiveFloat = 5.0
  even: float = 0.1
  toward_high: bool = False

  def __post_init__(self):
    check.check_types(self)
    _checked(self.every, self.even)

  def adapt(self, rates: Mapping[str, float], figures: Mapping[str, float], before: Mapping[str, float]) -> Rates:
    """figures: held-out losses, in nats a token or in what the objective counts."""
    gain = {
      name: figures[name] if self.toward_high else (before[name] - figures[name]) / max(abs(before[name]), 1e-9)
      for name in rates
    }
    return moved(rates, gain, self.step, self.even)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ByExcess(Adaptive):
  """By what a source's held-out loss is above that of a reference: rate ∝ rate · exp(step · max(loss - reference, 0)),
  mixed with an even share (DoReMi, Xie et al., NeurIPS 2023, arXiv 2305.10429, with held-out rows in place of those of
  the step, in nats).

  reference: the loss of each source that a run of fixed rates reached. every: steps between two changes. step: how fast
  rates move. even: the share that is spread evenly.
  """

  reference: Mapping[str, float]
  every: int = 100
  step: float = 1.0
  even: float = 0.1

  def __post_init__(self):
    check.check_types(self)
    _checked(self.every, self.even)

  def adapt(self, rates: Mapping[str, float], figures: Mapping[str, float], before: Mapping[str, float]) -> Rates:
    """figures: held-out losses. Raises InputError where `reference` names other sources."""
    del before
    check.require(
      set(self.reference) == set(rates),
      f"ByExcess.reference has {', '.join(sorted(self.reference))}; the sources are {', '.join(sorted(rates))}",
    )
    # A loss that is no number must stay one: max(nan, 0) is 0 here and nan there.
    above = {name: figures[name] - self.reference[name] for name in rates}
    return moved(rates, {name: 0.0 if value < 0 else value for name, value in above.items()}, self.step, self.even)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ByAlignment(Adaptive):
  """By the cosine of each source's gradient with that of the task: rate ∝ rate · exp(step · cosine) (DoGE, Fan et al.,
  ICML 2024, arXiv 2310.15393).

  every: steps between two changes. step: how fast rates move. even: the share that is spread evenly.
  """

  every: int = 100
  step: ranges.PositiveFloat = 1.0
  even: float = 0.1

  def __post_init__(self):
    check.check_types(self)
    _checked(self.every, self.even)

  @property
  def follows(self) -> Literal["loss", "alignment"]:
    """Cosines."""
    return "alignment"

  def adapt(self, rates: Mapping[str, float], figures: Mapping[str, float], before: Mapping[str, float]) -> Rates:
    """figures: cosines."""
    del before
    return moved(rates, figures, self.step, self.even)


def moved(rates: Mapping[str, float], gain: Mapping[str, float], step: float, even: float) -> Rates:
  """(1 - even) · softmax(log rate + step · gain) + even / n. Raises InputError for a figure that is no number, or of
  another source."""
  check.require(set(gain) == set(rates), f"figures of {', '.join(sorted(gain))}; the sources are {', '.join(rates)}")
  bad = sorted(name for name, value in gain.items() if not math.isfinite(value))
  check.require(not bad, f"the figure of source {', '.join(bad)} is no number: its rates stay as they were")
  logs = {name: math.log(rates[name]) + step * gain[name] for name in sorted(rates)}
  most = max(logs.values())
  new = normal({name: math.exp(value - most) for name, value in logs.items()})
  return {name: (1 - even) * value + even / len(new) for name, value in new.items()}


def normal(rates: Mapping[str, float]) -> Rates:
  """Rates of sum 1, by name. Raises InputError where one is not positive."""
  bad = sorted(name for name, rate in rates.items() if not rate > 0 or not math.isfinite(rate))
  check.require(rates and not bad, f"rates {dict(rates)}: each source needs a positive one")
  total = math.fsum(rates.values())
  return {name: rates[name] / total for name in sorted(rates)}


def _checked(every: int, even: float) -> None:
  check.require(every > 0 and 0 < even <= 1, "an adaptive mixture has every >= 1 and even above 0, at most 1")
