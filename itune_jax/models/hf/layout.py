"""Hugging Face layouts: tensors by the rows of a family.

A projection's HF weight is [out, in]; ours is [*in, *out]. The rearrangement follows from the site itself, so a
row only pairs names.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import itertools
import math
import re
from typing import Any

import numpy as np

from itune_jax.models.hf import names as names_lib
from itune_jax.models import zoo
from itune_jax.nn import skeleton

_LEAF = {
  ("proj", "kernel"): "weight",
  ("proj", "bias"): "bias",
  ("conv1d", "kernel"): "weight",
  ("conv1d", "bias"): "bias",
  ("table", "table"): "weight",
  ("norm", "scale"): "weight",
  ("norm", "bias"): "bias",
  ("patch", "kernel"): "weight",
  ("patch", "bias"): "bias",
  ("vector", ""): "",
}


@dataclasses.dataclass(frozen=True)
class Mapped:
  """One of our parameters and the HF tensors it is made of (one for each index of its leading, stacked axes)."""

  ours: str
  theirs: tuple[str, ...]
  lead: tuple[int, ...]
  num_in: int  # contracted axes of a projection's kernel; 0 otherwise
  transposed: bool  # whether HF stores [out, in]
  spread: bool  # whether HF keeps the contracted axes apart (a convolution over patches)
  norm: bool  # whether it belongs to a normalisation
  shape: tuple[int, ...]  # ours, without the leading axes

  @property
  def their_shape(self) -> tuple[int, ...]:
    """Shape of one HF tensor."""
    if self.spread:
      return (self.shape[-1], *self.shape[:-1])
    if self.num_in:
      two = (math.prod(self.shape[: self.num_in]), math.prod(self.shape[self.num_in :]))
      return two[::-1] if self.transposed else two
    return self.shape if self.ours.endswith("/table") else (math.prod(self.shape),)

  def from_hf(self, tensor: np.ndarray) -> np.ndarray:
    """One HF tensor in our shape."""
    tensor = tensor.reshape(len(tensor), -1) if self.spread else tensor
    return (tensor.T if self.transposed else tensor).reshape(self.shape)

  def to_hf(self, array: np.ndarray) -> np.ndarray:
    """One of ours in HF's shape."""
    if not self.transposed:
      return array.reshape(self.their_shape)
    if self.spread:
      return array.reshape(-1, array.shape[-1]).T.reshape(self.their_shape)
    return array.reshape(self.their_shape[::-1]).T


def rows_of(family: str, text_family: str = "") -> tuple[names_lib.Row, ...]:
  """All rows of a family; those of a vision-language model hold the rows of its decoder."""
  rows = zoo.FAMILIES[family].rows
  return (*rows, *names_lib.inside(zoo.FAMILIES[text_family].rows, "language_model.")) if text_family else rows


def parameters(shapes: Mapping[str, Any], cfg: Any, sites: Mapping[str, Any]) -> Iterator[Mapped]:
  """The mapping of every base parameter. `shapes` are ours by path; `sites` give the contracted axes."""
  for row in rows_of(cfg.family, getattr(cfg, "text_family", "")):
    row = names_lib.scoring(row) if getattr(cfg, "scores", 0) else row
    lead = skeleton.lead(row.ours, cfg.stacks)
    for (kind, leaf), their_leaf in _LEAF.items():
      ours = f"{row.ours}/{leaf}".rstrip("/")
      if kind != row.kind or ours not in shapes:
        continue
      names = tuple(f"{row.theirs.format(*at)}.{their_leaf}".rstrip(".") for at in itertools.product(*map(range, lead)))
      num_in = sites[row.ours].num_in if leaf == "kernel" else 0
      shape = tuple(shapes[ours].shape[len(lead) :])
      kernel = bool(num_in)
      yield Mapped(
        ours, names, lead, num_in, kernel and kind != "conv1d", kernel and kind == "patch", kind == "norm", shape
      )


_IN_MEMORY = (
  (r"^language_model\.model\.", "model.language_model."),
  (r"^language_model\.lm_head", "lm_head"),
  (r"^(vision_tower|multi_modal_projector)\.", r"model.\1."),
)


@dataclasses.dataclass(frozen=True)
class Layout:
  """The HF module names of a family, as PEFT folders need them."""

  family: str
  text_family: str = ""
  scores: bool = False  # whether its head scores text

  @classmethod
  def of(cls, cfg: Any) -> "Layout":
    """The layout of a config's family."""
    return cls(cfg.family, getattr(cfg, "text_family", ""), bool(getattr(cfg, "scores", 0)))

  def __call__(self, site: str) -> str | None:
    """The HF module of a site (`blocks/attn/q` to `model.layers.{}.self_attn.q_proj`), or None."""
    name = self.on_disk(site)
    return None if name is None else self._in_memory(name)

  def _in_memory(self, name: str) -> str:
    """Transformers keeps the parts of a vision-language model in another order than on disk."""
    for pattern, replacement in _IN_MEMORY if self.text_family else ():
      name = re.sub(pattern, replacement, name)
    return name

  def tensors(self, model: Any) -> dict[str, tuple[Mapped, tuple[int, ...]]]:
    """Of every HF tensor in memory: our parameter, and the index into its stack."""
    shapes = skeleton.disassemble(model)[1]
    return {
      self._in_memory(theirs): (mapped, at)
      for mapped in parameters(shapes, model.cfg, skeleton.sites(model))
      for at, theirs in zip(np.ndindex(*mapped.lead), mapped.theirs, strict=True)
    }

  def on_disk(self, site: str) -> str | None:
    """The name under which the tensors of a site are stored, or None."""
    rows = rows_of(self.family, self.text_family)
    rows = tuple(map(names_lib.scoring, rows)) if self.scores else rows
    return next((row.theirs for row in rows if row.ours == site), None)

  @property
  def fan_in_fan_out(self) -> bool:
    """Whether kernels are stored [in, out], as GPT-2 does."""
    return any(row.kind == "conv1d" for row in zoo.FAMILIES[self.family].rows)

  @property
  def task_type(self) -> str:
    """peft's word for the kind of model."""
    return "SEQ_CLS" if self.scores else zoo.FAMILIES[self.family].task_type
