"""Programs that mean harm are kept in, and passes are what the tests alone decide. The table is in hostile.py."""

import dataclasses
import functools
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

import pytest

from itune_jax.core import errors
from itune_jax.grading.sandbox import sandbox
from itune_jax.grading.sandbox import syscalls
from tests.grading import hostile
from tests.grading import meant

NOBODY = 65534
QUICK = (
  "fork bomb", "memory bomb", "reads /etc/passwd", "deletes a folder", "symlink to write", "connects", "ptrace",
  "kills all", "a daemon that may fork", "looks for the token", "forges a verdict", "os._exit(0)", "exits in __eq__",
  "patches ==", "a huge file", "lifts its limits by ctypes", "/proc/self/mem", "closes files",
)  # fmt: skip
HIGHEST = sandbox.TIERS.index(sandbox.tier())
pytestmark = pytest.mark.skipif(sandbox.TIERS.index("landlock") > HIGHEST, reason=f"{sandbox.offers()}")


@functools.cache
def others_python() -> str:
  """An interpreter that a user without rights can run, "" where there is none."""
  found = shutil.which("python3", path="/usr/bin:/usr/local/bin")
  ask = [found or "false", "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
  allowed = found and os.geteuid() == 0 and not subprocess.run(ask, user=NOBODY, check=False).returncode
  return (found or "") if allowed else ""


@pytest.fixture
def listener():
  """A port of this machine; what connects to it is counted."""
  with socket.create_server(("127.0.0.1", 0)) as server:
    server.settimeout(0.1)
    yield server


@pytest.fixture
def folder():
  """One that anyone may come to and write; pytest's own folders are closed again by any other run of it."""
  with tempfile.TemporaryDirectory(prefix="itune-hostile-", dir="/tmp") as path:
    hostile.prepared(pathlib.Path(path))
    yield pathlib.Path(path)


def left(folder: pathlib.Path) -> list[str]:
  """Processes that a launcher in this folder started: its name is in their environment."""
  found = []
  for one in filter(str.isdigit, os.listdir("/proc")):
    try:
      text = pathlib.Path("/proc", one, "environ").read_bytes()
    except OSError:
      continue
    if str(folder).encode() in text and int(one) != os.getpid():
      found.append(one)
  return found


def kept_in(programs, results, folder, listener):
  """What hostile programs did not do."""
  found = {one.name: result for one, result in zip(programs, results, strict=True)}
  assert not {one.name: found[one.name] for one in programs if found[one.name].verdict not in one.verdicts}
  assert all(len(result.output) <= 2**16 and "SECRET_" not in result.output for result in results)
  assert [one.name for one in (folder / "canary").iterdir()] == ["kept"]
  assert (folder / "canary" / "kept").read_text() == "kept" and os.access(folder / "canary" / "kept", os.W_OK)
  assert not os.path.exists("/dev/shm/itune-x")
  assert not left(folder), "no process is left"
  assert [one.name for one in folder.iterdir()] == ["canary"], "no folder is left"
  with pytest.raises(TimeoutError):
    listener.accept()


@pytest.mark.heavy
def test_hostile_programs(folder, listener, monkeypatch):
  monkeypatch.setenv("SECRET_OF_THE_CALLER", "SECRET_1")
  programs = [one for one in hostile.PROGRAMS if one.name in QUICK]
  assert len(programs) == len(QUICK)
  monkeypatch.setattr(hostile, "PROGRAMS", programs)
  monkeypatch.setattr(hostile.tempfile, "tempdir", None)
  results = hostile.judged(sandbox.tier(), str(folder), listener.getsockname()[1])
  kept_in(programs, results, folder, listener)


@pytest.mark.heavy
@pytest.mark.parametrize("tier", ["landlock", pytest.param("namespaces", marks=pytest.mark.full)])
@pytest.mark.parametrize("user", ["this user", "nobody"])
def test_every_hostile_program_by_tier_and_user(tier, user, folder, listener, monkeypatch):
  """`pytest -s` prints what became of each."""
  if sandbox.TIERS.index(tier) > HIGHEST:
    pytest.skip(f"{sandbox.offers()}")
  monkeypatch.setenv("SECRET_OF_THE_CALLER", "SECRET_1")
  monkeypatch.setattr(hostile.tempfile, "tempdir", None)
  port = listener.getsockname()[1]
  if user == "nobody":
    if not others_python():
      pytest.skip("not root, or no interpreter that others may run")
    for one in (folder, *folder.rglob("*")):
      os.chown(one, NOBODY, NOBODY)
    root = str(pathlib.Path(__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [others_python(), "-m", "tests.grading.hostile", tier, str(folder), str(port)]
    done = subprocess.run(command, user=NOBODY, group=NOBODY, extra_groups=[], env=env, cwd="/", capture_output=True)
    assert done.returncode == 0, done.stderr
    results = [sandbox.Result(**row) for row in json.loads(done.stdout)]
  else:
    results = hostile.judged(tier, str(folder), port)
  assert {result.tier for result in results} == {tier}
  print(f"\n{len(results)} hostile programs as {user} in {tier}:")
  for one, result in zip(hostile.PROGRAMS, results, strict=True):
    print(f"  {one.name:28} {result.verdict:8} {result.seconds:5.2f} s  {result.detail[:90]}")
  kept_in(hostile.PROGRAMS, results, folder, listener)


CASES = meant.cases()


def plainly(program: str, tests: str) -> bool:
  """What the published harnesses do: `exec` of the program with its tests behind it."""
  try:
    exec(compile(f"{program}\n{tests}\n", "<both>", "exec", dont_inherit=True), {})
  except BaseException:
    return False
  return True


def test_verdicts_are_those_of_a_plain_exec():
  jobs = [sandbox.Job(*one) for one in CASES.values()]
  results = sandbox.Sandbox(workers=4).run_all(jobs)
  expected = [plainly(*one) for one in CASES.values()]
  assert 28 <= sum(expected) < len(expected)
  got = dict(zip(CASES, results, strict=True))
  assert not {
    name: got[name] for name, right in zip(CASES, expected, strict=True) if (got[name].verdict == "passed") != right
  }


def test_what_a_machine_lacks_is_refused_in_one_line(monkeypatch):
  monkeypatch.setattr(sandbox, "offers", lambda: sandbox.Offers("seccomp", ("no Landlock: an old kernel",)))
  with pytest.raises(errors.InputError, match=r"tier 'landlock' or higher.*has 'seccomp': no Landlock: an old kernel"):
    sandbox.Sandbox().run(sandbox.Job("", ""))
  assert sandbox.tier() == "seccomp" and sandbox.Sandbox(require="seccomp").tier() == "seccomp"


def test_a_launcher_that_loses_its_caller_ends_all():
  """The caller is killed: nothing of the program goes on."""
  code = (
    "from itune_jax.grading.sandbox import sandbox\n"
    "print('x', flush=True)\n"
    "sandbox.Sandbox(seconds=60.0).run(sandbox.Job('import time\\nprint(1)\\ntime.sleep(100)', ''))\n"
  )
  name = f"/tmp/itune-marked-{os.getpid()}"
  os.makedirs(name)
  root = str(pathlib.Path(__file__).parents[2])
  env = {**os.environ, "TMPDIR": name, "PYTHONPATH": root}
  try:
    with subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE) as caller:
      wait_until(lambda: len(left(pathlib.Path(name))) >= 4)  # caller, launcher, judge, program
      caller.kill()
    wait_until(lambda: not left(pathlib.Path(name)))
  finally:
    shutil.rmtree(name)


def wait_until(is_so, seconds=20.0):
  pause = threading.Event()
  for _ in range(int(seconds / 0.05)):
    if is_so():
      return
    pause.wait(0.05)
  raise AssertionError("it did not come")


def test_packages_of_the_caller_are_imported_where_they_are_named(tmp_path):
  tmp_path.chmod(0o755)
  (tmp_path / "mine.py").write_text("def f(): return 1\n")
  job = sandbox.Job("import mine\n", "assert mine.f() == 1")
  assert sandbox.Sandbox().run(job).verdict == "wrong"
  assert sandbox.Sandbox(packages=(str(tmp_path),)).run(job).verdict == "passed"


@pytest.mark.parametrize("machine, header", [
  ("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
  ("aarch64", "/usr/include/asm-generic/unistd.h"),
])  # fmt: skip
def test_numbers_of_calls_are_those_of_the_kernels_headers(machine, header):
  if not os.path.exists(header):
    pytest.skip(f"no {header}")
  words = [line.split() for line in pathlib.Path(header).read_text().splitlines() if line.startswith("#define __NR")]
  known = {w[1].removeprefix("__NR_").removeprefix("__NR3264_"): w[2] for w in words if len(w) > 2 and w[2].isdigit()}
  known["newfstatat"] = known.get("newfstatat", known.get("fstatat"))
  tables = (syscalls.PLAIN, syscalls.CHANGES, syscalls.PROCESSES, syscalls.LOOKED_AT, syscalls.ABSENT)
  ours = {name: number for table in tables for name, number in syscalls.numbers(table, machine).items()}
  assert len(ours) > 120 and {name: str(number) for name, number in ours.items()} == {n: known[n] for n in ours}


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(sandbox.Sandbox)])
def test_every_limit_is_checked(field):
  with pytest.raises(errors.InputError, match=f"Sandbox.{field} ="):
    sandbox.Sandbox(**{field: -1})
