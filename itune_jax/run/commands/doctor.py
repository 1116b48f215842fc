"""`itune doctor`: versions, devices, caches, disk and compiler of this machine, and what is missing for what."""

from collections.abc import Iterator
import importlib.metadata
import importlib.util
import os
import platform
import shutil
from typing import Any

import jax
import rich.table

import itune_jax
from itune_jax.core import foreign
from itune_jax.grading.sandbox import sandbox
from itune_jax.run import command
from itune_jax.run import console
from itune_jax.run import recipes
from itune_jax.run import specs

_PACKAGES = (
  "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "array-record", "gin-config", "numpy", "transformers",
  "tokenizers", "safetensors", "gguf", "huggingface-hub",
)  # fmt: skip
# What a module is for, and how it is installed.
_EXTRAS = (
  ("seqio", "sources as SeqIO tasks", 'pip install "itune_jax[prep]"'),
  ("lm_eval", "benchmarks of lm-evaluation-harness", 'pip install "itune_jax[eval]"'),
  ("gcsfs", "run directories in Google Cloud Storage", 'pip install "itune_jax[gcs]"'),
  ("libtpu", "itune plan for TPU slices, and TPUs", 'pip install "itune_jax[tpu]"'),
  ("wandb", "WANDB_PROJECT", "pip install wandb"),
)
_OF_TESTS = "xla-tests-"  # what the project's own tests compile
_LOW_DISK = 5 * 2**30  # a small model, its data, and a few checkpoints


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command: prints a table and what is missing; returns all of it."""
  del args
  found = {**_versions(), **_machine(), **_caches()}
  missing = list(_missing(found))
  table = rich.table.Table("what", title=f"itune_jax {itune_jax.__version__}")
  table.add_column("here", overflow="fold")  # a folder whose end is cut off can be opened by nobody
  for name, value in found.items():
    table.add_row(name, str(value))
  console.show(table, *(f"missing: {line}" for line in missing))
  return {**found, "missing": missing}


def _versions() -> dict[str, Any]:
  return {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}


def _version(name: str) -> str:
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return "missing"


def _machine() -> dict[str, Any]:
  devices: dict[str, int] = {}
  for device in jax.devices():
    devices[device.device_kind] = devices.get(device.device_kind, 0) + 1
  return {
    "devices": ", ".join(f"{count} × {kind}" for kind, count in devices.items()),
    "cores": os.cpu_count(),
    "compiler": foreign.compiler() or "none",
    "sandbox": sandbox.tier(),
    "recipes": recipes.root(),
  }


def _caches() -> dict[str, Any]:
  root = specs.cache_dir()
  there = sorted(os.listdir(root)) if os.path.isdir(root) else []
  names = [name for name in there if not name.startswith(_OF_TESTS)]
  sizes = {f"cache {name}": _gib(_size(os.path.join(root, name))) for name in names}
  here = root
  while not os.path.exists(here):
    here = os.path.dirname(here)
  return {"cache": root, **sizes, "free disk": _gib(shutil.disk_usage(here).free)}


def _size(folder: str) -> int:
  return sum(
    os.path.getsize(path)
    for at, _, files in os.walk(folder)
    for name in files
    if os.path.isfile(path := os.path.join(at, name))
  )


def _gib(count: float) -> str:
  return f"{count / 2**30:.2f} GiB"


def _missing(found: dict[str, Any]) -> Iterator[str]:
  for name in _PACKAGES:
    if found[name] == "missing":
      yield f"{name}: itune_jax cannot work without it; pip install -U itune_jax"
  if found["compiler"] == "none":
    yield "a C++ compiler: attention on CPU takes three times as long without one; install g++ or clang++"
  for why in sandbox.offers().why:
    yield f"the highest tier of the sandbox (docs/guides/sandbox.md): {why}"
  for module, what, how in _EXTRAS:
    if importlib.util.find_spec(module) is None:
      yield f"{module}, for {what}: {how}"
  if os.path.exists("/dev/nvidiactl") and jax.default_backend() == "cpu":
    yield 'JAX for the GPU that is here: pip install "itune_jax[gpu]"'
  if float(found["free disk"].split()[0]) * 2**30 < _LOW_DISK:
    yield f"disk: {found['free disk']} are free"
