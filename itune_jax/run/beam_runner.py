"""Apache Beam: how a pipeline is run. Beam is not among the requirements: it wants other versions of some of them, and
has an environment of its own (`requirements-beam.lock`)."""

import contextlib
import dataclasses
import importlib.util
import os
import pathlib
import shlex
from collections.abc import Callable, Iterator
from typing import Any

from itune_jax.core import check
from itune_jax.core import errors
from itune_jax.core import lazy
from itune_jax.core import log

beam = lazy.module("apache_beam")
pipeline_options = lazy.module("apache_beam.options.pipeline_options")

DIRECT = "DirectRunner"
_ROOT = str(pathlib.Path(__file__).parents[2])
# Each process is one thread, and finds this package.
_OF_WORKERS = {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}


@dataclasses.dataclass(frozen=True)
class Beam:
  """Who runs pipelines. options: Beam's own, as one text; without a runner among them it is DirectRunner, by name: what
  Beam takes by itself (Prism) is a download. processes: of the DirectRunner, where the options do not say."""

  options: str = ""
  processes: int = 1

  def __post_init__(self):
    missing = "--beam: apache-beam is not installed; it has an environment of its own: requirements-beam.lock"
    check.require(importlib.util.find_spec("apache_beam") is not None, missing)
    self.arguments()

  def arguments(self) -> list[str]:
    """The options, with what they do not say. Raises InputError for a text that is no list of options."""
    try:
      given = shlex.split(self.options)
    except ValueError as e:
      raise errors.InputError(f"--beam={self.options!r}: {e}") from None
    names = [one.partition("=")[0] for one in given]
    bad = [one for one in given if not one.startswith("--") or "=" not in one]
    check.require(not bad, f"--beam={self.options!r}: write each of Beam's options as --NAME=VALUE; {bad[:1]} is none")
    if "--runner" not in names:
      given.append(f"--runner={DIRECT}")
    if "--default_sdk_harness_log_level" not in names:
      given.append("--default_sdk_harness_log_level=WARNING")  # else workers tell how they end
    if f"--runner={DIRECT}" in given:
      own = {"--direct_running_mode": "multi_processing", "--direct_num_workers": str(self.processes)}
      given += [f"{name}={value}" for name, value in own.items() if name not in names]
    return given

  def run(self, build: Callable[[Any], None]) -> None:
    """Runs the pipeline that `build` makes to its end. Raises InputError for options that Beam does not know, and
    RunError in one line where the runner fails."""
    arguments = self.arguments()
    log.info(f"Beam: {' '.join(arguments)}")
    options = pipeline_options.PipelineOptions(arguments)
    unknown = [one for one in arguments if one.partition("=")[0].lstrip("-") not in options.get_all_options()]
    check.require(not unknown, f"--beam: Beam has no option {unknown[:1]}")
    with _environment():
      try:
        pipeline = beam.Pipeline(options=options)
        build(pipeline)
        pipeline.run().wait_until_finish()
      except errors.InputError:
        raise
      except Exception as e:
        lines = [line for line in str(e).splitlines() if line.strip()]
        said = lines[-1].strip() if lines else type(e).__name__
        raise errors.RunError(f"Beam's pipeline failed ({said}); --debug shows all of it") from e


@contextlib.contextmanager
def _environment() -> Iterator[None]:
  """That of processes which the runner starts."""
  path = os.pathsep.join([_ROOT, *filter(None, [os.environ.get("PYTHONPATH", "")])])
  before = {name: os.environ.get(name) for name in (*_OF_WORKERS, "PYTHONPATH")}
  os.environ.update({**_OF_WORKERS, "PYTHONPATH": path})
  try:
    yield
  finally:
    for name, value in before.items():
      if value is None:
        del os.environ[name]
      else:
        os.environ[name] = value
