"""Verdicts on 1,000 answers to MBPP, against the published check: `exec` of program and tests in a plain process."""

import collections
from concurrent import futures
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import time

import pytest

from itune_jax.grading import code
from itune_jax.grading.sandbox import sandbox

FILE = pathlib.Path(os.environ.get("ITUNE_DATA", "/nowhere"), "mbpp", "mbpp.test.jsonl")
SECONDS, CPU_SECONDS = 30.0, 2  # a busy machine makes no timeout
LIMIT = f"import resource, sys; resource.setrlimit(resource.RLIMIT_CPU, ({CPU_SECONDS}, {CPU_SECONDS})); "
CHECK = LIMIT + "exec(compile(sys.stdin.read(), '<both>', 'exec', dont_inherit=True), {})"


def wrong(text, rng):
  lines = text.splitlines(keepends=True)
  at = rng.choice([i for i, line in enumerate(lines) if re.match(r"\s+return\b|\s+\S", line)] or [0])
  return "".join(line for i, line in enumerate(lines) if i != at)


def changed(text, rng):
  return re.sub(r"\b\d+\b", lambda m: str(int(m[0]) + rng.choice((0, 1))), text)


def into_the_function(line):
  return lambda text, rng: re.sub(r"^(def [^\n]*:[ \t]*\n)([ \t]+)", rf"\1\2{line}\n\2", text, count=1, flags=re.M)


KINDS = {
  "as it is": lambda text, rng: text,
  "a line less": wrong,
  "other numbers": changed,
  "truncated": lambda text, rng: text[: rng.randrange(len(text))],
  "in a block": lambda text, rng: f"Here is the function:\n\n```python\n{text}\n```\nIt works.",
  "words around": lambda text, rng: f"This function does it.\n\n{text}\n\nI hope that this helps you!",
  "an endless loop": into_the_function("while True: pass"),
  "returns nothing": into_the_function("return None"),
  "an error": into_the_function("raise ValueError(1)"),
  "exits first": lambda text, rng: "import sys\nsys.exit(0)\n" + text,
  "exits when called": into_the_function("import os; os._exit(0)"),
  "a guess": lambda text, rng: "print('passed')\nclass assertion: pass\n",
}
HOSTILE = ("exits first", "exits when called")  # the plain process takes an exit code of 0 for a pass


def answers():
  """Problem, kind and answer: each reference as it is, and changed in one way."""
  rows, kinds, rng = [json.loads(line) for line in FILE.read_text().splitlines()], list(KINDS)[1:], random.Random(0)
  for i, row in enumerate(rows):
    tests = "\n".join([row["test_setup_code"], *row["test_list"]])
    problem = code.Problem(tests=tests, entry=re.findall(r"(\w+)\s*\(", row["test_list"][0].removeprefix("assert"))[0])
    text = row["code"].replace("\r\n", "\n")
    for kind in ("as it is", kinds[i % len(kinds)]):
      yield problem, kind, KINDS[kind](text, rng)


def published(program, tests):
  """Whether program and tests, one behind the other, end without an error."""
  try:
    text = f"{program}\n{tests}\n"
    done = subprocess.run(
      [sys.executable, "-S", "-c", CHECK], input=text, text=True, capture_output=True, timeout=SECONDS
    )
  except subprocess.TimeoutExpired:
    return False
  return done.returncode == 0


@pytest.mark.full
@pytest.mark.skipif(not FILE.exists(), reason="needs MBPP below ITUNE_DATA")
def test_verdicts_are_those_of_the_published_check():
  """`pytest -s` prints the counts, by kind of answer."""
  problems, kinds, texts = zip(*answers(), strict=True)
  programs = [code.program(text, problem) for text, problem in zip(texts, problems, strict=True)]
  began = time.monotonic()
  found = code.judge(problems, programs, sandbox.Sandbox(seconds=SECONDS, cpu_seconds=CPU_SECONDS, workers=4))
  seconds = time.monotonic() - began
  with futures.ThreadPoolExecutor(4) as pool:
    expected = list(pool.map(published, programs, [problem.tests for problem in problems]))
  counts = collections.defaultdict(collections.Counter)
  differ = []
  for kind, one, right in zip(kinds, found, expected, strict=True):
    counts[kind][one.verdict] += 1
    counts[kind]["published: passed"] += right
    if one.passed != right:
      differ.append((kind, one, right))
  print(f"\n{len(found)} answers in {seconds:.0f} s, {sandbox.tier()}")
  for kind, count in counts.items():
    print(f"  {kind:18} {dict(count)}")
  print(f"  {len(differ)} differ: {dict(collections.Counter(kind for kind, _, _ in differ))}")
  assert len(found) == 1000 and sum(expected) > 400
  assert not [one for one in differ if one[0] not in HOSTILE or one[1].passed]
  assert len(differ) > 80, "the exits that the plain process takes for passes"
