"""The job `suite` of `bench.py`: published benchmarks on a base and on an adapter, beside what their tokens must cost.

What must be paid is prompt positions over the rate of scoring plus new tokens over the rate of decoding. Both rates are
measured in the same run, on the same engine, with batches as full as they get. Compilation is counted apart: it is the
time that XLA reports of its own programs.
"""

import dataclasses
import os
import sys
import time
from typing import Any

import bench_lib
import jax
import numpy as np

from itune_jax.data.render import chat
from itune_jax.evals import official
from itune_jax.evals import suite as suite_lib
from itune_jax.peft.methods import lora
from itune_jax.run import session as session_lib
from itune_jax.run import specs
from itune_jax.sampling import requests as requests_lib
from itune_jax.sampling.decode import decode as decode_lib

_COMPILED: list[float] = []


def suite(args) -> dict[str, Any]:
  """Seconds and tokens of each model, what they must cost, and their ratio."""
  jax.monitoring.register_event_duration_secs_listener(_count)
  session = session_lib.open_session(specs.Model(base=args.model), precision=bench_lib.precision(args))
  tuned = session_lib.open_session(
    specs.Model(base=args.model), (lora.Lora(rank=16, alpha=32.0),), precision=bench_lib.precision(args)
  )
  common = official.Settings(limit=args.limit, max_new_tokens=args.new)
  names = tuple(args.suite.split(","))
  asked = suite_lib.Suite(names=names, common=common, data=args.data or os.environ.get("ITUNE_DATA", ""))
  benchmarks = asked.benchmarks()
  found: dict[str, Any] = {}
  for name, one in (("base", session), ("adapter", tuned)):
    counting = Counting(one.responder(one.renderer(chat.Rendering()), asked.decode))
    programs, compiled = len(_COMPILED), sum(_COMPILED)
    started = time.perf_counter()
    results = suite_lib.run(benchmarks, counting)
    seconds, compile_s = time.perf_counter() - started, sum(_COMPILED) - compiled
    found[name] = {
      "seconds": round(seconds, 1),
      "compile_s": round(compile_s, 1),
      "programs": len(_COMPILED) - programs,
      "prompt_positions": counting.positions,
      "new_tokens": counting.new,
    }
    found[name] |= {f"{k}_items": len(result.rows) for k, result in results.items()}
    print(name, found[name], file=sys.stderr)
  rates = _rates(session, args)
  for one in (found["base"], found["adapter"]):
    must = one["prompt_positions"] / rates["score_positions_per_s"] + one["new_tokens"] / rates["new_tokens_per_s"]
    one["must_s"] = round(must, 1)
    one["over_must"] = round((one["seconds"] - one["compile_s"]) / must, 3)
  programs = found["base"]["programs"] + found["adapter"]["programs"]
  return {**found, **rates, "programs": programs, "peak_rss_gib": bench_lib.peak_rss_gib()}


def _count(event: str, seconds: float, **_: Any) -> None:
  if event == "/jax/core/compile/backend_compile_duration":
    _COMPILED.append(seconds)


@dataclasses.dataclass
class Counting(requests_lib.Responder):
  """Counts what a model on the mesh reads and says: each distinct prompt once, and behind it what is scored or new."""

  inner: Any
  positions: int = 0
  new: int = 0

  def answer(self, requests, progress=lambda n: None):
    found = self.inner.answer(requests, progress)
    self._read(request.conversation for request in requests)
    self.new += sum(len(sample.ids or ()) for response in found for sample in response.samples)
    return found

  def fits(self, asked, new):
    return self.inner.fits(asked, new)

  def score(self, pairs, progress=lambda n: None):
    self._read(pair.context for pair in pairs)
    self.positions += sum(len(self.inner.renderer.encode(pair.continuation)) for pair in pairs)
    return self.inner.score(pairs, progress)

  def rolling(self, texts, progress=lambda n: None):
    self._read(texts)
    return self.inner.rolling(texts, progress)

  def _read(self, prompts) -> None:
    renderer = self.inner.renderer
    ids = lambda asked: renderer.encode(asked) if isinstance(asked, str) else renderer.prompt(asked).ids
    self.positions += sum(len(ids(asked)) for asked in {repr(one): one for one in prompts}.values())


def _rates(session, args) -> dict[str, float]:
  """Positions scored and tokens decoded a second, each of a call that was made before with equal shapes."""
  engine, numbers = session.engine(), np.random.default_rng(0)
  ids = lambda n: numbers.integers(1000, 20_000, n).tolist()
  pairs = [(ids(600), ids(40)) for _ in range(24)]
  decode = decode_lib.Decode(max_new_tokens=args.new, batch=32, min_new_tokens=args.new)
  prompts = [ids(16) for _ in range(32)]
  score_s, decode_s = (
    _second(call) for call in (lambda: engine.score(pairs), lambda: engine.generate(prompts, decode))
  )
  return {"score_positions_per_s": round(24 * 640 / score_s, 1), "new_tokens_per_s": round(32 * args.new / decode_s, 1)}


def _second(call) -> float:
  call()
  started = time.perf_counter()
  call()
  return time.perf_counter() - started


JOBS = {"suite": suite}


def add(jobs: Any) -> None:
  """The flags of the job."""
  one = jobs.add_parser(
    "suite", help="published benchmarks on a base and an adapter beside what their tokens must cost"
  )
  one.add_argument("--suite", default="ifeval,gsm8k,mmlu,mbpp,super_ni", help="benchmarks, with commas")
  one.add_argument("--data", default="", metavar="DIR", help="the folder of their files (default: ITUNE_DATA)")
  one.add_argument("--limit", type=int, default=50, help="items of each (default: 50)")
  one.add_argument("--new", type=int, default=128, help="tokens of an answer at most (default: 128)")
