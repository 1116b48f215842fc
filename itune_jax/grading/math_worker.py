"""The process in which answers to mathematical problems are compared (`grading/math_equal.py` starts it, as a script).

A line of JSON comes in, `[gold, answer, seconds]`, and one goes out: true or false. It imports nothing of the project.
"""

import json
import logging
import math
import os
import resource
import signal
import sys

import math_verify

MEMORY = 4 << 30  # bytes; an answer such as 9^{9^{9^9}} would take all there is


def main() -> None:
  """Answers until its input ends. What libraries print goes nowhere."""
  logging.disable(logging.CRITICAL)  # it warns that time limits are the caller's: they are
  out = os.fdopen(os.dup(1), "w")
  os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
  resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
  print("ready", file=out, flush=True)
  for line in sys.stdin:
    gold, answer, seconds = json.loads(line)
    signal.alarm(math.ceil(seconds) + 5)  # ends this process by itself where nobody is left to end it
    wanted, said = (math_verify.parse(text, parsing_timeout=0) for text in (gold, answer))  # 0: without signals
    verdict = math_verify.verify(wanted, said, timeout_seconds=0)
    signal.alarm(0)
    print(json.dumps(bool(verdict)), file=out, flush=True)


if __name__ == "__main__":
  main()
