"""The job `suite` of `bench.py`: published benchmarks on a base and on an adapter, beside what their tokens must cost.

What must be paid is prompt positions over the rate of scoring plus new tokens over the rate of decoding. Both rates are
measured in the same run, on the same engine, with batches as full as they get. Compilation is counted apart: it is the
time in which JAX says that it traced, lowered or compiled.
"""

import collections
import dataclasses
import os
import sys
import time
from typing import Any

import bench_lib
import jax
import numpy as np

from itune_jax.core import rng
from itune_jax.data.render import chat
from itune_jax.evals import official
from itune_jax.evals import suite as suite_lib
from itune_jax.peft import attach
from itune_jax.peft.combine import mixed
from itune_jax.peft.methods import lora
from itune_jax.run import session as session_lib
from itune_jax.run import specs
from itune_jax.sampling.decode import decode as decode_lib
from itune_jax.sampling.responders import on_mesh
from itune_jax.sampling.responders import telling


def suite(args) -> dict[str, Any]:
  """Seconds and tokens of each model, what they must cost, and their ratio. Both are asked as `itune eval --with_base`
  asks them: the adapter rides on the base. The rates are measured between the two and behind them: in front of the
  first they would compile programs that are then not counted."""
  compiling = Compiling()
  common = official.Settings(limit=args.limit, max_new_tokens=args.new)
  names = tuple(args.suite.split(","))
  asked = suite_lib.Suite(names=names, common=common, data=args.data or os.environ.get("ITUNE_DATA", ""))
  both = _both(args, asked)
  engine = dataclasses.replace(both.engine, stop_ids=())
  rates: list[dict[str, float]] = []
  found = {}
  for name, adapter in (("base", None), ("adapter", ADAPTER)):
    found[name] = _of_model(asked, compiling, Counting(both.of(adapter)))
    rates.append(_rates(engine, args, warm=not rates))
  mean = {name: round(float(np.mean([one[name] for one in rates])), 1) for name in rates[0]}
  total = lambda name: sum(one[name] for one in found.values())
  must = total("prompt_positions") / mean["score_positions_per_s"] + total("new_tokens") / mean["new_tokens_per_s"]
  over = round((total("seconds") - total("compile_s")) / must, 3)
  told = {"must_s": round(must, 1), "over_must": over, "programs": total("programs")}
  return {**found, **mean, **told, "peak_rss_gib": bench_lib.peak_rss_gib(children=False)}


ADAPTER = "adapter"


def _both(args, asked: suite_lib.Suite) -> on_mesh.MeshResponder:
  """A base with an adapter that rides on it: a trained one, or one that says what the base says."""
  model = specs.Model(base=args.model)
  session = session_lib.open_session(model, (), precision=bench_lib.precision(args))
  renderer = session.renderer(chat.Rendering())
  if args.adapter:
    return session.with_adapters({ADAPTER: args.adapter}).responder(renderer, asked.decode)
  key, place = rng.root(0), {"mesh": session.mesh, "rules": session.rules}
  attached = attach.attach(session.base.module, session.base.params, (lora.Lora(rank=16, alpha=32.0),), key, **place)
  riding = mixed.combine(session.base.module, session.base.params, {ADAPTER: attached}, **place)
  together = dataclasses.replace(session.with_attached(riding), labels=(ADAPTER,))
  return together.responder(renderer, asked.decode)


def _of_model(asked: suite_lib.Suite, compiling: "Compiling", counting: "Counting") -> dict[str, Any]:
  """What one of the two took, and what it read and said."""
  started = time.perf_counter()
  results = suite_lib.run(asked.benchmarks(), counting)
  seconds, compile_s = time.perf_counter() - started, compiling.seconds(started)
  programs = compiling.programs(started)
  found = {
    "seconds": round(seconds, 1),
    "compile_s": round(compile_s, 1),
    "programs": programs.total(),
    "prompt_positions": counting.positions,
    "new_tokens": counting.new,
    "in_calls_s": {kind: round(took, 1) for kind, took in counting.took.items()},
    "items": {name: len(result.rows) for name, result in results.items()},
  }
  print(found, dict(programs), file=sys.stderr)
  return found


