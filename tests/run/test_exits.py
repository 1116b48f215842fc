"""SIGTERM goes the way of Ctrl-C: the process says one line, and its children end with it."""

import os
import signal
import subprocess
import sys
import time

from itune_jax.run import exits

PARENT = """
import os, subprocess, sys
from itune_jax.run import exits
exits.raise_on_sigterm()
try:
  if sys.argv[1] == "fork" and not os.fork():
    print(os.getpid(), flush=True)
    while True:
      pass
  command = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
  os.wait() if sys.argv[1] == "fork" else subprocess.run([sys.executable, "-c", command])
except exits.ERRORS as e:
  code, line = exits.explained(e)
  print(line, flush=True)
  sys.exit(code)
"""


def start(how):
  parent = subprocess.Popen([sys.executable, "-c", PARENT, how], stdout=subprocess.PIPE, text=True)
  assert parent.stdout is not None
  return parent, int(parent.stdout.readline())


def is_there(pid):
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  return True


def test_children_end_with_a_command_that_is_told_to_end():
  parent, child = start("run")
  parent.terminate()
  said, _ = parent.communicate(timeout=30)
  assert parent.returncode == exits.TERMINATED and said.splitlines() == [exits.explained(exits.Terminated())[1]]
  deadline = time.time() + 10
  while is_there(child):
    assert time.time() < deadline, "the child lives on"
    time.sleep(0.01)


def test_a_fork_ends_by_the_signal_itself():
  parent, child = start("fork")
  os.kill(child, signal.SIGTERM)
  said, _ = parent.communicate(timeout=30)
  assert parent.returncode == 0 and not said  # whose child has ended
