"""`itune prepare`: the training data of a recipe, rendered, tokenised and cached by content."""

import os
from typing import Any

from itune_jax.core import files
from itune_jax.core import log
from itune_jax.data import mixture as mixture_lib
from itune_jax.data import tasks
from itune_jax.data import tokenised
from itune_jax.data.render import chat
from itune_jax.run import command
from itune_jax.run import console
from itune_jax.run import gin_setup
from itune_jax.run import session as session_lib
from itune_jax.run import specs


def prepare(
  model: specs.Model, mixture: mixture_lib.Mixture, rendering: chat.Rendering, dry_run: bool = False
) -> dict[str, Any]:
  """Writes the cache of every source and the mixture's manifest; returns the manifest.

  What is already there is not made again. With dry_run only rows and rates are found.

  model: whose tokenizer and template are used. mixture: the data. rendering: how conversations become tokens.
  dry_run: writes nothing.
  """
  renderer = session_lib.open_renderer(model, rendering)
  root = specs.cache_dir()
  path = tokenised.mixture_file(root, tokenised.mixture_key(mixture, renderer))
  if os.path.exists(path) and not dry_run:
    log.info(f"mixture {mixture.name} is already prepared: {path}")
    return files.read_json(path)
  registered = tasks.register(mixture)
  rates = tasks.rates(mixture, registered)
  if dry_run:
    return {
      "name": mixture.name,
      "rates": rates,
      "sources": [{"name": s.name, "rows": sum(1 for _ in s.rows())} for s in mixture.sources],
    }
  sources = []
  with console.Bars("rows") as bars:
    for source in mixture.sources:
      bar, rows = bars.add(f"prepare {source.name}"), tasks.rows(mixture, source)
      sources.append(tokenised.write_source(root, mixture, source, renderer, rows, bar.advance))
  manifest = {"name": mixture.name, "rates": rates, "sources": sources}
  files.write_json(path, manifest)
  log.info(f"wrote {path}")
  return manifest


def from_flags(args: command.Args) -> dict[str, Any]:
  """Runs the command; returns what was kept of every source."""
  manifest = gin_setup.call(prepare, dry_run=args.dry_run)
  for source in manifest["sources"]:
    for reason, count in (source.get("dropped_by_reason") or {}).items():
      log.info(f"  {source['name']}: dropped {count} rows: {reason}")
    for row in source.get("dropped_rows", [])[:5]:
      log.info(f"    {row['file']}:{row['line']}: {row['reason']}")
  keys = ("name", "rows", "kept", "dropped", "truncated", "tokens", "trained_tokens")
  sources = [{k: s[k] for k in keys if k in s} for s in manifest["sources"]]
  return {"mixture": manifest["name"], "rates": manifest["rates"], "sources": sources}
