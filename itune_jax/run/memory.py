"""How the C library hands out memory."""

import os
import sys

_VARIABLE, _HUGE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"


def in_huge_pages() -> None:
  """Starts this program anew with malloc asking the kernel for pages of 2 MB, unless its user has set GLIBC_TUNABLES.

  XLA on CPU takes gibibytes at every step and gives them back: the kernel has 400,000 pages of 4 KB to clear then.
  The C library reads this setting only as a process starts, so call it first of all. Other C libraries do not know it.
  """
  known = sys.platform.startswith("linux") and sys.executable and sys.orig_argv[1:]
  if _VARIABLE in os.environ or not known:
    return
  os.environ[_VARIABLE] = _HUGE
  sys.stdout.flush()
  sys.stderr.flush()
  os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
