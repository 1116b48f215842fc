"""Foreign functions: C++ beside the code, built on first use by a compiler of the machine and kept."""

import ctypes
import functools
import hashlib
from importlib import metadata
import os
import pathlib
import platform
import shutil
import subprocess
import tempfile

import jax

from itune_jax.core import files
from itune_jax.core import log

_FLAGS = ("-std=c++17", "-O3", "-funroll-loops", "-fno-math-errno", "-shared", "-fPIC")
_TUNED = (("-march=native",), ())  # for this very processor, or for any of its kind
_COMPILERS = ("c++", "g++", "clang++")
_kept_in = os.path.join(os.path.expanduser("~"), ".cache", "itune", "native")


def keep_in(folder: str) -> None:
  """Says where compiled files are kept from now on."""
  global _kept_in
  _kept_in = folder


@functools.cache
def handlers(source: str, *names: str) -> tuple[str, ...] | None:
  """Registers functions of a C++ file as targets of `jax.ffi.ffi_call` on CPU.

  Args:
    source: the file; it may include XLA's FFI headers. names: of its handlers.

  Returns:
    What each is called by, or None where no compiler of this machine can build the file, or what was built cannot be
    kept or loaded: one line says why.
  """
  try:
    built = _built(pathlib.Path(source), _kept_in)
    library = ctypes.CDLL(built)
  except OSError as e:
    log.info(f"{os.path.basename(source)}: a slower form is used ({e})")
    return None
  targets = []
  for name in names:
    # The name holds what was compiled, so that no kept program meets another version of it.
    targets.append(f"itune_{name}_{pathlib.Path(built).stem}")
    jax.ffi.register_ffi_target(targets[-1], jax.ffi.pycapsule(getattr(library, name)), platform="cpu")
  return tuple(targets)


def compiler() -> str:
  """The C++ compiler of this machine, or ""."""
  return next((found for found in map(shutil.which, _COMPILERS) if found), "")


def _built(source: pathlib.Path, folder: str) -> str:
  """The path of the compiled file, made if need be: whole or not at all, once for all processes of a machine. Raises
  OSError where it cannot be."""
  compilers = [found for found in map(shutil.which, _COMPILERS) if found]
  key = (source.read_bytes(), metadata.version("jaxlib"), _FLAGS, _TUNED, compilers, platform.libc_ver(), _processor())
  path = os.path.join(folder, hashlib.sha256(repr(key).encode()).hexdigest()[:16] + ".so")
  if os.path.exists(path):  # it is whole: it came by a rename
    return path
  os.makedirs(folder, exist_ok=True)
  with files.locked(path), tempfile.TemporaryDirectory(dir=folder) as aside:
    if os.path.exists(path):
      return path
    made = os.path.join(aside, "made.so")
    _compile(compilers, str(source), made)
    if not os.path.exists(path):  # another machine that shares the folder may have been first, and use it
      os.replace(made, path)
  return path


def _compile(compilers: list[str], source: str, made: str) -> None:
  """Builds by the first compiler that can. Raises OSError with the last line that one had to say."""
  said = f"no C++ compiler is here: {', '.join(_COMPILERS)}"
  for compiler in compilers:
    for tuned in _TUNED:
      command = [compiler, *_FLAGS, *tuned, f"-isystem{jax.ffi.include_dir()}", source, "-o", made]
      try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
      except OSError as e:
        said = f"{compiler}: {e.strerror}"
        continue
      if not done.returncode:
        return
      said = f"{compiler}: {(done.stderr.strip().splitlines() or ['it failed'])[-1]}"
  raise OSError(said)


def _processor() -> str:
  """What instructions there are: homes are shared by machines that differ."""
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
  except OSError:
    lines = []
  return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
