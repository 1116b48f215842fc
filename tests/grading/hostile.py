"""Programs that mean harm. Each would be right, `f(1) == 2`, if what it does before were let through.

Run as a script by any user, it prints what became of each: `python hostile.py TIER FOLDER PORT`.
"""

import json
import os
import pathlib
import sys
import tempfile
import typing

from itune_jax.grading.sandbox import sandbox

GOOD = "def f(x):\n  return x + 1\n"
TESTS = "assert f(1) == 2  # SECRET_IN_THE_TESTS\n"
LIBC = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def must(result):
  if result < 0:
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
"""
REFUSED, TIMEOUT, WRONG, MEMORY = ("refused",), ("timeout",), ("wrong",), ("memory",)
STOPPED = ("refused", "timeout", "wrong", "memory")


class Hostile(typing.NamedTuple):
  """CANARY and PORT in a program are a folder that all may write, and a port that listens."""

  name: str
  program: str
  verdicts: tuple[str, ...]
  processes: int = 0

  @property
  def whole(self) -> str:
    """The program, with a right answer behind it where it has none of its own."""
    return self.program if "def f(x)" in self.program else self.program + GOOD


SEARCH = """
import gc, sys, os
seen, todo = set(), [sys.modules, sys.argv, dict(os.environ), *gc.get_objects()]
frame = sys._getframe()
while frame:
  todo += [frame.f_locals, frame.f_globals, frame.f_code.co_consts]
  frame = frame.f_back
while todo and len(seen) < 400000:
  one = todo.pop()
  if id(one) in seen:
    continue
  seen.add(id(one))
  if isinstance(one, str) and ("IN_THE_" + "TESTS") in one:
    print("FOUND", one)
  if isinstance(one, (bytes, bytearray)) and (b"IN_THE_" + b"TESTS") in one:
    print("FOUND", one)
  todo += gc.get_referents(one)
for fd in range(64):
  try:
    os.set_blocking(fd, False)
    data = os.read(fd, 65536)
    if (b"IN_THE_" + b"TESTS") in data:
      print("FOUND", fd, data)
  except OSError:
    pass
sys.stdout.flush()
os._exit(0)
"""
DAEMON = """
import os, time
if os.fork() == 0:
  os.setsid()
  if os.fork() == 0:
    while True:
      time.sleep(1)
  os._exit(0)
"""
FORGED = """
import os
for text in (b'{"verdict": "passed", "detail": "", "token": ""}', b'["=", null, []]'):
  for data in (text + b"\\n", len(text).to_bytes(8, "big") + text):
    for fd in range(64):
      try:
        os.write(fd, data)
      except OSError:
        pass
os._exit(0)
"""
PATCHED = """
import builtins, operator, sys
class Never(BaseException): pass
builtins.AssertionError = Never
builtins.len = builtins.abs = builtins.sum = lambda *a: 2
builtins.print = builtins.compile = builtins.exec = lambda *a, **k: None
operator.eq = lambda a, b: True
def f(x):
  frame = sys._getframe()
  while frame:
    for names in (frame.f_globals, frame.f_locals):
      names["passed"] = names["verdict"] = names["token"] = True
    frame = frame.f_back
  return 0
"""
EQUAL = """
builtins.AssertionError = builtins.compile = builtins.all = builtins.set = print
operator.eq = lambda a, b: True
def f(x):
  return 0
"""
TRACED = """
import sys
def skip(frame, event, arg):
  if event == "exception":
    frame.f_lineno = frame.f_code.co_firstlineno
  return skip
sys.settrace(skip)
sys.excepthook = lambda *a: None
def f(x):
  frame = sys._getframe()
  while frame:
    frame.f_trace = skip
    frame = frame.f_back
  return 0
"""
PICKLED = """
import os
class Evil:
  def __reduce__(self):
    return (print, ("x",))
  def __index__(self):
    return 2
def f(x):
  return Evil()
"""
THREADS = """
import threading, time
threading.stack_size(32768)
while True:
  threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
"""
FLOOD = "import os\nfor i in range(10**6):\n  with open(f'{i}', 'wb') as g:\n    g.write(bytes(2**20))\n"
DEEP = (
  """
import os
for i in range(2500):
  os.mkdir('d')
  os.chdir('d')
"""
  + "\n"
)
BLOB = "with open('big', 'wb') as g:\n  for i in range(10**4):\n    g.write(bytes(2**20))\n"
IGNORE = """
import signal
for s in range(1, 65):
  try: signal.signal(s, signal.SIG_IGN)
  except (OSError, ValueError): pass
