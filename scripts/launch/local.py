"""Runs one itune command as several processes of this machine: `local.py N COMMAND …`, as a pod would run it.

    python scripts/launch/local.py 2 train --gin_file=recipes/llama_tiny.gin --gin_file=mesh/auto.gin --run_dir=runs/two

Every process gets `--cluster`; what the lead (process 0) prints is shown, what the others print on stderr is marked
with their number. SIGTERM and Ctrl-C are passed on. The last line on stderr is the verdict; the exit code is the worst.
"""

import signal
import socket
import subprocess
import sys
import threading


def free_port() -> int:
  """A port that nobody listens on just now."""
  with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    return s.getsockname()[1]


def main(argv: list[str]) -> int:
  """Starts, watches, and sums up."""
  if len(argv) < 2 or not argv[0].isdigit() or int(argv[0]) < 1:
    print(__doc__, file=sys.stderr)
    return 2
  count, port = int(argv[0]), free_port()
  command = [sys.executable, "-m", "itune_jax.run.cli", *argv[1:]]
  others = dict(stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
  running = [
    subprocess.Popen([*command, f"--cluster=127.0.0.1:{port},{count},{i}"], **(others if i else {}))
    for i in range(count)
  ]
  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, frame: [p.send_signal(number) for p in running if p.poll() is None])
  readers = [threading.Thread(target=_echo, args=(i, p)) for i, p in enumerate(running) if i]
  for reader in readers:
    reader.start()
  codes = [p.wait() for p in running]
  for reader in readers:
    reader.join()
  bad = {i: code for i, code in enumerate(codes) if code}
  named = ", ".join(f"{i} ({'signal ' + str(-c) if c < 0 else 'code ' + str(c)})" for i, c in bad.items())
  print(f"{count} processes: {'failed were ' + named if bad else 'all ended well'}", file=sys.stderr)
  return max((abs(c) for c in codes), default=0) if bad else 0


def _echo(index: int, process: subprocess.Popen) -> None:
  for line in process.stderr:
    sys.stderr.write(f"[{index}] {line}")


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
