"""A pass over rows as a pipeline of Apache Beam: every step is a function of `spread_passes`."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

from itune_jax.core import lazy
from itune_jax.select import rows_file
from itune_jax.select import spread_passes
from itune_jax.select import stages

beam = lazy.module("apache_beam")
Pair = spread_passes.Pair


def spread(run: Callable[[Callable[[Any], None]], None]) -> stages.Spread:
  """Has passes done by a runner of Beam. run: runs the pipeline that a function makes."""
  runs = lambda build: lambda job: run(functools.partial(build, job))
  return functools.partial(spread_passes.spread, spread_passes.Runs(runs(_apart), runs(_duplicates)))


def _ranges(job: spread_passes.Job, pipeline: Any) -> tuple[spread_passes.Job, Any]:
  """The job as its steps carry it, without the ranges, and these."""
  return job._replace(ranges=()), pipeline | "ranges" >> beam.Create(list(map(tuple, job.ranges)), reshuffle=True)


def _apart(job: spread_passes.Job, pipeline: Any) -> None:
  """Ranges of rows, looked at."""
  job, ranges = _ranges(job, pipeline)
  ranges | "look" >> beam.Map(functools.partial(_looked, job))  # pyright: ignore[reportUnusedExpression]


def _duplicates(job: spread_passes.Job, pipeline: Any) -> None:
  """Rows by name -> the first of each name by its keys -> pairs that share one -> those that are alike."""
  job, ranges = _ranges(job, pipeline)
  firsts = (
    ranges
    | "know" >> beam.FlatMap(functools.partial(_known, job))
    | "of a name" >> beam.GroupByKey()
    | "first" >> beam.MapTuple(_first)
  )
  candidates = (
    firsts
    | "keys" >> beam.FlatMap(_keys)
    | "of a key" >> beam.GroupByKey()
    | "pairs" >> beam.FlatMapTuple(_pairs)
    | "once" >> beam.Distinct()
  )
  shapes = firsts | "shapes" >> beam.FlatMap(_shape)
  with_one = {"to": candidates, "shape": shapes} | "first shape" >> beam.CoGroupByKey() | beam.FlatMapTuple(_sent)
  found = (
    {"from": with_one, "shape": shapes}
    | "second shape" >> beam.CoGroupByKey()
    | "alike" >> beam.FlatMapTuple(functools.partial(_alike, job))
  )
  same = firsts | "same" >> beam.FlatMap(lambda one: one[1])
  (  # pyright: ignore[reportUnusedExpression]
    (found, same)
    | "all pairs" >> beam.Flatten()
    | "part" >> beam.Map(lambda pair: (spread_passes.part_of(pair), pair))
    | "of a part" >> beam.GroupByKey()
    | "write" >> beam.MapTuple(functools.partial(spread_passes.write_pairs, job))
  )
  counted = candidates | "count" >> beam.combiners.Count.Globally()
  counted | "write count" >> beam.Map(functools.partial(spread_passes.write_candidates, job))  # pyright: ignore[reportUnusedExpression]


def _looked(job: spread_passes.Job, given: tuple[int, int, int, int]) -> int:
  return spread_passes.looked(job, rows_file.Range(*given))


def _known(job: spread_passes.Job, given: tuple[int, int, int, int]) -> Iterator[spread_passes.Known]:
  return spread_passes.known(job, rows_file.Range(*given))


def _first(name: bytes, rows: Any) -> tuple[tuple[int, tuple, bytes], list[Pair]]:
  del name
  return spread_passes.first_of(rows)


def _keys(one: tuple[tuple[int, tuple, bytes], list[Pair]]) -> Iterator[tuple[bytes, int]]:
  (number, keys, _), _ = one
  return ((key, number) for key in keys)


def _shape(one: tuple[tuple[int, tuple, bytes], list[Pair]]) -> Iterator[tuple[int, bytes]]:
  (number, keys, shape), _ = one
  return iter([(number, shape)] if keys else [])


def _pairs(key: bytes, rows: Any) -> Iterator[Pair]:
  del key
  return spread_passes.pairs_of(rows)


def _sent(first: int, found: Any) -> Iterator[tuple[int, tuple[int, bytes]]]:
  """The shape of the first row of each pair, to the second one."""
  return ((second, (first, shape)) for shape in found["shape"] for second in found["to"])


def _alike(job: spread_passes.Job, second: int, found: Any) -> Iterator[Pair]:
  for shape in found["shape"]:
    yield from ((first, second) for first, other in found["from"] if spread_passes.alike(job, other, shape))
