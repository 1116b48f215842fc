"""Eight fake devices, strict ranks, and the tiny model that most tests share."""

import collections
import gc
import os

# Level 0: programs here are tiny, and compiling them is what takes the time. Eight devices on two busy cores may take
# longer to meet than XLA waits by itself, before it aborts the process.
os.environ.setdefault(
  "XLA_FLAGS",
  "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 "
  "--xla_cpu_collective_call_terminate_timeout_seconds=600 --xla_cpu_collective_timeout_seconds=600",
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")  # `scripts/test.sh gpu` says otherwise
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")

if worker := os.environ.get("PYTEST_XDIST_WORKER"):
  # Workers that share a folder could read an entry that the other is writing.
  xla = os.path.join(os.path.expanduser("~"), ".cache", "itune", f"xla-tests-{worker}")
  os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", xla)

import jax  # noqa: E402
from jax._src import compilation_cache  # noqa: E402
import pytest  # noqa: E402

from itune_jax.data.render import tokenizer as tokenizer_lib  # noqa: E402
from itune_jax.run import process  # noqa: E402
from itune_jax.run import specs  # noqa: E402
from tests import tiny  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")

# Programs of one device only come back from the cache (`process.configure_jax` says why); commands, which tests run on
# one of the eight devices, may then use it.
process.several_cpu_devices = lambda: False
_read = compilation_cache.get_executable_and_time


def _read_of_one_device(key, options, backend, devices, *more):
  """Nor do programs for chips that are not here: such an entry can be written, and never be read."""
  unreadable = len(devices) > 1 or backend is not jax.devices()[0].client
  return (None, None) if unreadable else _read(key, options, backend, devices, *more)


compilation_cache.get_executable_and_time = _read_of_one_device


@pytest.hookimpl(tryfirst=True)  # before `-m` looks at markers
def pytest_collection_modifyitems(config, items):
  """`heavy`, `parity` and `full` run by name only: the others are skipped, with a reason.

  Of a test with many rows, `by_default(2)` leaves the first two, and `by_default("lora")` those so called; the others
  are heavy. With `heavy=5` only the first five of the others are, and the rest is `full`. A full test of a heavy file
  is full alone.
  """
  chosen, seen, others = config.getoption("-m") or "", collections.Counter(), collections.Counter()
  for item in items:
    if (mark := item.get_closest_marker("by_default")) is None or item.get_closest_marker("full"):
      continue
    function = item.nodeid.split("[")[0]
    seen[function] += 1
    row = item.nodeid.removeprefix(function)
    if not any(which in row if isinstance(which, str) else seen[function] <= which for which in mark.args):
      others[function] += 1
      item.add_marker("heavy" if others[function] <= mark.kwargs.get("heavy", others[function]) else "full")
  for item in items:
    for weight in ("heavy", "parity", "full"):
      lighter = weight == "heavy" and item.get_closest_marker("full")  # of a file whose other tests are heavy
      if item.get_closest_marker(weight) and not lighter and weight not in chosen:
        item.add_marker(pytest.mark.skip(reason=f"{weight} tests run by scripts/test.sh {weight}"))


@pytest.fixture(autouse=True, scope="module")
def programs():
  """Programs go with the file that compiled them: a worker would grow to 6 GB, and to the 65,530 pieces of memory that
  a process may map (a dozen for every program)."""
  yield
  jax.clear_caches()
  gc.collect()


@pytest.fixture(scope="session")
def mesh1():
  """One device."""
  return tiny.mesh(1)


@pytest.fixture(scope="session")
def smollm2_path():
  """The default base model, fetched once into the user's cache."""
  return specs.resolve("smollm2-135m-instruct")


@pytest.fixture(scope="session")
def smollm2_tokenizer(smollm2_path):
  """Its tokenizer."""
  return tokenizer_lib.load(smollm2_path)


@pytest.fixture(scope="session")
def itune_data():
  """Real data, by the environment variable ITUNE_DATA."""
  path = os.environ.get("ITUNE_DATA", "")
  if not os.path.isdir(path):
    pytest.skip("ITUNE_DATA names no folder: set it to a checkout of the shared data to run this test")
  return path
