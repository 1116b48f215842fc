"""What preparing rows costs: `python scripts/bench_select.py novelty|minhash|decontaminate`, one JSON object each.

No job needs JAX or a model. Real words are those of a file of rows (`--data`), such as one of Alpaca's.
"""

import argparse
import collections
from collections.abc import Iterator
import importlib
import json
import resource
import time
from typing import Any

import numpy as np

from itune_jax.run import outside as outside_lib
from itune_jax.select import decontaminate
from itune_jax.select import input_rows
from itune_jax.select import row_texts
from itune_jax.select.duplicates import min_hash
from itune_jax.select.duplicates import novelty

BLOCK = 1000
WORDS = 65  # of a synthetic row: 63 shingles of three words, of which 7 are 1/9
CHANGED = 7  # words at its end: 56 of 70 shingles are common then, a Jaccard similarity of 0.8


def main() -> None:
  """Reads the flags, runs the job, prints its figures."""
  jobs = {"novelty": novel, "minhash": hashed, "decontaminate": decontaminated}
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("job", choices=jobs)
  parser.add_argument("--data", required=True, help="a file of rows whose words are used")
  parser.add_argument("--rows", type=int, default=0, help="rows (50,000; a million for minhash and decontaminate)")
  parser.add_argument("--audit", type=int, default=3000, help="novelty: the first rows are decided by rouge_score too")
  parser.add_argument("--beside", type=int, default=20_000, help="minhash: rows that datasketch gets as well")
  parser.add_argument("--against", default="all", help="decontaminate: benchmarks or files, with commas between them")
  args = parser.parse_args()
  started = time.process_time()
  figures = jobs[args.job](args)
  usage = resource.getrusage(resource.RUSAGE_SELF)
  figures |= {"peak_rss_gib": round(usage.ru_maxrss / 2**20, 3), "cpu_s_in_all": time.process_time() - started}
  print(json.dumps({"job": args.job, **figures}, indent=1))


def texts_of(path: str) -> list[list[str]]:
  """The words of the questions of a file."""
  rows = [given.row for given in input_rows.rows(path) if given.row is not None]
  return [words for row in rows if (words := row_texts.get(row, "instruction").split())]


