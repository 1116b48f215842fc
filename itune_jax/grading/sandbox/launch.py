"""Starts one program and its judge, confines both, and ends all that they started. Run as a process of its own.

  launcher ─┬─ judge ─── program        stdin: settings and program; then, for the judge alone, tests and token
            └─ (orphans)                stdout: the verdict; stderr: what the program prints

The program is forked off before its tests and the token are read, so they were never in its memory. The launcher runs
no line of either: it waits, ends everything at the time limit, or when its own stdin is closed, and adopts whoever
loses its parent, so no daemon is left.
"""

import json
import math
import os
import resource
import select
import signal
import stat
import sys
import sysconfig
import time
from typing import Any, NamedTuple

from itune_jax.grading.sandbox import judge as judge_lib
from itune_jax.grading.sandbox import landlock
from itune_jax.grading.sandbox import program as program_lib
from itune_jax.grading.sandbox import rights
from itune_jax.grading.sandbox import seccomp
from itune_jax.grading.sandbox import wire

_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random", "/usr/share/zoneinfo")
_PROGRAMS = ("/bin", "/usr/bin")  # what a program that may start others may start
_POLL, _LOOK_EVERY = 0.004, 25
_LONGEST = 1024  # path below the folder of a program


class Settings(NamedTuple):
  """What the launcher is told. tier: what is used of the machine; folder: the program's own, packages: more to import
  from; the rest are limits, of bytes and seconds."""

  tier: str
  folder: str
  packages: list[str]
  seconds: float
  cpu_seconds: int
  memory: int
  processes: int
  threads: int
  files: int


def main() -> None:
  """Judges one program, or tells what the machine offers; a line of stdout either way."""
  if sys.argv[1:] == ["probe"]:
    os.write(1, json.dumps(_offers()).encode())
    return
  given = wire.receive(0)
  settings, source = Settings(**given["settings"]), given["program"]
  try:
    user = _prepared(settings)
  except OSError as e:
    os.write(1, _line("impossible", str(e)))
    return
  verdict = b""
  try:
    child = os.fork()
    if child == 0:
      _judge(settings, source, user)
    verdict = _watch(child, settings)
  finally:
    _end_all()
  if verdict:
    os.write(1, verdict)


def _prepared(settings: Settings) -> int:
  """Makes this process the one above a program, and the folder the program's; returns who that will be."""
  user = rights.own_user(os.getpid())
  rights.adopt_orphans()
  if user >= 0:
    os.chown(settings.folder, user, user)
  os.chdir(settings.folder)
  os.umask(0o077)
  if settings.tier == "namespaces":
    rights.enter_namespaces()
  return user


def _judge(settings: Settings, source: str, user: int) -> None:
  """The process of the judge: forks the program off, then reads what that must not know. Does not return."""
  down, up = os.pipe(), os.pipe()
  child = os.fork()
  if child == 0:
    _program(settings, source, user, down[0], up[1])
  os.close(down[0])
  os.close(up[1])
  try:
    _confine(settings._replace(processes=0, files=0, packages=[]), user)
  except OSError as e:
    os.write(1, _line("impossible", str(e)))
    os._exit(1)
  given = wire.receive(0)
  verdict = judge_lib.judged(judge := judge_lib.Judge(up[0], down[1]), given["tests"])
  if judge.gone:
    verdict = _ended(child, settings, verdict)
  token = given["token"] if verdict.verdict == "passed" else ""
  os.write(1, _line(*verdict, token))
  os._exit(0)


def _program(settings: Settings, source: str, user: int, reads: int, writes: int) -> None:
  """The process of the program. Does not return."""
  null = os.open(os.devnull, os.O_RDONLY)
  os.dup2(null, 0)
  os.dup2(2, 1)
  reads, writes = (os.dup2(reads, 3), os.dup2(writes, 4)) if reads != 4 else _crossed(reads, writes)
  os.closerange(5, 1024)
  _confine(settings, user)
  sys.path[:] = [*(path for path in sys.path if path in _stdlib()), *settings.packages]
  sys.argv[:] = [""]
  try:
    program_lib.Program(source, reads, writes).serve()
  finally:
    os._exit(0)


def _crossed(reads: int, writes: int) -> tuple[int, int]:
  reads, writes = os.dup(reads), os.dup(writes)
  return os.dup2(reads, 3), os.dup2(writes, 4)


