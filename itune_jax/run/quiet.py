"""What other libraries would say, and which devices they would look for, before they are imported."""

from collections.abc import Iterator
import glob
import importlib.util
import logging
import os
import sys
import warnings

_SILENT = {
  "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",  # that PyTorch was not found
  "TRANSFORMERS_VERBOSITY": "error",
  "TF_CPP_MIN_LOG_LEVEL": "3",  # XLA and TensorFlow: processors, cuInit, oneDNN
  "GRPC_VERBOSITY": "ERROR",
  "ABSL_MIN_LOG_LEVEL": "3",
  "GLOG_minloglevel": "3",
}
_GPUS = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg")
_CUDA = ("jax_cuda12_plugin", "jax_cuda13_plugin")  # what JAX runs on such a device by
_GOOGLE = "0x1ae0"  # the maker of TPUs, as PCI names it


def settle(own: bool = False) -> None:
  """Sets what is not set yet, first thing in a process: values of the user's own stay.

  Without JAX_PLATFORMS, JAX asks every library of devices that is installed, which on a machine without such devices
  costs seconds and prints what it misses: it is told what is there. own: whether the process is the command's, so that
  warnings of libraries may be turned off in it too.
  """
  for name, value in _SILENT.items():
    os.environ.setdefault(name, value)
  platforms = platforms_here()
  if "jax" not in sys.modules and platforms:
    os.environ.setdefault("JAX_PLATFORMS", platforms)
  for name in ("absl", "jax", "orbax", "transformers", "tensorflow", "etils", "grain"):
    logging.getLogger(name).setLevel(logging.ERROR)
  if own and not sys.warnoptions:
    warnings.simplefilter("ignore")


def platforms_here() -> str:
  """What JAX_PLATFORMS is to be on this machine: "cpu", or empty where there may be another device, which JAX finds."""
  gpu = any(map(os.path.exists, _GPUS)) and any(map(importlib.util.find_spec, _CUDA))
  return "" if gpu or _tpu() or os.path.exists("/dev/kfd") else "cpu"


def _tpu() -> bool:
  """Whether a TPU is on this machine's bus, or its environment says so."""
  return any(name in os.environ for name in ("TPU_NAME", "TPU_WORKER_ID", "TPU_ACCELERATOR_TYPE")) or any(
    maker == _GOOGLE for maker in _makers()
  )


def _makers() -> Iterator[str]:
  for path in glob.glob("/sys/bus/pci/devices/*/vendor"):
    try:
      with open(path, encoding="ascii") as f:
        maker = f.read().strip()
      with open(os.path.join(os.path.dirname(path), "class"), encoding="ascii") as f:
        kind = f.read().strip()
    except OSError:
      continue
    if not kind.startswith("0x02"):  # a network card of the same maker (gVNIC) is no TPU
      yield maker
