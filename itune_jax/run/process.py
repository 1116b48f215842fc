"""The start of a process: its cluster, its JAX configuration, its compilation cache."""

from collections.abc import Iterator
import contextlib
import os
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from itune_jax.core import digests
from itune_jax.core import foreign
from itune_jax.core import numerics
from itune_jax.parallel import hosts
from itune_jax.run import specs

_settings: Any = jax.config  # whose attributes no type checker knows


def start(cluster: str = "") -> None:
  """Joins the cluster, if there is one, and sets up JAX: first thing in a command.

  Raises InputError when the cluster cannot be read or joined (`hosts.connect`).
  """
  if cluster:
    hosts.connect(cluster)
  configure_jax()


def configure_jax() -> None:
  """The persistent compilation cache (where JAX_COMPILATION_CACHE_DIR says, if set), whatever the compile time.

  Not on several CPU devices: a program that XLA reads back from it there has lost the order of its collectives, and its
  devices wait for each other for ever (jax 0.10.2; the same program, compiled, never does).
  """
  foreign.keep_in(os.path.join(specs.cache_dir(), "native"))
  digests.keep_in(os.path.join(specs.cache_dir(), "digests"))
  if several_cpu_devices():
    jax.config.update("jax_enable_compilation_cache", False)
    return
  if not _settings.jax_compilation_cache_dir:
    jax.config.update("jax_compilation_cache_dir", os.path.join(specs.cache_dir(), "xla"))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def multiply_as(precision: numerics.Precision) -> None:
  """float32 is multiplied as float32 where it is what computes, not by the shorter operands of matrix units. It holds
  for the process: of sessions in float32 the last one decides."""
  if precision.compute == "float32":
    jax.config.update("jax_default_matmul_precision", precision.matmul)


def several_cpu_devices() -> bool:
  """Whether programs may span CPU devices, of this process or several."""
  return jax.default_backend() == "cpu" and jax.device_count() > 1


@contextlib.contextmanager
def uncached() -> Iterator[None]:
  """Compiles without the persistent cache, whose entries for chips that are not there cannot be read."""
  before = _settings.jax_enable_compilation_cache
  jax.config.update("jax_enable_compilation_cache", False)
  compilation_cache.reset_cache()
  try:
    yield
  finally:
    jax.config.update("jax_enable_compilation_cache", before)
    compilation_cache.reset_cache()