def _confine(settings: Settings, user: int) -> None:
  """Takes from this process what it does not need; from here on nothing is trusted."""
  bounded = settings.tier in ("landlock", "namespaces")
  is_shared = user == 65534 or (user < 0 and settings.tier != "namespaces")
  others = rights.tasks_of(user if user >= 0 else os.getuid()) if is_shared else 0
  rights.become(user, sysconfig.get_path("stdlib"), bounded)
  rights.end_with_parent()
  rights.not_readable()
  rights.no_new_privileges()
  tasks = others + settings.processes + settings.threads + 2
  size = max(settings.files, 0)
  rights.limit(cpu_seconds=settings.cpu_seconds, memory=settings.memory, file_size=size, tasks=tasks)
  if bounded:
    programs = (*_PROGRAMS, os.path.dirname(os.path.realpath(sys.executable))) if settings.processes else ()
    reads = (*_stdlib(), *_LIBRARIES, *_DEVICES, *programs, *settings.packages)
    landlock.restrict(reads, (settings.folder, os.devnull) if settings.files else (), bool(settings.processes))
  if settings.tier != "rlimits":
    alone = settings.tier == "namespaces" or landlock.scopes_signals()
    processes = settings.processes > 0
    seccomp.install(processes=processes, signals=processes and bounded and alone, changes=bounded)


def _stdlib() -> tuple[str, ...]:
  return (*{sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}, *_dynamic())


def _dynamic() -> list[str]:
  return [path for path in sys.path if path.endswith("lib-dynload")] + [os.path.join(sys.base_prefix, "lib")]


def _ended(child: int, settings: Settings, verdict: judge_lib.Verdict) -> judge_lib.Verdict:
  """Why the program is gone."""
  _, status = os.waitpid(child, 0)
  used = resource.getrusage(resource.RUSAGE_CHILDREN)
  by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
  if by == signal.SIGXCPU or used.ru_utime + used.ru_stime >= settings.cpu_seconds:
    return judge_lib.Verdict("timeout", f"{settings.cpu_seconds} s of processor time")
  if by == signal.SIGKILL:
    return judge_lib.Verdict("memory", "killed: the machine had no memory left")
  if verdict.verdict != "wrong":
    return verdict
  how = signal.Signals(by).name if by else f"exit code {os.waitstatus_to_exitcode(status)}"
  return judge_lib.Verdict("wrong", f"it ended before its tests, by {how}")


def _watch(child: int, settings: Settings) -> bytes:
  """Waits for the judge; returns the verdict that it could not give."""
  ends, hangs_up = time.monotonic() + settings.seconds, select.poll()
  hangs_up.register(0, 0)  # POLLHUP is always reported
  for turn in range(sys.maxsize):
    if os.waitpid(child, os.WNOHANG)[0]:
      return b""
    if time.monotonic() > ends:
      return _line("timeout", f"{settings.seconds:g} s")
    if hangs_up.poll(_POLL * 1000):
      return _line("timeout", "the caller is gone")
    if turn % _LOOK_EVERY == 0 and settings.files and _size(settings.folder) > settings.files:
      return _line("refused", f"it wrote more than {settings.files >> 20} MiB, or folders too deep")
  return b""


def _line(verdict: str, detail: str, token: str = "") -> bytes:
  return json.dumps({"verdict": verdict, "detail": detail, "token": token}).encode() + b"\n"


def _size(folder: str) -> float:
  """Bytes on disk below a folder; without end where it is nested so deeply that it takes long to look."""
  total, folders = 0.0, [folder]
  while folders and total < 2**40:
    try:
      with os.scandir(folders.pop()) as entries:
        for entry in entries:
          found = entry.stat(follow_symlinks=False)
          total += found.st_blocks * 512 + 512
          if stat.S_ISDIR(found.st_mode):
            folders.append(entry.path)
          if len(entry.path) > len(folder) + _LONGEST:
            return math.inf
    except OSError:  # it is being changed
      continue
  return total


def _end_all() -> None:
  """Kills and reaps all that is below this process, until nothing is."""
  while True:
    for pid in _below(os.getpid()):
      try:
        os.kill(pid, signal.SIGKILL)
      except ProcessLookupError:
        continue
    try:
      os.waitpid(-1, os.WNOHANG)
      time.sleep(0.0005)
    except ChildProcessError:
      return


def _below(pid: int) -> list[int]:
  """Processes below one, by the parents that /proc names."""
  parents: dict[int, list[int]] = {}
  for name in filter(str.isdigit, os.listdir("/proc")):
    try:
      with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as f:
        parent = int(f.read().rpartition(")")[2].split()[1])
    except OSError:  # it ended meanwhile
      continue
    parents.setdefault(parent, []).append(int(name))
  found, fresh = [], [pid]
  while fresh:
    fresh = [child for one in fresh for child in parents.get(one, ())]
    found += fresh
  return found


def _offers() -> dict[str, Any]:
  """What this machine has of each tier; for namespaces why not, or nothing."""
  child = os.fork()
  if child == 0:
    try:
      rights.enter_namespaces()
      os._exit(0)
    except OSError as e:
      os._exit(e.errno or 1)
  code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
  return {"landlock": landlock.abi(), "seccomp": seccomp.available(), "namespaces": os.strerror(code) if code else ""}
