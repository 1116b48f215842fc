"""Rendering and tokenising as a pipeline of Apache Beam: every step is a function of `spreading`."""

import functools
from collections.abc import Callable
from typing import Any

from itune_jax.core import lazy
from itune_jax.data import spreading

beam = lazy.module("apache_beam")


def spread(run: Callable[[Callable[[Any], None]], None], job: spreading.Job) -> None:
  """Has all shards of a job written. run: runs the pipeline that a function makes."""
  run(functools.partial(_build, job))


def _build(job: spreading.Job, pipeline: Any) -> None:
  """Files -> rows of each -> shards -> ids that are there twice -> shards, written."""
  numbers = range(len(job.files) or 1)
  counts = (
    pipeline
    | "files" >> beam.Create(numbers, reshuffle=True)
    | "count rows" >> beam.Map(functools.partial(spreading.count, job))
  )
  begun = pipeline | "begin" >> beam.Create([None])
  parts = begun | "cut" >> beam.FlatMap(_parts, beam.pvalue.AsDict(counts), job.cut.shard) | beam.Reshuffle()
  twice = (
    parts
    | "ids" >> beam.FlatMap(functools.partial(spreading.named, job))
    | "rows of an id" >> beam.GroupByKey()
    | "twice" >> beam.FlatMap(functools.partial(_twice, job))
  )
  by_shard = parts | "number" >> beam.Map(_numbered)
  (  # pyright: ignore[reportUnusedExpression]
    {"part": by_shard, "none": twice}
    | "of a shard" >> beam.CoGroupByKey()
    | "write" >> beam.Map(functools.partial(_write, job))
  )


def _parts(begun: None, counts: dict[int, int], rows: int) -> Any:
  del begun
  return spreading.parts(counts, rows)


def _numbered(part: spreading.Part) -> tuple[int, spreading.Part]:
  return part.shard, part


def _twice(job: spreading.Job, found: tuple[Any, Any]) -> Any:
  return spreading.twice(job, found[1])


def _write(job: spreading.Job, found: tuple[int, Any]) -> int:
  (part,) = found[1]["part"]
  return spreading.write(job, part, dict(found[1]["none"]))
