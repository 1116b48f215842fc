"""Prompts with instructions that a program can check, of IFEval's format: items, verdicts and figures."""

from collections.abc import Callable, Mapping
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.evals import folders
from itune_jax.evals import protocol
from itune_jax.grading.ifeval import instruction
from itune_jax.grading.ifeval import verdicts
from itune_jax.grading.statistics import metrics as metrics_lib
from itune_jax.sampling import requests as requests_lib

# Of a kind and its kwargs, as rows have them.
Build = Callable[[Any, Any], instruction.Instruction]
METRICS: Mapping[str, metrics_lib.Metric] = {
  "prompt_level_strict_acc": metrics_lib.Mean(),
  "inst_level_strict_acc": metrics_lib.MicroMean(),
  "prompt_level_loose_acc": metrics_lib.Mean(),
  "inst_level_loose_acc": metrics_lib.MicroMean(),
}


def item(row: dict[str, Any], where: str, build: Build, prefix: str = "", **tags: str) -> protocol.Item:
  """The item of a row; what is right are its instructions with their arguments. prefix: in front of its key.

  Raises InputError for a row that cannot be judged.
  """
  kinds, given = (folders.field(row, name, list, where) for name in ("instruction_id_list", "kwargs"))
  check.require(kinds and len(kinds) == len(given), f"{where}: {len(kinds)} instructions, and {len(given)} kwargs")
  answer = [{"kind": kind, "kwargs": one} for kind, one in zip(kinds, given, strict=True)]
  try:
    for one in answer:
      build(one["kind"], one["kwargs"])
  except errors.InputError as e:
    raise errors.InputError(f"{where}: {e}") from None
  return protocol.Item(
    id=f"{prefix}{folders.field(row, 'key', (int, str), where)}",
    question=folders.field(row, "prompt", str, where),
    answer=answer,
    tags={**tags, "kind": tuple(kinds)},
    where=where,
  )


def grade(build: Build) -> protocol.Grade:
  """Strict and loose verdicts of the first sample."""

  def judge(one: protocol.Item, response: requests_lib.Response) -> protocol.Graded:
    found = verdicts.judge([build(given["kind"], given["kwargs"]) for given in one.answer], response.text)
    values: dict[str, Any] = {}
    for name, followed in (("strict", found.strict), ("loose", found.loose)):
      values[f"prompt_level_{name}_acc"] = all(followed)
      values[f"inst_level_{name}_acc"] = (sum(followed), len(followed))
    return protocol.Graded(values, {"followed": list(found.strict)})

  return protocol.each(judge)
