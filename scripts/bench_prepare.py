"""What `itune prepare` costs on real chat rows: `python scripts/bench_prepare.py rate|memory|start`, lines of JSON.

    rate      rows a second of the command, beside the tokenizer alone on the same rendered texts (`encode_batch`, all
              cores) in turn, and beside an older checkout (--base), on fewer rows (--base_rows); and the same by the
              processor's time, which other programs on the machine disturb less
    memory    peak memory of all its processes for several numbers of rows, and what a row more costs
    start     seconds until training has its first batch of a large prepared mixture, without its raw file

The rows are equal parts of four sets of ITUNE_DATA, repeated with numbers so that they differ.
"""

import argparse
from collections.abc import Callable, Iterator
import itertools
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any, NamedTuple

import numpy as np

from itune_jax.data import shards
from itune_jax.data import tokenised
from itune_jax.data.readers import readers
from itune_jax.data.render import chat
from itune_jax.run import rendering as rendering_lib
from itune_jax.run import specs

HERE = pathlib.Path(__file__).parents[1]
SETS = ("alpagasus", "dolly_3k", "gpteacher_roleplay", "natural_instructions")
RECIPE = "recipes/smollm2_lora.gin"
BATCH = 1000  # texts of a call of the tokenizer


def main() -> None:
  """Reads the flags, runs the job, prints its figures."""
  jobs = {"rate": rate, "memory": memory, "start": start}
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("job", choices=jobs)
  parser.add_argument("--data", default=os.environ.get("ITUNE_DATA", ""), help="the folder of the sets")
  parser.add_argument("--rows", type=int, default=200_000)
  parser.add_argument("--turns", type=int, default=1, help="rate: turns (default: 1)")
  parser.add_argument("--workers", type=int, default=0, help="processes of itune prepare (default: one a core)")
  parser.add_argument("--base", default="", metavar="DIR", help="rate: an older checkout, run beside")
  parser.add_argument("--base_rows", type=int, default=20_000, help="rate: rows that it gets (default: 20,000)")
  parser.add_argument("--tokens", type=int, default=400_000_000, help="start: tokens of the mixture, 12 bytes each")
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    print(json.dumps({"job": args.job, "cores": len(os.sched_getaffinity(0)), **jobs[args.job](args, folder)}))


def rate(args: argparse.Namespace, folder: str) -> dict[str, Any]:
  """Rows a second of each, in turn, by the clock and by the processor; the tokenizer's is the mean of before and after.
  Of a command the time that it takes for four rows, its start, is taken off for the rates that are called running."""
  data = _written(args.data, args.rows, os.path.join(folder, "rows.jsonl"))
  few = _written(args.data, args.base_rows, os.path.join(folder, "few.jsonl"))
  one = _written(args.data, 4, os.path.join(folder, "one.jsonl"))
  texts, alone = _alone(data)
  found: dict[str, list[float]] = {}
  for _ in range(args.turns):
    rates: dict[str, Any] = {"before": len(texts) / alone()}
    start = _prepare(HERE, one, folder, args.workers)
    rates["prepare"] = args.rows / (whole := _prepare(HERE, data, folder, args.workers)).seconds
    rates["running"] = args.rows / (whole.seconds - start.seconds)
    if args.base:
      start = _prepare(pathlib.Path(args.base), one, folder, 0, flags=False)
      older = _prepare(pathlib.Path(args.base), few, folder, 0, flags=False)
      rates["base"] = args.base_rows / (older.seconds - start.seconds)
    rates["after"] = len(texts) / alone()
    for name, ratio in _ratios(rates).items():
      found.setdefault(name, []).append(round(float(ratio), 3))
  return {"rows": args.rows, **found}


def _ratios(rates: dict[str, np.ndarray]) -> dict[str, float]:
  """Rates by the clock, and their ratios; ratios by the processor too."""
  tokenizer = (rates["before"] + rates["after"]) / 2
  rates = {"tokenizer": tokenizer, **{name: rates[name] for name in ("prepare", "running", "base") if name in rates}}
  found = {f"{name}_rows_per_s": rate[0] for name, rate in rates.items()}
  for way, clock in enumerate(("", "_cpu")):
    found |= {f"{name}_over_tokenizer{clock}": rates[name][way] / tokenizer[way] for name in ("prepare", "running")}
    if "base" in rates:
      found[f"prepare_over_base{clock}"] = rates["prepare"][way] / rates["base"][way]
  return found


