"""The start of a process."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("devices", [1, 4])
def test_programs_of_several_cpu_devices_are_not_read_from_a_cache(devices, tmp_path):
  """They come back from it without the order of their collectives, and hang."""
  code = (
    "import jax; from itune_jax.run import process; process.start(); print(jax.config.jax_enable_compilation_cache)"
  )
  flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", "JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
  done = subprocess.run(
    [sys.executable, "-c", code], env={**os.environ, **flags}, capture_output=True, text=True, check=True
  )
  assert done.stdout.strip() == str(devices == 1), done.stderr[-500:]
