"""Who a program is, and how much of the machine it may have: user, capabilities, namespaces, resource limits."""

import ctypes
import errno
import os
import resource
import struct

_NEW_USER, _NEW_PROCESSES, _NEW_IPC = 0x10000000, 0x20000000, 0x08000000
_PR_DEATH_SIGNAL, _PR_DUMPABLE, _PR_KEEP_CAPABILITIES, _PR_NO_NEW_PRIVILEGES, _PR_SUBREAPER = 1, 4, 8, 38, 36
_CAPABILITIES_VERSION = 0x20080522
_MAY_READ_ALL = 1 << 2  # CAP_DAC_READ_SEARCH
_OWN_USERS, _NOBODY = 0x60000000, 65534
_KILL = 9
_FILES = 64


def no_new_privileges() -> None:
  """Nothing that is run later has more rights than this process: no setuid program helps."""
  _prctl(_PR_NO_NEW_PRIVILEGES, 1)


def adopt_orphans() -> None:
  """Processes below this one whose parents end become its children, wherever they put themselves (`setsid`)."""
  _prctl(_PR_SUBREAPER, 1)


def end_with_parent() -> None:
  """This process is killed when its parent ends."""
  _prctl(_PR_DEATH_SIGNAL, _KILL)


def not_readable() -> None:
  """No process of the same user may look into this one's memory, by ptrace or by /proc."""
  _prctl(_PR_DUMPABLE, 0)


def enter_namespaces() -> None:
  """Gives the processes that this one makes from now on numbers of their own: they see and signal nothing outside, and
  all of them end with the first. Without root it takes a namespace of users, with one user: the one who is there.

  Raises OSError where the machine does not allow it.
  """
  user, group, is_root = os.geteuid(), os.getegid(), os.geteuid() == 0
  libc = ctypes.CDLL(None, use_errno=True)
  if libc.unshare(ctypes.c_int(_NEW_PROCESSES | _NEW_IPC | (0 if is_root else _NEW_USER))):
    raise OSError(ctypes.get_errno(), f"namespaces: {os.strerror(ctypes.get_errno())}")
  if not is_root:
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
      with open(f"/proc/self/{name}", "w", encoding="ascii") as f:
        f.write(text)


def own_user(of: int) -> int:
  """A user that nobody else is, for the launcher of a process number, where this process is root; -1 where it is not.

  Limits of processes count by user. nobody, whom others may be too, where this machine (a container) maps few users.
  """
  if os.geteuid() != 0:
    return -1
  with open("/proc/self/uid_map", encoding="ascii") as f:
    spans = [tuple(map(int, line.split())) for line in f]
  wanted = _OWN_USERS + of
  return wanted if any(start <= wanted < start + count for start, _, count in spans) else _NOBODY


def become(user: int, reads: str, bounded: bool) -> None:
  """Gives root up for a user, and all capabilities with it. A user of -1 is who this process is already.

  Where the folder `reads` is open to root alone, the capability to read is kept if something else, Landlock, is there
  to bound what is read (`bounded`); else raises OSError.
  """
  if user >= 0:
    os.setgroups([])
    os.setresgid(user, user, user)
    _prctl(_PR_KEEP_CAPABILITIES, 1)
    os.setresuid(user, user, user)
  closed = user >= 0 and not os.access(reads, os.R_OK | os.X_OK)
  if closed and not bounded:
    raise OSError(errno.EACCES, f"{reads} is open to root alone, and a program may not run as root")
  _keep_capabilities(_MAY_READ_ALL if closed else 0)


def limit(*, cpu_seconds: int, memory: int, file_size: int, tasks: int) -> None:
  """Sets the limits of resources, which only root could raise again."""
  limits = {
    resource.RLIMIT_AS: (memory, memory),
    resource.RLIMIT_CPU: (cpu_seconds, cpu_seconds + 1),
    resource.RLIMIT_FSIZE: (file_size, file_size),
    resource.RLIMIT_NPROC: (tasks, tasks),
    resource.RLIMIT_NOFILE: (_FILES, _FILES),
    resource.RLIMIT_CORE: (0, 0),
    resource.RLIMIT_MEMLOCK: (0, 0),
    resource.RLIMIT_MSGQUEUE: (0, 0),
  }
  for what, (soft, hard) in limits.items():
    most = resource.getrlimit(what)[1]
    hard = hard if most == resource.RLIM_INFINITY else min(hard, most)
    resource.setrlimit(what, (min(soft, hard), hard))


def tasks_of(user: int) -> int:
  """How many threads the processes of a user have."""
  count = 0
  for name in filter(str.isdigit, os.listdir("/proc")):
    try:
      if os.stat(f"/proc/{name}").st_uid == user:
        count += len(os.listdir(f"/proc/{name}/task"))
    except OSError:  # it ended meanwhile
      continue
  return count


def _keep_capabilities(kept: int) -> None:
  header = struct.pack("Ii", _CAPABILITIES_VERSION, 0)
  libc = ctypes.CDLL(None, use_errno=True)
  if libc.capset(header, struct.pack("6I", kept, kept, 0, 0, 0, 0)):
    raise OSError(ctypes.get_errno(), f"capabilities: {os.strerror(ctypes.get_errno())}")


def _prctl(option: int, value: int) -> None:
  libc, zero = ctypes.CDLL(None, use_errno=True), ctypes.c_ulong(0)
  if libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero):
    raise OSError(ctypes.get_errno(), f"prctl {option}: {os.strerror(ctypes.get_errno())}")
