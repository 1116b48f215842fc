"""A program starts anew in huge pages, once, with its arguments, and leaves a user's own setting alone."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
from itune_jax.run import memory
print("once")
memory.in_huge_pages()
print(os.environ["GLIBC_TUNABLES"], sys.argv[1:])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has the setting")
@pytest.mark.parametrize("own", ["", "glibc.malloc.hugetlb=0"])
def test_a_program_starts_anew_once_unless_its_user_has_chosen(own):
  env = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
  env |= {"GLIBC_TUNABLES": own} if own else {}
  done = subprocess.run([sys.executable, "-c", PROGRAM, "a b"], capture_output=True, text=True, check=True, env=env)
  starts, said = (["once"], own) if own else (["once", "once"], "glibc.malloc.hugetlb=1")
  assert done.stdout.splitlines() == [*starts, f"{said} ['a b']"]