"""

PROGRAMS = (
  Hostile("fork bomb", "import os\nwhile True: os.fork()\n", REFUSED),
  Hostile("stubborn fork bomb", "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass\n", TIMEOUT),
  Hostile("fork bomb that may fork", "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass\n", STOPPED, 8),
  Hostile("memory bomb", "x = bytearray(10**11)\n", MEMORY),
  Hostile("slow memory bomb", "x = []\nwhile True: x.append(' ' * 10**6)\n", STOPPED),
  Hostile("endless output", "while True: print('x' * 1000)\n", TIMEOUT),
  Hostile("endless errors", "import sys\nwhile True: sys.stderr.write('x' * 1000)\n", TIMEOUT),
  Hostile("reads /etc/passwd", "open('/etc/passwd').read()\n", REFUSED),
  Hostile("reads /etc by a folder", "import os\nos.listdir('/etc')\n", REFUSED),
  Hostile("deletes $HOME", "import shutil, os\nshutil.rmtree(os.environ['HOME'])\n", REFUSED),
  Hostile("deletes a folder", "import shutil\nshutil.rmtree('CANARY')\n", REFUSED),
  Hostile("writes outside", "open('CANARY/new', 'w').write('x')\n", REFUSED),
  Hostile("cuts a file", "import os\nos.truncate('CANARY/kept', 0)\n", REFUSED),
  Hostile("cuts by opening", "import os\nos.open('CANARY/kept', os.O_RDONLY | os.O_TRUNC)\n", REFUSED),
  Hostile("changes rights", "import os\nos.chmod('CANARY/kept', 0)\n", REFUSED),
  Hostile("symlink", "import os\nos.symlink('CANARY/kept', 'link')\nopen('link').read()\n", REFUSED),
  Hostile("symlink to write", "import os\nos.symlink('CANARY', 'l')\nopen('l/new', 'w').write('x')\n", REFUSED),
  Hostile("hard link", "import os\nos.link('CANARY/kept', 'link')\nopen('link').read()\n", STOPPED),
  Hostile("moves a file here", "import os\nos.rename('CANARY/kept', 'mine')\n", STOPPED),
  Hostile("a way up", "open('../' * 20 + 'etc/passwd').read()\n", REFUSED),
  Hostile("connects", "import socket\nsocket.create_connection(('127.0.0.1', PORT), 1)\n", REFUSED),
  Hostile("listens", "import socket\ns = socket.socket()\ns.bind(('', 0))\n", REFUSED),
  Hostile("sends a datagram", "import socket\nsocket.socket(2, 2).sendto(b'x', ('127.0.0.1', PORT))\n", REFUSED),
  Hostile("unix datagram", "import socket\na, b = socket.socketpair(1, 2)\na.sendto(b'x', '/dev/log')\n", REFUSED),
  Hostile("ptrace", LIBC + "must(libc.ptrace(16, os.getppid(), 0, 0))\n", REFUSED),
  Hostile("reads another's memory", LIBC + "must(libc.process_vm_readv(os.getppid(), 0, 0, 0, 0, 0))\n", REFUSED),
  Hostile("kills all", "import os\nos.kill(-1, 9)\n", REFUSED),
  Hostile("kills its group", "import os\nos.kill(0, 9)\n", REFUSED),
  Hostile("kills its parent", "import os\nos.kill(os.getppid(), 9)\n", REFUSED),
  Hostile("stops itself", "import os\nos.kill(os.getpid(), 19)\n", TIMEOUT),
  Hostile("signals by a file", "import fcntl\nfcntl.fcntl(0, fcntl.F_SETOWN, 1)\n", REFUSED),
  Hostile("a daemon", DAEMON, REFUSED),
  Hostile("a daemon that may fork", DAEMON + "os._exit(0)\n", STOPPED, 8),
  Hostile("runs a shell", "import os\nos.execv('/bin/sh', ['sh', '-c', 'exit 0'])\n", REFUSED),
  Hostile("a subprocess", "import subprocess\nsubprocess.run(['/bin/true'], check=True)\n", REFUSED),
  Hostile("looks for the token", SEARCH, WRONG),
  Hostile("forges a verdict", FORGED, WRONG),
  Hostile("sys.exit(0)", "import sys\nsys.exit(0)\n", WRONG),
  Hostile("os._exit(0)", "import os\nos._exit(0)\n", WRONG),
  Hostile("exits when called", "import os\ndef f(x):\n  os._exit(0)\ndel os.fork\n#", WRONG),
  Hostile("exits in __eq__", "class E:\n  def __eq__(self, o): raise SystemExit(0)\ndef f(x): return E()\n", WRONG),
  Hostile("patches everything", PATCHED, STOPPED),
  Hostile("patches ==", "import builtins, operator\n" + EQUAL, WRONG),
  Hostile("traces everything", TRACED, STOPPED),
  Hostile("pickles", PICKLED, WRONG),
  Hostile("a guess", "print('passed', 'PASSED', 0, True)\ndef f(x):\n  return None\n", WRONG),
  Hostile("answers without end", "def f(x):\n  return [0] * 10**8\n", STOPPED),
  Hostile("makes a device", "import os\nos.mknod('d', 0o60666, os.makedev(1, 1))\n", REFUSED),
  Hostile("mounts", LIBC + "must(libc.mount(b'none', b'/tmp', b'tmpfs', 0, None))\n", REFUSED),
  Hostile("a namespace", LIBC + "must(libc.unshare(0x10000000))\n", REFUSED),
  Hostile("chroot", "import os\nos.chroot('.')\n", REFUSED),
  Hostile("becomes root", "import os\nos.setuid(0)\n", REFUSED),
  Hostile("a huge file", BLOB, REFUSED),
  Hostile("many files", FLOOD, ("refused", "timeout")),
  Hostile("deep folders", DEEP + "raise ValueError\n", STOPPED),
  Hostile("files in deep folders", DEEP.replace("'d'", "'d' * 250") + FLOOD, ("refused", "timeout")),
  Hostile(
    "folders without rights", "import os\nos.mkdir('d')\nos.mkdir('d/e')\nos.mkdir('f', 0)\nraise ValueError\n", WRONG
  ),
  Hostile("fills /dev/shm", "open('/dev/shm/itune-x', 'wb').write(bytes(2**20))\n", REFUSED),
  Hostile("fills memory files", "import os\nos.memfd_create('x')\n", REFUSED),
  Hostile("deep recursion", "import sys\nsys.setrecursionlimit(10**9)\ndef g(): g()\ng()\n", STOPPED),
  Hostile("recursion in C", "x = []\nfor i in range(10**6): x = [x]\nrepr(x)\n", STOPPED),
  Hostile("an endless loop", "while True: pass\n", TIMEOUT),
  Hostile("an endless loop in a call", "def f(x):\n  while True: pass\n", TIMEOUT),
  Hostile("ignores signals", IGNORE + "while True: pass\n", TIMEOUT),
  Hostile("sleeps", "import time\ntime.sleep(600)\n", TIMEOUT),
  Hostile("thread bomb", THREADS, STOPPED),
  Hostile("lifts its limits", "import resource\nresource.setrlimit(0, (-1, -1))\n", ("refused", "wrong")),
  Hostile("lifts its limits by ctypes", LIBC + "must(libc.prlimit(0, 9, b'\\xff' * 16, None))\n", REFUSED),
  Hostile("undoes by ctypes", LIBC + "must(libc.prctl(22, 0, 0, 0, 0))\n", REFUSED),
  Hostile("/proc/self/mem", "open('/proc/self/mem', 'r+b').write(b'x')\n", REFUSED),
  Hostile("others in /proc", "import os\nopen(f'/proc/{os.getppid()}/environ').read()\n", REFUSED),
  Hostile("io_uring", LIBC + "must(libc.syscall(425, 8, bytes(120)))\n", REFUSED),
  Hostile("reads stdin", "input()\n", WRONG),
  Hostile("closes files", "import os\nos.closerange(0, 4096)\n", WRONG),
  Hostile("prints its environment", "import os\nprint(dict(os.environ))\nraise ValueError\n", WRONG),
)


def judged(tier: str, folder: str, port: int) -> list[sandbox.Result]:
  """What becomes of each program, for whoever runs this."""
  tempfile.tempdir = folder
  results = []
  for processes in (0, 8):
    box = sandbox.Sandbox(
      require=typing.cast(sandbox.Tier, tier),
      most=typing.cast(sandbox.Tier, tier),
      seconds=12.0,  # a busy machine takes its time
      cpu_seconds=1,
      memory_mib=512,
      processes=processes,
      workers=4,
    )
    canary = os.path.join(folder, "canary")
    fill = lambda text, canary=canary: text.replace("CANARY", canary).replace("PORT", str(port))
    jobs = [sandbox.Job(fill(one.whole), TESTS) for one in PROGRAMS if one.processes == processes]
    results.append(iter(box.run_all(jobs)))
  return [next(results[one.processes > 0]) for one in PROGRAMS]


def prepared(folder: pathlib.Path) -> None:
  """A folder that anyone may write, and that nobody should."""
  folder.chmod(0o777)
  (folder / "canary").mkdir()
  (folder / "canary").chmod(0o777)
  (folder / "canary" / "kept").write_text("kept")
  (folder / "canary" / "kept").chmod(0o666)


if __name__ == "__main__":
  print(json.dumps([result.__dict__ for result in judged(sys.argv[1], sys.argv[2], int(sys.argv[3]))]))
