"""Devices that are not there: slices of TPUs as their compiler describes them, and GPUs as so many fake CPUs."""

import contextlib
import functools
import importlib.metadata
import os
import re
from typing import Any

import jax
from jax.experimental import topologies

from itune_jax.core import jsontext
from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import log
from itune_jax.parallel.cost import chips


def is_gpu(topology: str) -> bool:
  """Whether a topology is written as h100:64."""
  return re.fullmatch(rf"({'|'.join(chips.GPUS)}):\d+", topology) is not None


def chips_of(topology: str, program: str = "train", slices: int = 1) -> tuple[chips.Chip, Any]:
  """What is known of the chips of a topology, and their devices, for one of the programs that `itune plan` compiles.

  Raises InputError when the compiler or the table of chips does not know it, or the program is not estimated there.
  """
  if not is_gpu(topology):
    return _slice(topology, slices)
  check.require(
    (program, slices) == ("train", 1),
    f"--topology={topology}: for GPUs only the training step is estimated, and --slices is TPUs'",
  )
  return _gpus(topology)


def devices_of(topology: str, slices: int = 1) -> Any:
  """Descriptions of the devices of a slice, for the compiler alone. Raises InputError when it does not know it."""
  # The compiler asks the cloud which machine this is unless told not to.
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
  os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # compiling holds no chip: others may compile too
  os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
  os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-16")
  settings: Any = jax.config  # whose attributes no type checker knows
  if not settings.jax_platforms:
    jax.config.update("jax_platforms", "cpu")  # nothing runs here, and looking for chips takes seconds
  _say_version()
  try:
    return topologies.get_topology_desc(topology, "tpu", num_slices=slices).devices
  except Exception as e:  # whatever the plugin raises
    reason = jsontext.said(e, 120)
    raise errors.InputError(
      f"--topology={topology}: the TPU compiler does not know it, or is not installed ({reason}); "
      "write it as v5e:4x4 (or h100:64), and install libtpu (pip install libtpu)"
    ) from None


# The compiler by which the figures of docs/performance.md and docs/pods.md were made.
LIBTPU = "0.0.42.1"


@functools.cache
def _say_version() -> None:
  """Says once where another compiler is installed: its programs take other times, and other memory."""
  with contextlib.suppress(importlib.metadata.PackageNotFoundError):
    if (found := importlib.metadata.version("libtpu")) != LIBTPU:
      log.info(
        f"libtpu {found} compiles here; the documented figures are those of {LIBTPU}, others may differ from them"
      )


def _slice(topology: str, slices: int) -> tuple[chips.Chip, Any]:
  devices = devices_of(topology, slices)
  chip = chips.CHIPS.get(devices[0].device_kind)
  if chip is None:
    raise errors.InputError(f"--topology={topology}: {devices[0].device_kind} is not among {', '.join(chips.CHIPS)}")
  return chip, devices


def _gpus(topology: str) -> tuple[chips.Chip, list[Any]]:
  """The GPU's figures and as many fake devices. Raises InputError when this process runs on fewer already."""
  name, count = topology.split(":")
  most = 65_536
  check.require(1 <= int(count) <= most, f"--topology={topology}: it is a number of GPUs, from 1 to {most:,}")
  with contextlib.suppress(RuntimeError):  # JAX runs already: on enough devices, or not
    jax.config.update("jax_num_cpu_devices", int(count))
  devices = jax.devices("cpu")
  if len(devices) < int(count):
    raise errors.InputError(
      f"--topology={topology}: JAX runs on {len(devices)} fake devices here; plan in a new process"
    )
  return chips.GPUS[name], devices[: int(count)]
