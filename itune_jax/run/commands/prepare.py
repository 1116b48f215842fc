"""`itune prepare`: the training data of a recipe, rendered, tokenised and cached by content."""

import collections
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
from itune_jax.data import mixture as mixture_lib
from itune_jax.data import opening
from itune_jax.data import shards
from itune_jax.data import tokenised
from itune_jax.data import validation as validation_lib
from itune_jax.data import workers as workers_lib
from itune_jax.data.render import chat
from itune_jax.run import command
from itune_jax.run import console
from itune_jax.run import gin_setup
from itune_jax.run import rendering as rendering_lib
from itune_jax.run import specs
from itune_jax.run import user_code

tfds_write = lazy.module("itune_jax.data.origins.tfds_write")  # it loads TensorFlow

cli = lazy.module("itune_jax.run.cli")  # the driver, of another command


def prepare(
  model: specs.Model,
  mixture: mixture_lib.Mixture,
  rendering: chat.Rendering,
  validation: validation_lib.Validation = validation_lib.Validation(),
  dry_run: bool = False,
  workers: int = 0,
  verify: bool = False,
) -> dict[str, Any]:
  """Writes the cache of every source and the mixture's manifest; returns the manifest.

  What is already there is not made again. With dry_run only rows and rates are found.

  model: whose tokenizer and template are used. mixture: the data. rendering: how conversations become tokens.
  validation: what is held out of it. dry_run: writes nothing. workers: processes that render and tokenise, 0 for one a
  core; the bytes are the same for any number. verify: whether data files are read for their digests although these are
  kept.
  """
  check.require(workers >= 0, f"--workers={workers}: give a number of processes, or 0 for one a core")
  if mixture.grain:
    log.info(f"mixture {mixture.name}: {mixture.grain} is read as it is trained on; nothing is prepared")
    return {"name": mixture.name, "rates": {}, "sources": []}
  root = specs.cache_dir()
  digests.keep_in(os.path.join(root, "digests"), verify)
  if dry_run:
    with tempfile.TemporaryDirectory() as scratch:  # where rows of tasks and data sets are while they are counted
      return _counted(validation.trained(_read(mixture, scratch)))
  mixture = validation.trained(_read(mixture, root))
  renderer = rendering_lib.open_renderer(model, rendering)
  path = tokenised.mixture_file(root, tokenised.mixture_key(mixture, renderer))
  if (known := _prepared(root, path)) is not None:
    log.info(f"mixture {mixture.name} is already prepared: {path}")
    return known
  sources = []
  teachers = lambda name: rendering_lib.open_renderer(specs.Model(base=name), rendering) if name else renderer
  # Each process is one thread: together they have all cores.
  alone = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
  pool = workers_lib.Pool(workers or workers_lib.cores(), environment=alone)
  with console.Bars("rows") as bars, pool:
    for source in mixture.sources:
      bar = bars.add(f"prepare {source.name}")
      told: dict[str, Any] = dict(progress=_Told(bar), teachers=teachers, pool=pool)
      sources.append(tokenised.write_source(root, mixture, source, renderer, **told))
      bar.finish()
  several = len(mixture.sources) > 1
  counts = {
    source.name: _examples(root, source, found["key"]) if several else 1
    for source, found in zip(mixture.sources, sources, strict=True)
  }
  manifest = {"name": mixture.name, "rates": mixture.shares(counts), "sources": sources}
  files.write_json(path, manifest)
  log.info(f"wrote {path}")
  return manifest


def _counted(mixture: mixture_lib.Mixture) -> dict[str, Any]:
  """The rows of every source, and the rates: all that a dry run finds."""
  counted = {source.name: [row.example is not None for row in source.rows()] for source in mixture.sources}
  rates = mixture.shares({name: sum(each) for name, each in counted.items()})
  sources = [{"name": name, "rows": len(each)} for name, each in counted.items()]
  return {"name": mixture.name, "rates": rates, "sources": sources}


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
  folders = [tokenised.source_folder(root, source["key"]) for source in manifest["sources"]]
  return manifest if all(os.path.exists(os.path.join(folder, "manifest.json")) for folder in folders) else None


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command; returns what was kept of every source."""
  manifest = gin_setup.call(prepare, dry_run=args.dry_run, workers=args.workers, verify=args.verify)
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
  if args.with_reference and not args.dry_run:
    given = [arg for arg in args.argv[1:] if arg != "--with_reference"]
    if cli.main(["reference", *given]):
      raise errors.RunError("the data is prepared, and the log-probs of the reference are not stored")
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
