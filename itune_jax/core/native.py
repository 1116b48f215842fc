"""C++ beside the code, compiled on first use by the machine's own compiler and kept under ~/.cache/itune/native."""

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

_FLAGS = ("-std=c++17", "-O3", "-funroll-loops", "-fno-math-errno", "-shared", "-fPIC", "-w")
_COMPILERS = ("c++", "g++", "clang++")
FOLDER = os.path.join(os.path.expanduser("~"), ".cache", "itune", "native")


@functools.cache
def handlers(source: str, *names: str) -> tuple[str, ...] | None:
  """Registers functions of a C++ file as targets of `jax.ffi.ffi_call` on CPU.

  Args:
    source: the file; it may include XLA's FFI headers. names: of its handlers.

  Returns:
    What each is called by, or None where this machine has no compiler that can build the file.
  """
  built = _built(pathlib.Path(source), FOLDER)
  if built is None:
    return None
  library, targets = ctypes.CDLL(built), []
  for name in names:
    # The name holds what was compiled, so that no kept program meets another version of it.
    targets.append(f"itune_{name}_{pathlib.Path(built).stem}")
    jax.ffi.register_ffi_target(targets[-1], jax.ffi.pycapsule(getattr(library, name)), platform="cpu")
  return tuple(targets)


def _built(source: pathlib.Path, folder: str) -> str | None:
  """The path of the compiled file, made if need be: whole or not at all, once for all processes of a machine."""
  compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
  key = (source.read_text(), metadata.version("jaxlib"), _FLAGS, str(compiler), _processor())
  path = os.path.join(folder, hashlib.sha256(repr(key).encode()).hexdigest()[:16] + ".so")
  with files.locked(path):
    if os.path.exists(path):
      return path
    if compiler is None:
      log.info(f"{source.name}: no C++ compiler here ({', '.join(_COMPILERS)}), a slower form is used")
      return None
    try:
      os.makedirs(folder, exist_ok=True)
      with tempfile.TemporaryDirectory(dir=folder) as aside:
        made = os.path.join(aside, "made.so")
        error = _compile(compiler, str(source), made)
        if error:
          log.info(f"{source.name}: {compiler} cannot build it, a slower form is used ({error})")
          return None
        os.replace(made, path)
    except OSError as e:
      log.info(f"{source.name}: {folder} cannot be written, a slower form is used ({e.strerror or e})")
      return None
  return path


def _compile(compiler: str, source: str, made: str) -> str:
  """Builds for this very processor, or for any of its kind. Returns the last line that the compiler had to say."""
  error = ""
  for tuned in (["-march=native"], []):
    command = [compiler, *_FLAGS, *tuned, f"-I{jax.ffi.include_dir()}", source, "-o", made]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.returncode:
      return ""
    error = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
  return error


def _processor() -> str:
  """What instructions there are: homes are shared by machines that differ."""
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
  except OSError:
    lines = []
  return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
