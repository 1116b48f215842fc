"""`itune prepare`: the training data of a recipe, rendered, tokenised and cached by content."""

import collections
import functools
import os
import tempfile
import time
from typing import Any

from itune_jax.core import check
from itune_jax.core import digests
from itune_jax.core import errors
from itune_jax.core import files
from itune_jax.core import lazy
from itune_jax.core import log
from itune_jax.data import beam_preparing
from itune_jax.data import mixture as mixture_lib
from itune_jax.data import opening
from itune_jax.data import pinned_mixture
from itune_jax.data import shards
from itune_jax.data import tokenised
from itune_jax.data import validation as validation_lib
from itune_jax.data import workers as workers_lib
from itune_jax.data.readers import readers
from itune_jax.data.render import chat
from itune_jax.run import beam_runner
from itune_jax.run import command
from itune_jax.run import console
from itune_jax.run import gin_setup
from itune_jax.run import rendering as rendering_lib
from itune_jax.run import specs
from itune_jax.run import user_code
from itune_jax.select import mixing as mixing_lib

tfds_write = lazy.module("itune_jax.data.origins.tfds_write")  # it loads TensorFlow

cli = lazy.module("itune_jax.run.cli")  # the driver, of another command


def prepare(
  model: specs.Model,
  mixture: mixture_lib.Mixture,
  rendering: chat.Rendering,
  validation: validation_lib.Validation = validation_lib.Validation(),
  mixing: mixing_lib.Adaptive | None = None,
  dry_run: bool = False,
  workers: int = 0,
  verify: bool = False,
  beam: str | None = None,
) -> dict[str, Any]:
  """Writes the cache of every source and the mixture's manifest; returns the manifest.

  What is already there is not made again. With dry_run only rows and rates are found.

  model: whose tokenizer and template are used. mixture: the data. rendering: how conversations become tokens.
  validation: what is held out of it. mixing: the rule that changes its rates, None for none. dry_run: writes nothing.
  workers: processes that render and tokenise, 0 for one a core; the bytes are the same for any number. verify: whether
  data files are read for their digests although these are kept. beam: options of Apache Beam, whose pipeline then does
  the work; None for this machine's processes.
  """
  check.require(workers >= 0, f"--workers={workers}: give a number of processes, or 0 for one a core")
  runs = None if beam is None else beam_runner.Beam(beam, workers or workers_lib.cores())
  if mixing is not None:
    validation.measured(mixture, mixing.follows == "alignment")  # refuses what cannot be
  check.require(not mixture.manifest, f"{mixture.manifest}: --mixture is prepared already; itune train takes it")
  if mixture.grain:
    log.info(f"mixture {mixture.name}: {mixture.grain} is read as it is trained on; nothing is prepared")
    return {"name": mixture.name, "rates": {}, "sources": []}
  _look_at_validation(mixture, validation)
  root = specs.cache_dir()
  digests.keep_in(os.path.join(root, "digests"), verify)
  if dry_run:
    with tempfile.TemporaryDirectory() as scratch:  # where rows of tasks and data sets are while they are counted
      return _counted(validation.trained(_read(mixture, scratch)))
  given = _read(mixture, root)
  renderer = rendering_lib.open_renderer(model, rendering)
  if mixing is not None:
    _write(root, validation.measured(given, mixing.follows == "alignment"), rendering, renderer, workers, runs)
  return _write(root, validation.trained(given), rendering, renderer, workers, runs)


def _write(
  root: str,
  mixture: mixture_lib.Mixture,
  rendering: chat.Rendering,
  renderer: chat.Renderer,
  workers: int,
  runs: beam_runner.Beam | None,
) -> dict[str, Any]:
  """Writes the cache of every source and the manifest, or finds them."""
  path = tokenised.mixture_file(root, tokenised.mixture_key(mixture, renderer))
  if (known := _prepared(root, path)) is not None:
    log.info(f"mixture {mixture.name} is already prepared: {path}")
    return known
  sources = []
  teachers = lambda name: rendering_lib.open_renderer(specs.Model(base=name), rendering) if name else renderer
  # Each process is one thread: together they have all cores.
  alone = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
  pool = workers_lib.Pool(workers or workers_lib.cores(), environment=alone)
  spread = None if runs is None else functools.partial(beam_preparing.spread, runs.run)
  with console.Bars("rows") as bars, pool:
    for source in mixture.sources:
      bar = bars.add(f"prepare {source.name}")
      told: dict[str, Any] = dict(progress=_Told(bar), teachers=teachers, pool=pool, spread=spread)
      sources.append(tokenised.write_source(root, mixture, source, renderer, **told))
      bar.finish()
  several = len(mixture.sources) > 1
  counts = {
    source.name: _examples(root, source, found["key"]) if several else 1
    for source, found in zip(mixture.sources, sources, strict=True)
  }
  manifest = {"name": mixture.name, "rates": mixture.shares(counts), "sources": sources}
  manifest |= pinned_mixture.pins(root, [source["key"] for source in sources], renderer)
  files.write_json(path, manifest)
  log.info(f"wrote {path}")
  return manifest