def memory(args: argparse.Namespace, folder: str) -> dict[str, Any]:
  """Peaks for a quarter of the rows and for all, and the bytes of a row more."""
  counts, peaks = (args.rows // 4, args.rows), []
  for count in counts:
    data = _written(args.data, count, os.path.join(folder, "rows.jsonl"))
    peaks.append(_prepare(HERE, data, folder, args.workers).peak)
  slope = (peaks[1] - peaks[0]) / (counts[1] - counts[0])
  figures = {"rows": counts, "peak_gib": [round(peak / 2**30, 3) for peak in peaks], "bytes_a_row": round(slope, 1)}
  return {**figures, "gib_at_a_million": round((peaks[1] + slope * (1_000_000 - counts[1])) / 2**30, 3)}


def start(args: argparse.Namespace, folder: str) -> dict[str, Any]:
  """A mixture of so many tokens as `itune prepare` writes it, of rows that are made up. What its raw file holds is then
  overwritten, with size and time as before, and a process opens the feed as `itune train` does: it would not find the
  mixture if it read the file."""
  os.environ["ITUNE_CACHE"] = cache = os.path.join(folder, "cache")
  data, length = os.path.join(folder, "rows.jsonl"), 300
  count = args.tokens // length
  line = json.dumps({"prompt": "q", "completion": "a"}) + "\n"
  with open(data, "w", encoding="utf-8") as f:
    for _ in range(min(count, 1000)):
      f.write(line)
  os.utime(data, (1e9, 1e9))
  code = _START.format(here=str(HERE), data=data)
  _prepare(HERE, data, folder, 1, cache=cache)
  nbytes = _inflate(cache, count, length)
  with open(data, "r+b") as f:
    f.write(bytes(os.path.getsize(data)))
  os.utime(data, (1e9, 1e9))
  command = [sys.executable, "-c", code]
  done = subprocess.run(command, env=_environment(HERE, cache), capture_output=True, text=True, check=False)
  if done.returncode:
    raise SystemExit(done.stderr)
  return {
    "examples": count,
    "tokens": count * length,
    "prepared_gib": round(nbytes / 2**30, 2),
    **json.loads(done.stdout),
  }


_START = """
import json, time
from itune_jax.core import digests
from itune_jax.data import feed, mixture
from itune_jax.data.render import chat
from itune_jax.run import rendering, session, specs
import os
digests.keep_in(os.path.join(specs.cache_dir(), "digests"))
renderer = rendering.open_renderer(specs.Model(), chat.Rendering(max_length=512))
mix = mixture.Mixture(name="jsonl", sources=(mixture.Source(name="train", path={data!r}),))
began = time.perf_counter()
found, _ = session.open_feed(mix, renderer, feed.Packing(row_length=1024, rows=8), seed=0)
opened = time.perf_counter()
next(iter(found.iterate(0)))
print(json.dumps(dict(open_s=round(opened - began, 2), first_batch_s=round(time.perf_counter() - opened, 2))))
"""


def _inflate(cache: str, count: int, length: int) -> int:
  """Puts so many records of this length in the place of those of the only source; returns their bytes."""
  (key,) = os.listdir(os.path.join(cache, "tokenised"))
  folder = tokenised.source_folder(cache, key)
  manifest = json.loads(pathlib.Path(folder, "manifest.json").read_text())
  for path in pathlib.Path(folder).rglob("*"):
    if path.is_file():
      path.unlink()
  rng = np.random.default_rng(0)
  store = shards.Store(folder, shards.records.Schema(), False, 1 << 16)
  weights = np.ones(length, np.float32).tobytes()
  header = np.asarray([1, 0, length], np.int32).tobytes()
  for at in range(0, count, 1024):
    size = min(1024, count - at)
    ids = rng.integers(0, 40_000, (size, length), np.int32)
    made = [header + one.tobytes() + weights for one in ids]
    store.add(made, shards.tally_lib.Done(records=made, figures=[(length - 1, length - 1, 1, 1, 0)] * size))
  store.close()
  pathlib.Path(folder, "manifest.json").write_text(json.dumps(manifest))
  return sum(path.stat().st_size for path in pathlib.Path(folder).rglob("*"))


def _written(data: str, count: int, path: str) -> str:
  """A file of so many rows."""
  if not os.path.isdir(data):
    raise SystemExit("give --data=DIR, or set ITUNE_DATA: the folder that holds " + ", ".join(SETS))
  rows = zip(*(_numbered(os.path.join(data, name)) for name in SETS), strict=True)
  with open(path, "w", encoding="utf-8") as f:
    for row in itertools.islice(itertools.chain.from_iterable(rows), count):
      f.write(json.dumps(row, ensure_ascii=False) + "\n")
  return path


def _numbered(folder: str) -> Iterator[dict[str, Any]]:
  """The rows of a set over and over, as questions and answers with a number in front."""
  examples = [row.example for row in readers.read(folder) if row.example is not None]
  for turn in itertools.count():
    for example in examples:
      first, *rest = example.messages
      yield {"messages": [{**first, "content": f"({turn}) {first['content']}"}, *rest]}


def _alone(data: str) -> tuple[list[str], Callable[[], np.ndarray]]:
  """The rendered texts, and the seconds, by clock and processor, that the tokenizer takes for all of them."""
  renderer = rendering_lib.open_renderer(specs.Model(), chat.Rendering(max_length=512))
  texts = [renderer.text(row.example.messages) for row in readers.read(data) if row.example is not None]

  def run() -> np.ndarray:
    began = np.asarray([time.perf_counter(), time.process_time()])
    for at in range(0, len(texts), BATCH):
      renderer.tokenizer.backend_tokenizer.encode_batch(texts[at : at + BATCH], add_special_tokens=False)
    return np.asarray([time.perf_counter(), time.process_time()]) - began

  return texts, run


class Ran(NamedTuple):
  """Seconds of a command, by clock and processor, and the peak of the memory of all its processes together."""

  seconds: np.ndarray
  peak: int


def _prepare(checkout: pathlib.Path, data: str, folder: str, workers: int, flags: bool = True, cache: str = "") -> Ran:
  """The whole command, into an empty cache."""
  with tempfile.TemporaryDirectory(dir=folder) as scratch:
    command = [sys.executable, "-m", "itune_jax.run.cli", "prepare", f"--gin_file={RECIPE}", f"--data={data}"]
    command += [f"--workers={workers}"] if flags else []
    began = _clocks()
    process = subprocess.Popen(command, env=_environment(checkout, cache or scratch), stdout=subprocess.DEVNULL)
    watch = _Watch(process.pid)
    code = process.wait()
    seconds = _clocks() - began
    if code:
      raise SystemExit(f"{' '.join(command)} ended with code {code}")
    return Ran(seconds, watch.stop())


def _clocks() -> np.ndarray:
  """The clock, and the processor's time of all programs that were run."""
  usage = resource.getrusage(resource.RUSAGE_CHILDREN)
  return np.asarray([time.perf_counter(), usage.ru_utime + usage.ru_stime])


def _environment(checkout: pathlib.Path, cache: str) -> dict[str, str]:
  """With a cache of its own, in which the base model is the one that is there."""
  models = os.path.join(os.path.expanduser("~"), ".cache", "itune", "models")
  os.makedirs(cache, exist_ok=True)
  if not os.path.exists(os.path.join(cache, "models")):
    os.symlink(models, os.path.join(cache, "models"))
  return {**os.environ, "PYTHONPATH": str(checkout), "ITUNE_CACHE": cache, "JAX_PLATFORMS": "cpu"}


class _Watch:
  """Looks at the memory of a process and its children, twenty times a second. Pages that they share count for each."""

  def __init__(self, pid: int):
    self._pid, self._peak, self._ended = pid, 0, threading.Event()
    self._thread = threading.Thread(target=self._run, daemon=True)
    self._thread.start()

  def _run(self) -> None:
    while not self._ended.wait(0.05):
      self._peak = max(self._peak, sum(map(_resident, [self._pid, *_children(self._pid)])))

  def stop(self) -> int:
    """The peak in bytes."""
    self._ended.set()
    self._thread.join()
    return self._peak


def _children(pid: int) -> list[int]:
  try:
    return [int(one) for one in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
  except OSError:
    return []


def _resident(pid: int) -> int:
  try:
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
  except OSError:
    return 0


if __name__ == "__main__":
  main()
