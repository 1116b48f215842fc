"""A command as several processes of one run, on this machine."""

import json
import os
import pathlib
import subprocess

from scripts.launch import local


def start(out, line, processes):
  """A command as so many processes, with four devices in all; what each prints is in files beside `out`."""
  port = local.free_port()
  flags = os.environ.get("XLA_FLAGS", "").replace("device_count=8", f"device_count={4 // processes}")
  running = []
  for i in range(processes):
    cluster = [f"--cluster=127.0.0.1:{port},{processes},{i}"] if processes > 1 else []
    with open(f"{out}.{i}.err", "w", encoding="utf-8") as err, open(f"{out}.{i}.out", "w", encoding="utf-8") as said:
      environment = {**os.environ, "XLA_FLAGS": flags}
      running.append(subprocess.Popen([*line, *cluster], env=environment, stderr=err, stdout=said))
  return running


def figures(out):
  """The last line of the first process, without seconds."""
  told = json.loads(pathlib.Path(f"{out}.0.out").read_text().strip().splitlines()[-1])
  return {name: value for name, value in told.items() if name != "eval_s"}
