"""The job `formats` of `bench.py`: what it costs to compile a benchmark in one format, and in many that are asked
together.

Nothing that was compiled is kept from one to the other: caches are cleared, and the model is opened anew. Compilation
is the time that XLA reports of its own programs.
"""

import os
import sys
import time
from typing import Any

import bench_lib
import jax

from itune_jax.data.render import chat
from itune_jax.evals import official
from itune_jax.evals import suite as suite_lib
from itune_jax.evals.robust import variations
from itune_jax.run import session as session_lib
from itune_jax.run import specs

_COMPILED: list[float] = []
_EVENTS = ("/jax/core/compile/backend_compile_duration",)


def formats(args) -> dict[str, Any]:
  """Seconds of compilation, programs and wall time of one format and of K, and the ratio of compilation."""
  jax.monitoring.register_event_duration_secs_listener(_count)
  common = official.Settings(limit=args.limit, max_new_tokens=args.new)
  names = tuple(args.suite.split(","))
  suite = suite_lib.Suite(names=names, common=common, data=args.data or os.environ.get("ITUNE_DATA", ""))
  found: dict[str, Any] = {}
  for name, count in (("one", 1), ("many", args.formats)):
    benchmarks = [
      variant.benchmark
      for benchmark in suite.benchmarks()
      for variant in variations.variants(benchmark, "format", count, args.seed)[0]
    ]
    jax.clear_caches()
    session = session_lib.open_session(specs.Model(base=args.model), precision=bench_lib.precision(args))
    responder = session.responder(session.renderer(chat.Rendering()), suite.decode)
    programs, compiled = len(_COMPILED), sum(_COMPILED)
    started = time.perf_counter()
    rows = sum(len(result.rows) for result in suite_lib.run(benchmarks, responder).values())
    found[name] = {
      "formats": count,
      "rows": rows,
      "compile_s": round(sum(_COMPILED) - compiled, 2),
      "programs": len(_COMPILED) - programs,
      "seconds": round(time.perf_counter() - started, 1),
    }
    print(name, found[name], file=sys.stderr)
    del session, responder
  ratio = found["many"]["compile_s"] / found["one"]["compile_s"]
  return {**found, "compile_ratio": round(ratio, 3), "peak_rss_gib": bench_lib.peak_rss_gib()}


def _count(event: str, seconds: float, **_: Any) -> None:
  if event in _EVENTS:
    _COMPILED.append(seconds)


JOBS = {"formats": formats}


def add(jobs: Any) -> None:
  """The flags of the job."""
  one = jobs.add_parser("formats", help="compile time of a benchmark in one format beside many that are asked together")
  one.add_argument("--suite", default="mmlu", help="benchmarks, with commas (default: mmlu)")
  one.add_argument("--data", default="", metavar="DIR", help="the folder of their files (default: ITUNE_DATA)")
  one.add_argument("--limit", type=int, default=8, help="items of each (default: 8)")
  one.add_argument("--new", type=int, default=16, help="tokens of an answer at most (default: 16)")
  one.add_argument("--formats", type=int, default=16, help="of the many (default: 16)")
  one.add_argument("--seed", type=int, default=0, help="of the formats that are drawn (default: 0)")
