"""Ranks and scales by site: what methods with a low rank share."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
import re
from typing import Any, ClassVar, Self

import numpy as np

from itune_jax.core import check
from itune_jax.core import ranges
from itune_jax.nn import site
from itune_jax.peft import method as method_lib
from itune_jax.peft.folders import codec

PROJECTIONS = r"(blocks|encoder|decoder)/\d+/((attn|cross)/(q|k|v|o|qkv)|mlp/(gate|up|down|gate_up))"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranks(method_lib.SiteMethod):
  """`rank_pattern` maps regexes over expanded site names to ranks (first match); 0 leaves a layer out.

  Layers of one stack differ in rank by a mask: arrays are as wide as the largest, and what is masked gives nothing,
  gets no gradient and is not written to files.

  rank: r, the width of the two factors A and B. rank_pattern: ranks by regex over expanded site names, the first
  match; 0 leaves a layer out.
  """

  rank: int = 8
  sites: str = PROJECTIONS
  rank_pattern: dict[str, int] = dataclasses.field(default_factory=dict)
  regexes: ClassVar[tuple[str, ...]] = ("sites", "rank_pattern")

  def __post_init__(self):
    super().__post_init__()
    kind = type(self).__name__
    check.require(self.rank > 0, f"{kind}.rank must be positive, not {self.rank}")
    check.require(all(r >= 0 for r in self.rank_pattern.values()), f"{kind}.rank_pattern: ranks are 0 (none) or more")

  def rank_of(self, site_name: str) -> int:
    """The rank at one expanded site name."""
    return first(self.rank_pattern, site_name, self.rank)

  def layer_values(self, spec: site.SiteSpec, matched: np.ndarray) -> dict[str, np.ndarray]:
    """Rank mask [L, R] of a site; a layer that is not matched has rank 0."""
    ranks = [self.rank_of(name) if on else 0 for name, on in zip(spec.layers, matched, strict=True)]
    limit = min(math.prod(spec.in_shape), math.prod(spec.out_shape))
    check.require(
      max(ranks) <= limit,
      f"{type(self).__name__} rank {max(ranks)} at {spec.name} is larger than the matrix (at most {limit})",
    )
    return {"rank_mask": (np.arange(max(*ranks, 1)) < np.array(ranks)[:, None]).astype(np.float32)}

  def peft_ranks(self, parts: Sequence[codec.Part]) -> dict[str, Any]:
    """`r` with its pattern."""
    ranks = {part.module: int(part.leaves["rank_mask"].sum()) for part in parts}
    rank = codec.most(list(ranks.values()))
    return {"r": rank, "rank_pattern": {re.escape(m): r for m, r in ranks.items() if r != rank}}

  @classmethod
  def of_ranks(cls, parts: Sequence[codec.Part], ranks: Mapping[str, int], **fields) -> Self:
    """The method with the ranks (by module) of a folder."""
    rank = codec.most(list(ranks.values()))
    pattern = {re.escape(part.name): ranks[part.module] for part in parts if ranks[part.module] != rank}
    return cls(rank=rank, sites=codec.sites_of(parts), rank_pattern=pattern, **fields)

  def ranked(self, name: str) -> codec.Arrays:
    """What goes with the factors of one site that are read from a folder."""
    return {"rank_mask": np.ones(self.rank_of(name), np.float32)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scaled(Ranks):
  """Ranks, and a scale s = α/r. `alpha_pattern` maps regexes over expanded site names to α (first match).

  alpha: what is added is scaled by alpha / rank. alpha_pattern: alphas by regex over expanded site names, the first
  match.
  """

  alpha: ranges.PositiveFloat = 16.0
  alpha_pattern: dict[str, float] = dataclasses.field(default_factory=dict)
  regexes: ClassVar[tuple[str, ...]] = ("sites", "rank_pattern", "alpha_pattern")

  def divisor(self, rank: int) -> float:
    """What α is divided by at a positive rank."""
    return rank

  def scale_of(self, site_name: str) -> float:
    """s at one expanded site name."""
    return first(self.alpha_pattern, site_name, self.alpha) / self.divisor(self.rank_of(site_name) or 1)

  def layer_values(self, spec: site.SiteSpec, matched: np.ndarray) -> dict[str, np.ndarray]:
    """Scale [L] and rank mask [L, R] of a site."""
    scale = np.array([self.scale_of(name) for name in spec.layers], np.float32)
    return {"scale": scale, **super().layer_values(spec, matched)}

  def peft_scales(self, parts: Sequence[codec.Part], alpha: str) -> dict[str, Any]:
    """`r`, and α under peft's name for it, with their patterns."""
    of = lambda part: float(part.leaves["scale"]) * self.divisor(int(part.leaves["rank_mask"].sum()))
    alphas = {part.module: codec.whole(of(part)) for part in parts}
    common = codec.most(list(alphas.values()))
    pattern = {re.escape(m): a for m, a in alphas.items() if abs(a - common) > 1e-6}
    return {**self.peft_ranks(parts), alpha: common, "alpha_pattern": pattern}

  @classmethod
  def of_scales(
    cls, config: Mapping[str, Any], parts: Sequence[codec.Part], ranks: Mapping[str, int], alpha: str, **fields
  ) -> Self:
    """The method with the ranks (by module) and alphas of a folder."""
    alphas = {p.name: codec.pattern(config.get("alpha_pattern"), p.module, config[alpha]) for p in parts}
    pattern = {re.escape(n): float(a) for n, a in alphas.items() if a != config[alpha]}
    return cls.of_ranks(parts, ranks, alpha=float(config[alpha]), alpha_pattern=pattern, **fields)

  def ranked(self, name: str) -> codec.Arrays:
    """What goes with the factors of one site that are read from a folder."""
    return {"scale": np.array(self.scale_of(name), np.float32), **super().ranked(name)}


def first(patterns: Mapping[str, Any], name: str, default):
  """The value of the first pattern that matches a name."""
  return next((value for pattern, value in patterns.items() if re.fullmatch(pattern, name)), default)
