"""`itune eval --robust`: benchmarks and their variations asked together, and what variations do to figures."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import hashlib
import itertools
import json
import os
from typing import Any

import rich.table

from itune_jax.core import check
from itune_jax.core import contracts
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import log
from itune_jax.core import ranges
from itune_jax.evals import official
from itune_jax.evals import protocol
from itune_jax.evals import suite as suite_lib
from itune_jax.evals.benchmarks import registry
from itune_jax.evals.robust import prompt_formats
from itune_jax.evals.robust import variation
from itune_jax.evals.robust import thompson
from itune_jax.evals.robust import variations
from itune_jax.evals.robust import verbal
from itune_jax.run import console
from itune_jax.run import results as results_lib
from itune_jax.run import suites
from itune_jax.sampling import requests as requests_lib
from itune_jax.sampling.responders import journal

BATCH = 20  # items of a format that are asked together in a search, as FormatSpread does


@dataclasses.dataclass(frozen=True, kw_only=True)
class Robust:
  """What is varied.

  kinds: of `variations.KINDS`. variants: of each kind, at most; rotations of options are always all. budget: items that
  a search over formats asks in all (Thompson sampling over `formats` of them), 0 to ask every item of `variants`
  formats. formats: that are searched. seed: of what is drawn.
  """

  kinds: tuple[str, ...]
  variants: int = 4
  budget: int = 0
  formats: int = 64
  seed: ranges.Seed = 0

  def __post_init__(self):
    unknown = [kind for kind in self.kinds if kind not in variations.KINDS]
    known = ", ".join(variations.KINDS)
    check.require(not unknown, f"--robust: no variation is called {', '.join(unknown)}; they are {known}, or all")
    check.require(self.kinds, f"--robust: name what is varied: {known}, or all")
    check.require(self.variants > 0 and self.budget >= 0, "--robust_variants counts from 1, --robust_budget from 0")


@dataclasses.dataclass(frozen=True)
class Quantised:
  """A model with other kernels. kinds: which there are; why there are none. responder: opens it with one of them."""

  kinds: tuple[str, ...]
  responder: Callable[[str], requests_lib.Responder]
  why: str = ""


def named(text: str) -> tuple[str, ...]:
  """The kinds of `--robust format,perturb`."""
  kinds = tuple(dict.fromkeys(one.strip() for one in text.split(",") if one.strip()))
  return variations.KINDS if kinds == ("all",) else kinds


def run(
  suite: suite_lib.Suite,
  robust: Robust,
  responder: requests_lib.Responder,
  who: Mapping[str, Any],
  out: str,
  progress: requests_lib.Progress,
  overwrite: bool = False,
  after: suites.After | None = None,
  mark: suites.Mark | None = None,
  quantised: Quantised | None = None,
) -> dict[str, Any]:
  """Asks benchmarks and variations together, so that they share compiled programs; returns figures of both.

  quantised: makes the model with other kernels; None where it is not at hand. As `suites.run` otherwise: rows of
  variations lie in `out/robust`, and what is there is not asked again.
  """
  benchmarks = suite.benchmarks()
  main = dict(zip((b.name for b in benchmarks), map(_metric, suite.names, benchmarks), strict=True))
  searched = robust.budget > 0 and "format" in robust.kinds
  apart = {variations.QUANTISED, variations.CONFIDENCE, *(["format"] if searched else [])}
  kinds = [kind for kind in robust.kinds if kind not in apart]
  varied = {
    benchmark.name: _varied(benchmark, name, kinds, suite, robust)
    for name, benchmark in zip(suite.names, benchmarks, strict=True)
  }
  own = dataclasses.asdict(robust)
  more = [
    suites.More(variant.benchmark, base, {"varied": [variant.kind, variant.name], "robust_seed": own["seed"]})
    for base, given in varied.items()
    for variant in given
  ]
  place = os.path.join(out, variation.FOLDER) if out else ""
  figures, found = suites.asked(suite, responder, who, out, progress, overwrite, after, more, place, mark, True)
  others = _quantised(suite, robust, quantised, who, place, progress, overwrite)
  lines: list[variation.Line] = []
  extra: list[contracts.Result] = []
  for benchmark in benchmarks:
    results = [(variant, found[variant.benchmark.name]) for variant in varied[benchmark.name]]
    results += [
      (variations.Variant(variations.QUANTISED, kind, benchmark), each[benchmark.name]) for kind, each in others.items()
    ]
    base = found[benchmark.name]
    lines += variation.lines(benchmark, base, results)
    turned = variation.circular(base, results, main[benchmark.name])
    extra += [*([turned] if turned else []), *variation.calibrated(benchmark, base, main[benchmark.name])]
  extra += _confident(benchmarks, found, main, robust, responder, who, place)
  searches = [
    one for b in benchmarks if searched and (one := _search(b, main[b.name], robust, responder, progress)) is not None
  ]
  _write(out, robust, lines, extra, searches)
  _show(lines, main, extra, searches)
  return {**figures, **_figures(lines, main), **{one.name: one.value for one in extra}, **_of_searches(searches)}


def _varied(
  benchmark: protocol.Benchmark, name: str, kinds: Sequence[str], suite: suite_lib.Suite, robust: Robust
) -> list[variations.Variant]:
  """The variations of a benchmark; what it has no place for is said."""
  found: list[variations.Variant] = []
  for kind in kinds:
    pool = _pool(name, suite) if kind == "examples" else None
    made, why = variations.variants(benchmark, kind, robust.variants, robust.seed, pool)
    found += made
    if not made:
      log.info(f"{benchmark.name}: {kind} is not varied: {why}")
  return found


def _pool(name: str, suite: suite_lib.Suite) -> protocol.Benchmark | None:
  """The benchmark with as many examples as its files have, of the halves of what it says at most; None for no more."""
  published, settings = registry.find(name), suite.settings.get(name, suite.common)
  own = published.checked(settings).shots or 0
  count = published.most_shots or 0
  while count > own:
    made = published.benchmark(official.roots(suite.data), dataclasses.replace(settings, shots=count))
    try:
      next(iter(made.items()), None)
      return made
    except errors.InputError:  # fewer are there
      count //= 2
  return None


def _quantised(
  suite: suite_lib.Suite,
  robust: Robust,
  quantised: Quantised | None,
  who: Mapping[str, Any],
  place: str,
  progress: requests_lib.Progress,
  overwrite: bool,
) -> dict[str, dict[str, contracts.EvalResult]]:
  """The results of the model with each other kind of kernels, by kind and benchmark."""
  if variations.QUANTISED not in robust.kinds:
    return {}
  found: dict[str, dict[str, contracts.EvalResult]] = {}
  kinds = quantised.kinds if quantised is not None else ()
  if not kinds:
    log.info(f"the model is not quantised: {'an endpoint answers' if quantised is None else quantised.why}")
  for kind in kinds:
    assert quantised is not None
    log.info(f"the same of the model with {kind} kernels:")
    given = {**who, "kernels": kind}
    folder = os.path.join(place, kind) if place else ""
    found[kind] = suites.asked(suite, quantised.responder(kind), given, folder, progress, overwrite, rows=True)[1]
  return found


def _confident(
  benchmarks: Sequence[protocol.Benchmark],
  found: Mapping[str, contracts.EvalResult],
  main: Mapping[str, str],
  robust: Robust,
  responder: requests_lib.Responder,
  who: Mapping[str, Any],
  place: str,
) -> list[contracts.Result]:
  """How well the model knows by its own words whether it is right; its words are kept in the folder of variations."""
  if variations.CONFIDENCE not in robust.kinds:
    return []
  is_right = lambda b: b.metrics[main[b.name]].better == "higher"  # a refusal is an outcome, and no right answer
  rows = {b.name: verbal.askable(found[b.name].rows, main[b.name]) if is_right(b) else [] for b in benchmarks}
  for name in (name for name, own in rows.items() if not own):
    log.info(f"{name}: confidence is not asked: no answer in text is right or wrong by {main[name]}")
  # Answers of other weights are other requests, of which nothing that is kept is an answer.
  key = hashlib.sha256(json.dumps(who, sort_keys=True, default=str).encode()).hexdigest()[:16]
  asked = {
    (name, row["id"]): verbal.request(row, f"{key}/{name}/{row['id']}") for name, own in rows.items() for row in own
  }
  try:
    fit = {at: one for at, one in asked.items() if responder.fits(one.conversation, verbal.LIMIT)}
  except errors.InputError as e:
    log.info(f"confidence is not asked: {e}")
    return []
  if not fit:
    return []
  kept = journal.Journal(responder, os.path.join(place, "confidence.answers.jsonl")) if place else responder
  said = dict(zip(fit, (response.samples[0].text for response in kept.answer(list(fit.values()))), strict=True))
  results: list[contracts.Result] = []
  for benchmark in (one for one in benchmarks if rows[one.name]):
    name, own = benchmark.name, rows[benchmark.name]
    words = [said.get((name, row["id"]), "") for row in own]
    sure = list(map(verbal.confidence, words))
    results += verbal.figures(name, main[name], own, sure, len(found[name].rows))
    if place and log.is_lead():
      told = zip(own, words, sure, strict=True)
      lines = [{"id": row["id"], "said": text, "confidence": one, "values": row["values"]} for row, text, one in told]
      files.write_text(os.path.join(place, "confidence", f"{name}.jsonl"), results_lib.lines(lines))
  return results


def _metric(name: str, benchmark: protocol.Benchmark) -> str:
  """The figure that a benchmark is known by, or its first where it is asked in a way that has another."""
  known = registry.find(name).metric
  return known if known in benchmark.metrics else next(iter(benchmark.metrics))


def _search(
  benchmark: protocol.Benchmark, metric: str, robust: Robust, responder: requests_lib.Responder, progress: Any
) -> dict[str, Any] | None:
  """The best and the worst format under a budget; None, with the reason, where formats do not apply."""
  made, why = variations.variants(benchmark, "format", robust.formats, robust.seed)
  if not made:
    log.info(f"{benchmark.name}: formats are not searched: {why}")
    return None
  items = sum(1 for _ in benchmark.items())

  def ask(arm: int, first: int, count: int) -> list[float]:
    given = made[arm].benchmark
    part = dataclasses.replace(given, items=lambda: itertools.islice(given.items(), first, first + count))
    rows = suite_lib.run([part], responder, progress=progress)[part.name].rows
    return [float(row["values"][metric] or 0) for row in rows]

  found = thompson.search(len(made), items, ask, budget=robust.budget, batch=BATCH, seed=robust.seed)
  shown = lambda place: {"format": made[place].name, "value": found.arms[place].mean, "items": found.arms[place].asked}
  return {
    "benchmark": benchmark.name,
    "metric": metric,
    "formats": len(made),
    "asked": found.asked,
    "of": items * len(made),
    "best": shown(found.best),
    "worst": shown(found.worst),
    "spread": found.value,
  }


def _write(out: str, robust: Robust, lines, extra, searches) -> None:
  if out and log.is_lead():
    told = {
      "robust": dataclasses.asdict(robust),
      "lines": [dataclasses.asdict(line) for line in lines],
      "figures": [one._asdict() for one in extra],
      "searches": searches,
      "grammar": {"separators": list(prompt_formats.SEPARATORS), "spaces": list(prompt_formats.SPACES)},
    }
    files.write_json(os.path.join(out, variation.FOLDER, variation.FILE), told)


def _show(lines: Sequence[variation.Line], main: Mapping[str, str], extra, searches) -> None:
  """Prints mean, worst and spread of the main figures, then circular accuracy and calibration, then searches."""
  shown = rich.table.Table("benchmark", "varied", "as it is", "mean", "worst", "best", "spread", "p", "worst at")
  for line in lines:
    if main[line.benchmark] == line.metric:
      numbers = (line.base, line.mean, line.worst, line.best, line.spread)
      p = "" if line.p is None else f"{line.p:.3f}"
      kind = f"{line.kind} ({line.variants})" + (f", {line.changed:.0%} of items" if line.changed < 1 else "")
      at = f"{line.benchmark} {line.metric}"
      shown.add_row(at, kind, *(f"{one:.4f}" for one in numbers), p, line.at_worst)
  console.show(shown)
  suites.show(extra)
  for one in searches:
    log.info(
      f"{one['benchmark']}: of {one['formats']} formats {one['asked']} of {one['of']} answers were asked: "
      f"{one['metric']} {one['worst']['value']:.4f} ({one['worst']['format']}) to "
      f"{one['best']['value']:.4f} ({one['best']['format']})"
    )


def _figures(lines: Sequence[variation.Line], main: Mapping[str, str]) -> dict[str, float]:
  return {
    f"{line.benchmark}/{line.metric}/{line.kind}_{what}": vars(line)[what]
    for line in lines
    if main[line.benchmark] == line.metric
    for what in ("mean", "worst", "spread")
  }


def _of_searches(searches: Sequence[Mapping[str, Any]]) -> dict[str, float]:
  return {f"{one['benchmark']}/{one['metric']}/searched_spread": one["spread"] for one in searches}
