"""The devices of this machine in disjoint groups, for several runs of a sweep at once.

A run is a process, and a chip belongs to one process at a time. So groups are what a process is told to see, by the
variables that each runtime reads at its start; a run makes its mesh of what it sees, as on a machine of that size.
"""

from collections.abc import Mapping
import json
import os
import re
import subprocess
import sys
from typing import NamedTuple

from itune_jax.core import errors

_WAIT_S = 180.0  # for a runtime to say what is there: on a slice of several hosts it waits for the others, for ever
_ASK = """
import json, jax
found = jax.local_devices()
chips = {str(getattr(one, "coords", one.id)) for one in found}
print(json.dumps([found[0].platform, found[0].client.platform_version, len(chips), jax.process_count()]))
"""
_FORCED = "--xla_force_host_platform_device_count"
_BOUNDS = {1: "1,1,1", 2: "1,2,1", 4: "2,2,1"}  # how chips that are numbered one after the other lie on a TPU host
_PORT = 8476  # of the first group's runtime; each has its own


class Devices(NamedTuple):
  """What a machine has: "cpu", "cuda" or "tpu", and how many devices (of a TPU: chips)."""

  platform: str
  count: int


class Group(NamedTuple):
  """Some devices by their numbers, and what a process finds in its environment that is to see them alone."""

  devices: tuple[int, ...]
  environment: Mapping[str, str]

  def __str__(self) -> str:
    return f"devices {', '.join(map(str, self.devices))}"


def here() -> Devices:
  """The devices of this machine. Another process looks, since who looks holds them.

  Raises InputError where they do not answer, are of a kind that is not known here, or are those of several hosts.
  """
  try:
    asked = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, timeout=_WAIT_S)
  except subprocess.TimeoutExpired:
    raise errors.InputError(
      f"--sub_meshes: the devices of this machine did not answer in {_WAIT_S:.0f} s. It shares out those of one host; "
      "on a slice of several hosts give each host its --part"
    ) from None
  try:
    platform, version, count, processes = json.loads(asked.stdout.strip().splitlines()[-1])
  except (ValueError, IndexError):
    said = (asked.stderr.strip().splitlines() or ["nothing"])[-1]
    raise errors.InputError(f"--sub_meshes: the devices of this machine were not found: {said[:200]}") from None
  if processes > 1:
    raise errors.InputError("--sub_meshes shares out the devices of one host: give each host of a slice its --part")
  platform = "cuda" if platform == "gpu" and "rocm" not in version.lower() else platform
  if platform not in ("cpu", "cuda", "tpu"):
    raise errors.InputError(f"--sub_meshes knows CPUs, GPUs of NVIDIA and TPUs, and not {platform} ({version[:60]})")
  return Devices(platform, count)


def groups(count: int, devices: Devices, environment: Mapping[str, str] = os.environ) -> list[Group]:
  """So many groups of neighbours, of one size. Raises InputError where they are not to be had."""
  if devices.count % count:
    hint = f"; {_FORCED}=N in XLA_FLAGS makes N of a CPU" if devices.platform == "cpu" else ""
    raise errors.InputError(
      f"--sub_meshes={count}: {devices.count} {devices.platform} device(s) do not divide into {count} groups{hint}"
    )
  size = devices.count // count
  numbers = [tuple(range(k * size, (k + 1) * size)) for k in range(count)]
  if devices.platform == "cpu":
    others = re.sub(rf"{_FORCED}=\d+", "", environment.get("XLA_FLAGS", "")).split()
    told = {"XLA_FLAGS": " ".join([*others, f"{_FORCED}={size}"])}
    return [Group(some, told) for some in numbers]
  if devices.platform == "cuda":
    seen = [one for one in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if one.strip()]
    seen = seen or [str(i) for i in range(devices.count)]
    return [Group(some, {"CUDA_VISIBLE_DEVICES": ",".join(seen[i] for i in some)}) for some in numbers]
  if count > 1 and size not in _BOUNDS:
    known = ", ".join(str(devices.count // one) for one in _BOUNDS if devices.count % one == 0)
    raise errors.InputError(f"--sub_meshes={count}: groups of {size} chips are not known to TPU hosts; ask for {known}")
  return [Group(some, _tpu(some, k) if count > 1 else {}) for k, some in enumerate(numbers)]


def _tpu(chips: tuple[int, ...], k: int) -> dict[str, str]:
  """What libtpu reads: these chips are all there is, and its ports are its own."""
  return {
    "TPU_VISIBLE_CHIPS": ",".join(map(str, chips)),
    "TPU_CHIPS_PER_PROCESS_BOUNDS": _BOUNDS[len(chips)],
    "TPU_PROCESS_BOUNDS": "1,1,1",
    "TPU_PROCESS_ADDRESSES": f"localhost:{_PORT + k}",
    "TPU_PROCESS_PORT": str(_PORT + k),
    "CLOUD_TPU_TASK_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
  }