class Compiling:
  """What JAX says of its compilations: when each part of one ended, how long it took, and of which function."""

  def __init__(self):
    self._told: list[tuple[str, float, float, str]] = []
    jax.monitoring.register_event_duration_secs_listener(self._note)

  def _note(self, event: str, duration_secs: float, **told: str | int) -> None:
    if event.startswith("/jax/core/compile/"):
      end = time.perf_counter()
      self._told.append((event, end - duration_secs, end, str(told.get("fun_name", ""))))

  def programs(self, since: float) -> collections.Counter[str]:
    """How many programs were compiled, by name."""
    return collections.Counter(n for event, start, _, n in self._told if start >= since and "backend_compile" in event)

  def seconds(self, since: float) -> float:
    """How long any of it went on: a function that is traced inside another is not counted twice."""
    total, reached = 0.0, since
    for _, start, end, _ in sorted((one for one in self._told if one[2] > since), key=lambda one: one[1]):
      total += max(0.0, end - max(start, reached))
      reached = max(reached, end)
    return total


@dataclasses.dataclass
class Counting(telling.Wrapping):
  """Counts what a model on the mesh reads and says: each distinct prompt once, and behind it what is scored or new."""

  inner: Any
  positions: int = 0
  new: int = 0
  took: dict[str, float] = dataclasses.field(default_factory=dict)  # seconds by kind of call

  def answer_each(self, requests, done, progress=lambda n: None):
    found = self._timed("answer", lambda: self.inner.answer_each(requests, done, progress))
    self._read(request.conversation for request in requests)
    self.new += sum(len(sample.ids or ()) for response in found for sample in response.samples)
    return found

  def score(self, pairs, progress=lambda n: None):
    self._read(pair.context for pair in pairs)
    self.positions += sum(len(self.inner.renderer.encode(pair.continuation)) for pair in pairs)
    return self._timed("score", lambda: self.inner.score(pairs, progress))

  def rolling(self, texts, progress=lambda n: None):
    self._read(texts)
    return self._timed("rolling", lambda: self.inner.rolling(texts, progress))

  def _timed(self, kind: str, call):
    started = time.perf_counter()
    found = call()
    self.took[kind] = self.took.get(kind, 0.0) + time.perf_counter() - started
    return found

  def _read(self, prompts) -> None:
    renderer = self.inner.renderer
    ids = lambda asked: renderer.encode(asked) if isinstance(asked, str) else renderer.prompt(asked).ids
    self.positions += sum(len(ids(asked)) for asked in {repr(one): one for one in prompts}.values())


def _rates(engine, args, warm: bool = False) -> dict[str, float]:
  """Positions scored and tokens decoded a second. warm: calls of equal shapes are made before, which compile."""
  numbers = np.random.default_rng(0)
  ids = lambda n: numbers.integers(1000, 20_000, n).tolist()
  pairs = [(ids(600), ids(40)) for _ in range(12)]
  decode = decode_lib.Decode(max_new_tokens=args.new, batch=32)
  prompts = [ids(16) for _ in range(32)]
  on = {"adapters": [0] * len(pairs)}, {"adapters": [0] * len(prompts)}
  calls = (lambda: engine.score(pairs, **on[0]), lambda: engine.generate(prompts, decode, **on[1]))
  score_s, decode_s = (_second(call, warm) for call in calls)
  return {"score_positions_per_s": 12 * 640 / score_s, "new_tokens_per_s": 32 * args.new / decode_s}


def _second(call, warm: bool) -> float:
  if warm:
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
  one.add_argument("--adapter", default="", metavar="PATH", help="a trained one (default: one as training begins)")
  one.add_argument("--limit", type=int, default=50, help="items of each (default: 50)")
  one.add_argument("--new", type=int, default=128, help="tokens of an answer at most (default: 128)")
