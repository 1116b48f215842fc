"""Programs that a model wrote, judged by their tests: in processes of their own, with as few rights as can be.

  tier          what keeps a program in
  rlimits       limits of time, memory, file size, threads: no protection from malice
  seccomp       and no network, no process, no signal, no change of any file; it reads what its user may
  landlock      and no file but the standard library, and a folder of its own
  namespaces    and processes that end with their first, and see no other

The highest tier that the machine has is used. docs/guides/sandbox.md says what each prevents, and what none does.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import secrets
import selectors
import stat
import subprocess
import sys
import tempfile
import time
from typing import Any, Literal

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.grading.sandbox import launch
from itune_jax.grading.sandbox import wire

Tier = Literal["rlimits", "seccomp", "landlock", "namespaces"]
TIERS: tuple[Tier, ...] = ("rlimits", "seccomp", "landlock", "namespaces")
Verdict = Literal["passed", "wrong", "timeout", "memory", "refused"]
_ROOT = pathlib.Path(__file__).parents[3]
_START = f"import sys; sys.path.insert(0, {str(_ROOT)!r}); from itune_jax.grading.sandbox import launch; launch.main()"
_GRACE = 20.0  # seconds that a launcher is given to start and to end, beyond what its program may take


@dataclasses.dataclass(frozen=True)
class Job:
  """A program, and the tests that judge it: source code both. The tests see the names that the program defines."""

  program: str
  tests: str


@dataclasses.dataclass(frozen=True)
class Result:
  """What became of a program.

  detail: why, in a line. output: the beginning of what it printed, errors too. seconds: from start to end, with those
  of the processes around it. tier: what kept it in.
  """

  verdict: Verdict
  detail: str
  output: str
  seconds: float
  tier: Tier


@dataclasses.dataclass(frozen=True)
class Offers:
  """What a machine has: the tier, and a line for each one above it that says why not."""

  tier: Tier
  why: tuple[str, ...] = ()


def tier() -> Tier:
  """The highest tier that this machine has."""
  return offers().tier


@functools.cache
def offers() -> Offers:
  """What this machine has, found out by trying in a process of its own."""
  if sys.platform != "linux":
    return Offers("rlimits", (f"seccomp, Landlock and namespaces are parts of Linux; this is {sys.platform}",))
  done = subprocess.run([*_command(), "probe"], capture_output=True, text=True, check=False, env=_environment("/"))
  if done.returncode:
    raise errors.RunError(f"the sandbox cannot start a process: {done.stderr.strip().splitlines()[-1:]}")
  found = json.loads(done.stdout)
  why = []
  if not found["seccomp"]:
    why.append("no seccomp: a kernel without it, or an architecture other than x86_64 and aarch64")
  if not found["landlock"]:
    why.append("no Landlock: Linux 5.13 or later, with `landlock` in its list of security modules (lsm=)")
  if found["namespaces"]:
    why.append(f"no namespaces: {found['namespaces']}")
  has = (found["seccomp"], found["landlock"], not found["namespaces"])
  return Offers(TIERS[next((i for i, here in enumerate(has) if not here), len(has))], tuple(why))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sandbox:
  """Where programs run, and what each may take.

  require: the least tier; where the machine has less, nothing is run.
  most: the highest tier to use.
  seconds: from start to end, of one program.
  cpu_seconds: of the processor, of one process.
  memory_mib: of address space, of one process.
  processes: that a program may start; 0 for none, and no other program is run.
  threads: that it may have.
  files_mib: that it may write into its folder; 0 for no file at all.
  output_kib: of what it prints that is kept.
  packages: folders to import from, beside the standard library.
  workers: programs at a time; 0 for one a core.
  """

  require: Tier = "landlock"
  most: Tier = "namespaces"
  seconds: float = 10.0
  cpu_seconds: int = 5
  memory_mib: int = 1024
  processes: int = 0
  threads: int = 32
  files_mib: int = 16
  output_kib: int = 64
  packages: tuple[str, ...] = ()
  workers: int = 0

  def __post_init__(self):
    check.check_types(self)
    for name in ("seconds", "cpu_seconds", "memory_mib", "threads"):
      value = getattr(self, name)
      check.require(value > 0, f"Sandbox.{name} = {value}; it is more than 0")
    for name in ("processes", "files_mib", "output_kib", "workers"):
      value = getattr(self, name)
      check.require(value >= 0, f"Sandbox.{name} = {value}; it is 0 or more")

  def tier(self) -> Tier:
    """The tier that programs run in here. Raises InputError where it is below the required one."""
    here = offers()
    found = TIERS[min(TIERS.index(here.tier), TIERS.index(self.most))]
    if TIERS.index(found) < TIERS.index(self.require):
      why = "; ".join(here.why) or f"Sandbox.most = {self.most!r}"
      raise errors.InputError(
        f"programs are run in a sandbox of tier {self.require!r} or higher, and this machine has {found!r}: {why}; "
        f"Sandbox.require = {found!r} runs them with that"
      )
    return found

  def run(self, job: Job) -> Result:
    """Runs one program and its tests. Raises InputError for a machine that has less than is required."""
    found = self.tier()
    with _folder() as folder:
      return self._run(job, found, folder)

  def run_all(self, jobs: Sequence[Job], progress: Callable[[int], None] = lambda n: None) -> list[Result]:
    """Runs many programs, some at a time; the results in the order of the jobs. `progress` is told of each that ends.

    Raises as `run` does.
    """
    self.tier()
    results = []
    with futures.ThreadPoolExecutor(self.workers or os.cpu_count() or 1) as pool:
      for result in pool.map(self.run, jobs):
        results.append(result)
        progress(1)
    return results

  def _run(self, job: Job, found: Tier, folder: str) -> Result:
    settings = launch.Settings(
      tier=found,
      folder=folder,
      packages=[*self.packages],
      seconds=float(self.seconds),
      cpu_seconds=self.cpu_seconds,
      memory=self.memory_mib * 2**20,
      processes=self.processes,
      threads=self.threads,
      files=self.files_mib * 2**20,
    )
    token, began = secrets.token_hex(16), time.monotonic()
    said, printed = self._talk(
      {"settings": settings._asdict(), "program": job.program}, {"tests": job.tests, "token": token}, folder
    )
    seconds = time.monotonic() - began
    verdict, detail = _verdict(said, token)
    if verdict == "impossible":
      raise errors.InputError(f"no sandbox of tier {found!r} can be made here: {detail}")
    if not verdict:
      raise errors.RunError(f"the sandbox gave no verdict: {printed[-300:].decode(errors='replace')!r}")
    return Result(verdict, detail, printed.decode(errors="replace"), seconds, found)

  def _talk(self, first: Any, second: Any, folder: str) -> tuple[bytes, bytes]:
    """Starts a launcher, tells it both parts, and returns what it said and what the program printed."""
    with subprocess.Popen(
      _command(),
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      env=_environment(folder),
      cwd="/",
      start_new_session=True,
      bufsize=0,
    ) as process:
      assert process.stdin and process.stdout and process.stderr
      try:
        wire.send(process.stdin.fileno(), first)
        wire.send(process.stdin.fileno(), second)
      except wire.Closed:
        pass  # it ended early, and says why
      found = _read(
        {process.stdout.fileno(): 2**16, process.stderr.fileno(): self.output_kib * 2**10}, self.seconds + _GRACE
      )
      if found is None:
        process.kill()
        raise errors.RunError("the sandbox did not end; the machine is overloaded, or Sandbox.seconds is too short")
      return found[process.stdout.fileno()], found[process.stderr.fileno()]


def _verdict(said: bytes, token: str) -> tuple[Any, str]:
  """The first line of a launcher; a pass without the token is none."""
  for line in said.splitlines()[:1]:
    found = json.loads(line)
    if found["verdict"] == "passed" and not secrets.compare_digest(found["token"], token):
      return "wrong", "it claimed to have passed"
    return found["verdict"], found["detail"]
  return "", ""


def _read(most: dict[int, int], seconds: float) -> dict[int, bytes] | None:
  """What comes from some files until all are closed: so many bytes of each are kept. None where the time is over."""
  parts, ends = dict.fromkeys(most, b""), time.monotonic() + seconds
  with selectors.DefaultSelector() as selector:
    for fd in most:
      selector.register(fd, selectors.EVENT_READ)
    while selector.get_map():
      if time.monotonic() > ends:
        return None
      for key, _ in selector.select(1.0):
        got = os.read(key.fd, 2**16)
        if not got:
          selector.unregister(key.fd)
        parts[key.fd] += got[: most[key.fd] - len(parts[key.fd])]
  return parts


def _command() -> list[str]:
  return [sys.executable, "-s", "-S", "-P", "-u", "-c", _START]


def _environment(home: str) -> dict[str, str]:
  """All that a program finds in its environment; nothing of the caller's."""
  return {
    "HOME": home,
    "TMPDIR": home,
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
  }


@contextlib.contextmanager
def _folder() -> Iterator[str]:
  """An empty folder, and no trace of it afterwards, whatever rights a program gave to what it made there."""
  folder = tempfile.mkdtemp(prefix="itune-program-")
  try:
    yield folder
  finally:
    _remove(folder)


def _remove(folder: str) -> None:
  """Removes a folder that may be nested deeper than paths reach: what is in a folder of it is moved up."""
  top, moved = os.open(folder, os.O_RDONLY | os.O_DIRECTORY), 0
  try:
    while names := os.listdir(top):
      for name in names:
        if not stat.S_ISDIR(os.lstat(name, dir_fd=top).st_mode):
          os.unlink(name, dir_fd=top)
          continue
        os.chmod(name, 0o700, dir_fd=top)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
        for one in os.listdir(below):
          moved += 1
          os.rename(one, f".moved-{moved}-{secrets.token_hex(8)}", src_dir_fd=below, dst_dir_fd=top)
        os.close(below)
        os.rmdir(name, dir_fd=top)
  finally:
    os.close(top)
  os.rmdir(folder)