def _counted(mixture: mixture_lib.Mixture) -> dict[str, Any]:
  """The rows of every source, why some are none, and the rates: all that a dry run finds.

  Raises InputError, as the preparation would, for a source of which no row is an example."""
  sources = []
  for source in mixture.sources:
    rows, reasons = 0, collections.Counter()
    for row in source.rows():
      rows += 1
      if row.example is None:
        reasons[row.problem] += 1
    if rows == reasons.total():
      raise readers.no_row(source.name, source.path, reasons)
    counts = {"rows": rows, "kept": rows - reasons.total(), "dropped": reasons.total()}
    sources.append({"name": source.name, **counts, "dropped_by_reason": dict(reasons)})
  rates = mixture.shares({source["name"]: source["kept"] for source in sources})
  return {"name": mixture.name, "rates": rates, "sources": sources}


def _look_at_validation(mixture: mixture_lib.Mixture, validation: validation_lib.Validation) -> None:
  """Raises InputError where the file to validate on is not there, which a run would find behind the preparation; says
  so where it is trained on as well."""
  if not validation.data:
    return
  held = set(map(files.absolute, readers.files(validation.data)))
  for source in mixture.sources:
    there = source.path and source.read_from() is None and held & set(map(files.absolute, readers.files(source.path)))
    if there:
      log.info(f"note: VAL_DATA ({validation.data}) is trained on as well, so its loss says nothing of other rows")


def _read(mixture: mixture_lib.Mixture, root: str) -> mixture_lib.Mixture:
  """The mixture with what is no file read into the cache. It is read each time: nothing says whether a task changed."""
  if all(source.read_from() is None for source in mixture.sources):
    return mixture
  with console.Bars("rows") as bars:
    bar = bars.add(f"read {mixture.name}")
    found = opening.read(mixture, root, user_code.files(), bar.advance)
    bar.finish()
  return found


class _Told:
  """Tells a bar how far a source is, and how many rows a second go by."""

  def __init__(self, bar: console.Bar):
    self._bar, self._start, self._from = bar, 0.0, 0

  def __call__(self, done: int, total: float | None) -> None:
    now = time.monotonic()
    if not self._start:  # rows that were there already, and the first block, say nothing of how fast others go
      self._start, self._from = now, done
    rate = (done - self._from) / (now - self._start) if now > self._start else 0.0
    self._bar.reach(done, total, f"{rate:,.0f} rows/s" if rate else None)


def _examples(root: str, source: mixture_lib.Source, key: str) -> int:
  """How many rows of a source are examples, which is what mixing goes by; they are read for it where an earlier version
  wrote the cache."""
  found = shards.examples(tokenised.source_folder(root, key))
  return sum(row.example is not None for row in source.rows()) if found is None else found


def _prepared(root: str, path: str) -> dict[str, Any] | None:
  """The manifest of a mixture, if it and the sources that it names are there."""
  if not os.path.exists(path):
    return None
  manifest = files.read_json(path)
  if not pinned_mixture.has_pins(manifest):
    return None
  folders = [tokenised.source_folder(root, source["key"]) for source in manifest["sources"]]
  return manifest if all(os.path.exists(os.path.join(folder, "manifest.json")) for folder in folders) else None


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command; returns what was kept of every source."""
  manifest = gin_setup.call(prepare, dry_run=args.dry_run, workers=args.workers, verify=args.verify, beam=args.beam)
  for source in manifest["sources"]:
    for note in source.get("notes", ()):
      log.info(f"  {note}")
    reasons = collections.Counter(source.get("dropped_by_reason") or {})
    for reason, count in reasons.most_common(5):
      log.info(f"  {source['name']}: dropped {count} rows: {reason}")
    if len(reasons) > 5:
      log.info(f"  {source['name']}: and rows for {len(reasons) - 5} more reasons, which the manifest lists")
    for row in source.get("dropped_rows", [])[:5]:
      log.info(f"    {row['file']}:{row['line']}: {row['reason']}")
  beside = {"reference": (args.with_reference, "log-probs of the reference")}
  beside["teacher"] = (args.with_teacher, "likeliest tokens of the teacher")
  for name, (wanted, what) in beside.items():
    given = [arg for arg in args.argv[1:] if arg not in ("--with_reference", "--with_teacher")]
    if wanted and not args.dry_run and cli.main([name, *given]):
      raise errors.RunError(f"the data is prepared, and the {what} are not stored")
  written = {"tfds": _as_tfds(manifest, args.tfds_dir)} if args.tfds_dir else {}
  keys = ("name", "rows", "kept", "dropped", "truncated", "tokens", "trained_tokens")
  sources = [{k: s[k] for k in keys if k in s} for s in manifest["sources"]]
  return {"mixture": manifest["name"], "rates": manifest["rates"], "sources": sources, **written}


def _as_tfds(manifest: dict[str, Any], data_dir: str) -> str:
  """Writes what was prepared as a TFDS data set; returns its folder."""
  nothing = f"--tfds_dir: nothing of {manifest['name']} is prepared: it is read as it is trained on"
  check.require(manifest["sources"], nothing)
  root = specs.cache_dir()
  found = {
    one["name"]: tokenised.CachedSource(tokenised.source_folder(root, one["key"])) for one in manifest["sources"]
  }
  return tfds_write.prepared(found, manifest["rates"], manifest["name"], data_dir)