def novel(args: argparse.Namespace) -> dict[str, Any]:
  """The greedy filter over mutated instructions, of which the first are decided by the package rouge_score as well."""
  given, count = texts_of(args.data), args.rows or 50_000
  rng = np.random.default_rng(0)
  vocabulary = sorted({word for words in given for word in words})
  stream = []
  for i in range(count):
    words = given[int(rng.integers(len(given)))] if i >= len(given) else given[i]
    share = rng.uniform(0.3, 1.0) if i >= len(given) else 0.0
    new = [vocabulary[int(rng.integers(len(vocabulary)))] if rng.random() < share else word for word in words]
    stream.append({"instruction": " ".join(new)})
  wall, cpu = time.perf_counter(), time.process_time()
  kept = [one.row is not None for one in novelty.RougeNovelty().apply(stream, {})]
  figures = {"rows": count, "kept": sum(kept), "wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
  theirs = _rouge_score([row["instruction"] for row in stream[: args.audit]])
  differ = sum(a != b for a, b in zip(theirs, kept, strict=False))
  return {**figures, "audited": len(theirs), "audit_kept": sum(theirs), "decisions_that_differ": differ}


def _rouge_score(texts: list[str]) -> list[bool]:
  """As Alpaca's generate_instruction.py decides: `_score_lcs` of the new tokens and those of each one kept."""
  # Of the parity environment; the other jobs do without.
  rouge_scorer, tokenize = map(importlib.import_module, ("rouge_score.rouge_scorer", "rouge_score.tokenize"))
  found, pool = [], []
  for text in texts:
    tokens = tokenize.tokenize(text, None)
    near = (one for one in pool if 2 * min(len(one), len(tokens)) > 0.69 * (len(one) + len(tokens)))
    new = all(rouge_scorer._score_lcs(tokens, one).fmeasure <= 0.7 for one in near)
    found.append(new)
    if new:
      pool.append(tokens)
  return found


class Planted:
  """Rows of random words; every hundredth is one before it with other words at its end. May be iterated again."""

  def __init__(self, rows: int, vocabulary: list[str], seed: int = 0):
    self._rows, self._vocabulary, self._seed = rows, np.asarray(vocabulary), seed

  def __iter__(self) -> Iterator[dict[str, Any]]:
    for start in range(0, self._rows, BLOCK):
      rng = np.random.default_rng([self._seed, start])
      numbers = rng.integers(len(self._vocabulary), size=(BLOCK, WORDS))
      numbers[99::100, :-CHANGED] = numbers[0::100, :-CHANGED]
      for words in self._vocabulary[numbers[: self._rows - start]].tolist():
        yield {"text": " ".join(words)}


def hashed(args: argparse.Namespace) -> dict[str, Any]:
  """MinHash over synthetic rows: recall of the planted pairs; and datasketch's batches on some of them, in turn."""
  vocabulary, count = [f"{word}{i}" for i in range(5000) for word in ("on", "ra", "li", "te")], args.rows or 1_000_000
  step, rows, wall, cpu = (
    min_hash.MinHash(field="text"),
    Planted(count, vocabulary),
    time.perf_counter(),
    time.process_time(),
  )
  notes: dict[str, Any] = {}
  roots = step.roots((row["text"] for row in rows), notes)
  seconds = time.process_time() - cpu
  first = np.arange(0, count - 99, 100)
  recall = float((roots[first] == roots[first + 99]).mean())
  others = count - len(first) - len(np.unique(roots))
  figures = {"rows": count, "planted_pairs": len(first), "jaccard": 0.8, "recall": recall, "other_pairs_joined": others}
  figures |= {"wall_s": time.perf_counter() - wall, "rows_per_cpu_s": count / seconds, **notes}
  some, rates = [row["text"] for row in Planted(args.beside, vocabulary, 1)], collections.defaultdict(list)
  for _ in range(3):
    for name, job in (("ours", lambda: step.roots(some, {})), ("datasketch", lambda: _datasketch(step, some))):
      cpu = time.process_time()
      job()
      rates[name].append(len(some) / (time.process_time() - cpu))
  ratios = [a / b for a, b in zip(rates["ours"], rates["datasketch"], strict=True)]
  return {**figures, "beside": {"rows": len(some), **rates, "ours_over_datasketch": ratios}}


def _datasketch(step: min_hash.MinHash, texts: list[str]) -> None:
  """The same shingles, its batches of updates, its index with as many permutations: candidates for each row."""
  datasketch = importlib.import_module("datasketch")  # of the parity environment; the other jobs do without
  lsh = datasketch.MinHashLSH(params=(step.bands, step.band), num_perm=step.bands * step.band)
  for i, text in enumerate(texts):
    sketch = datasketch.MinHash(num_perm=step.bands * step.band)
    sketch.update_batch([shingle.encode() for shingle in step.shingles(text)])
    lsh.query(sketch)
    lsh.insert(i, sketch)


def decontaminated(args: argparse.Namespace) -> dict[str, Any]:
  """200 n-grams of benchmarks and 200 that miss one by a word, planted in rows of the words of real ones."""
  count, rng = args.rows or 1_000_000, np.random.default_rng(0)
  step = decontaminate.Decontaminate(against=tuple(args.against.split(",")))
  world, wall = outside_lib.Outside(), time.perf_counter()
  opened = step.opened(world)
  built = time.perf_counter() - wall
  every = sorted({gram.words for gram in opened.index.grams()})
  grams = [every[int(i)] for i in rng.permutation(len(every))[:200]]
  vocabulary = [word for words in texts_of(args.data) for word in words]
  held = {int(at): i for i, at in enumerate(rng.permutation(count)[: 2 * len(grams)])}

  def rows() -> Iterator[dict[str, Any]]:
    for n, row in enumerate(Planted(count, vocabulary)):
      if n in held:
        gram = list(grams[held[n] // 2])
        gram[len(gram) // 2] = "unheard" if held[n] % 2 else gram[len(gram) // 2]
        row = {"text": f"{row['text']}. {' '.join(gram).capitalize()}! {row['text']}"}
      yield row

  notes, wall, cpu = {}, time.perf_counter(), time.process_time()
  bad = [n for n, one in enumerate(opened.apply(rows(), notes)) if one.row is None]
  wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
  found, missed = sum(n in held and not held[n] % 2 for n in bad), sum(n in held and held[n] % 2 for n in bad)
  said = {name: one["items"] for name, one in notes["benchmarks"].items()}
  figures = {"rows": count, "planted": len(grams), "found": found, "near_misses_found": missed}
  times = {"index_s": built, "wall_s": wall, "cpu_s": cpu, "rows_per_s": count / wall}
  return {**figures, "others_found": len(bad) - found - missed, **times, "items": said}


if __name__ == "__main__":
  main()
